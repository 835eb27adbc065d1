//! Requests that nobody should send, to every method of every listener: each is answered clearly, nothing panics, and
//! what is refused has changed nothing. What is wrong with them comes from the descriptions of the methods
//! (`steeple_testkit::wire::malformed`), the rest is a good request of `data/requests.json`.

mod round;
mod rows;

use std::fs;

use anyhow::{Context, Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::descriptors;
use steeple_proto::spire::api::server::bundle::v1::BatchSetFederatedBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_runtime::Clock;
use steeple_spiffe::SpiffeId;
use steeple_testkit::Ca;
use steeple_testkit::database::Place;
use steeple_testkit::wire::Schema;
use steeple_tests::{AgentByHand, Binaries, Domain, Port, Scratch, case, skipped_on_the_reference, until};
use steeple_transport::dial;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::hostile::call;
use crate::hostile::callers::{AGENTS, workload_svid};
use round::Round;
use rows::Rows;

const REQUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/whole/data/requests.json");

/// The database of a server, in its data directory.
const DATABASE: &str = "datastore.sqlite3";

/// What knows its callers by the SVIDs that they show, beside [`AGENTS`]: those that have none, and servers below.
const OF_OTHERS: &[&str] = &[
    "/spire.api.server.agent.v1.Agent/AttestAgent",
    "/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority",
    "/spire.api.server.bundle.v1.Bundle/PublishWITAuthority",
    "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA",
];

#[test]
fn a_server_answers_malformed_requests_of_its_host_clearly_and_changes_nothing() -> Result<()> {
    ours(async |_, scene| {
        let channel = dial::local(&scene.domain.server.socket);
        let methods = scene.schema.methods(|service| {
            let is_own = service.starts_with("steeple.server.") || service == "grpc.health.v1.Health";
            is_own || service.starts_with("spire.api.server.")
        });
        let is_here = |method: &&str| ![AGENTS, OF_OTHERS].concat().contains(method);
        let methods: Vec<_> = methods.into_iter().filter(is_here).map(|method| (method, &channel)).collect();
        scene.round("the server's socket", &methods).await
    })
}

#[test]
fn a_server_answers_malformed_requests_over_the_network_clearly_and_changes_nothing() -> Result<()> {
    ours(async |_, scene| {
        let Scene { domain, port, agent, .. } = &scene;
        domain.entry(agent.id.as_str(), "/below", &["-downstream"]).await?;
        let below = port.channel(Some(workload_svid(domain, "/below").await?))?;
        // The index learns of it a moment later than the database.
        let known = async || call(&below, OF_OTHERS[1], &[]).await.ok()?.err().filter(is_of_content).map(drop);
        until("the right to publish", known).await?;
        let of_agents = AGENTS.iter().map(|method| (*method, &agent.channel));
        let of_others = OF_OTHERS.iter().map(|method| (*method, &below));
        scene.round("the server's port", &of_agents.chain(of_others).collect::<Vec<_>>()).await
    })
}

#[test]
fn an_agent_answers_malformed_requests_clearly() -> Result<()> {
    ours(async |scratch, scene| {
        let Scene { domain, schema, mut requests, .. } = scene;
        let mut agent = domain.new_agent("node1").await?;
        let admin = scratch.path().join("private/admin.sock");
        agent.reconfigure(|conf| {
            conf.replacen("agent {\n", &format!("agent {{\n    admin_socket_path = \"{}\"\n", admin.display()), 1)
        })?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        let token = agent.workload().jwt_svids("db").await?.pop().context("no token")?.svid;
        requests["/SpiffeWorkloadAPI/ValidateJWTSVID"]["svid"] = token.into();
        let (schema, requests) = (&schema, &requests);

        let headers = &[("workload.spiffe.io", "true")][..];
        let channel = dial::local(&agent.socket);
        let public = schema.methods(|service| service == "SpiffeWorkloadAPI" || service.starts_with("grpc."));
        let public: Vec<_> = public.into_iter().map(|method| (method, &channel)).collect();
        Round { name: "the agent's socket", schema, requests, headers, rows: None }.run(&public).await?;
        let channel = dial::local(&admin);
        let administrative =
            schema.methods(|service| service.contains(".agent.logger.") || service.contains(".agent.debug."));
        let administrative: Vec<_> = administrative.into_iter().map(|method| (method, &channel)).collect();
        let (name, headers) = ("the agent's administrative socket", &[][..]);
        Round { name, schema, requests, headers, rows: None }.run(&administrative).await?;
        agent.command(&["healthcheck"]).await?.ok()?;
        agent.workload().jwt_svids("db").await?;
        Ok(())
    })
}

/// Runs a case of our daemons, with a server.
fn ours(body: impl AsyncFnOnce(&Scratch, Scene) -> Result<()>) -> Result<()> {
    if Binaries::find()?.server.is_reference {
        let why =
            "it waits for ever for a message that does not come, and takes fields of other types for unknown ones";
        skipped_on_the_reference("malformed requests", why);
        return Ok(());
    }
    case(async |scratch| body(scratch, Scene::set(scratch).await?).await)
}

/// A server that has something of everything that a request could be about.
struct Scene {
    domain: Domain,
    port: Port,
    /// An agent, with an entry of its own.
    agent: AgentByHand,
    schema: Schema,
    /// Good requests by method.
    requests: Map<String, Value>,
}

impl Scene {
    /// Sends these methods of the server what is wrong, and looks whether it is as it was.
    async fn round(&self, name: &str, methods: &[(&str, &Channel)]) -> Result<()> {
        let Self { domain, schema, requests, .. } = self;
        let mut rows = Rows::of(&domain.server.data_dir.join(DATABASE)).await?;
        let mut round = Round { name, schema, requests, headers: &[], rows: Some(&mut rows) };
        round.run(methods).await?;
        domain.server.command(&["healthcheck"]).await?.ok()?;
        Ok(())
    }

    async fn set(scratch: &Scratch) -> Result<Self> {
        let flags = "experimental {\n        feature_flags = [\"wit-svid\"]\n    }";
        let domain = Domain::builder().default_intervals().server_text(flags).start(scratch).await?;
        let port = Port::of(&domain).await?;
        let agent = AgentByHand::attest(&domain, &port).await?;
        let (banned, deleted) =
            (AgentByHand::attest(&domain, &port).await?, AgentByHand::attest(&domain, &port).await?);
        // While it is given another SVID, the one that it shows ends what is kept of its token. That is over now.
        agent.renew().await?;
        let kept = format!("SELECT token FROM steeple_used_join_tokens WHERE spiffe_id = '{}'", agent.id);
        let stored = Place::File(domain.server.data_dir.join(DATABASE));
        let is_over = async || {
            call(&agent.channel, AGENTS[0], &[]).await.ok()?.ok()?;
            stored.sql(&kept).await.is_empty().then_some(())
        };
        until("the end of what is kept of a token", is_over).await?;
        let parent = domain.id("/node");
        domain.entry(agent.id.as_str(), "/web", &["-entryID", "of-agent"]).await?;
        for name in ["updated", "deleted"] {
            domain.entry(&parent, &format!("/{name}"), &["-entryID", name]).await?;
        }
        let mut bundles = BundleClient::new(dial::local(&domain.server.socket));
        let authorities = ["partner.test", "deleted.test"].map(|name| Ca::new(name, Clock::system().now()));
        let bundle = authorities.iter().map(Ca::api_bundle).collect();
        bundles.batch_set_federated_bundle(BatchSetFederatedBundleRequest { bundle, output_mask: None }).await?;
        let endpoint = ["-bundleEndpointURL", "https://127.0.0.1:9/bundle", "-bundleEndpointProfile", "https_web"];
        for name in ["partner.test", "deleted.test"] {
            let create = [&["federation", "create", "-trustDomain", name][..], &endpoint].concat();
            domain.server.command(&create).await?.ok()?;
        }

        let key = PrivateKey::generate(KeyType::EcP256)?;
        let request =
            |id: &str| Ok::<_, Error>(STANDARD.encode(AgentByHand::request(&key, Some(&SpiffeId::parse(id)?))?));
        let filled = [
            ("${csr}", request(&domain.id("/web"))?),
            ("${authority_csr}", request(&domain.id(""))?),
            ("${key}", STANDARD.encode(key.public_key().spki_der())),
            ("${root}", STANDARD.encode(authorities[0].root().der())),
            ("${token}", STANDARD.encode(domain.server.token(&[]).await?)),
            ("${agent}", agent.id.path().to_owned()),
            ("${banned}", banned.id.path().to_owned()),
            ("${deleted}", deleted.id.path().to_owned()),
        ];
        let text = filled.iter().fold(fs::read_to_string(REQUESTS)?, |text, (name, value)| text.replace(name, value));
        let schema = Schema::new(&[
            descriptors::PACKAGED,
            descriptors::WORKLOAD,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ]);
        Ok(Self { domain, port, agent, schema, requests: serde_json::from_str(&text)? })
    }
}

/// Whether a call was refused for what it asked, and not for who asked.
fn is_of_content(refusal: &Status) -> bool {
    refusal.code() == Code::InvalidArgument
}
