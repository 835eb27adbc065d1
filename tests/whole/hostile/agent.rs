//! What an agent can learn or get of what is another agent's.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost::bytes::Bytes;
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{AgentX509svidParams, PostStatusRequest, RenewAgentRequest};
use steeple_proto::spire::api::server::bundle::v1::GetFederatedBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest,
};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{
    BatchNewWitsvidRequest, BatchNewX509svidRequest, NewJwtsvidRequest, NewWitsvidParams, NewX509svidParams,
};
use steeple_proto::spire::api::types::{Entry, EntryMask, Selector, Spiffeid};
use steeple_spiffe::{Certificate, SpiffeId};
use steeple_tests::{AgentByHand, Domain, Port, case, until, within};
use steeple_transport::dial;
use tonic::Code;

/// A trust domain where one agent has what the other one wants.
struct Scene {
    domain: Domain,
    port: Port,
    victim: AgentByHand,
    /// The victim's entry, and the intruder's own.
    theirs: String,
    own: String,
    intruder: AgentByHand,
}

impl Scene {
    async fn set(domain: Domain) -> Result<Self> {
        let port = Port::of(&domain).await?;
        let (victim, intruder) =
            (AgentByHand::attest(&domain, &port).await?, AgentByHand::attest(&domain, &port).await?);
        let theirs = domain.entry(victim.id.as_str(), "/payroll", &[]).await?;
        let own = domain.entry(intruder.id.as_str(), "/web", &[]).await?;
        let scene = Self { domain, port, victim, theirs, own, intruder };
        let known = async || (entries(&scene.intruder, None).await.ok()?.len() == 1).then_some(());
        until("the entry of the intruder", known).await?;
        Ok(scene)
    }

    /// IDs that an answer must not tell apart: of an entry of somebody else, and of none.
    fn others(&self) -> [String; 2] {
        [self.theirs.clone(), "7f2b7b0e-0000-4000-8000-000000000000".to_owned()]
    }

    async fn x509_svids(&self, params: Vec<NewX509svidParams>) -> Result<Vec<(i32, String)>, tonic::Status> {
        let mut svids = SvidClient::new(self.intruder.channel.clone());
        let answer = svids.batch_new_x509svid(BatchNewX509svidRequest { params }).await?.into_inner();
        let told = |status: Option<steeple_proto::spire::api::types::Status>| status.unwrap_or_default();
        Ok(answer.results.into_iter().map(|result| told(result.status)).map(|told| (told.code, told.message)).collect())
    }
}

#[test]
fn an_agent_is_told_of_its_own_entries_under_every_mask() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let masks = [None, Some(EntryMask::default()), Some(EntryMask { parent_id: true, ..EntryMask::default() })];
        for mask in masks {
            let told = entries(&scene.intruder, mask).await?;
            assert_eq!(told, [scene.own.as_str()], "{mask:?}");
        }
        let mut entries = EntryClient::new(scene.intruder.channel.clone());
        let sync = |output_mask, ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            tokio_stream::once(SyncAuthorizedEntriesRequest { output_mask, ids })
        };
        let mut answers = entries.sync_authorized_entries(sync(None, &[])).await?.into_inner();
        let answer = answers.message().await?.context("no answer")?;
        assert_eq!(ids(answer.entries)?, [scene.own.as_str()]);
        assert!(answer.entry_revisions.is_empty());
        // To ask at once for what one cannot know of is refused, whosever it is.
        for id in scene.others() {
            let refusal = entries.sync_authorized_entries(sync(None, &[&id])).await?.into_inner().message().await;
            assert_eq!(refusal.unwrap_err().message(), "specifying IDs on initial request is not supported");
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_asks_for_others_entries_by_id_gets_as_much_as_for_unknown_ones() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        // So many that ids are asked for at all.
        let own: BTreeSet<String> = create(&scene.domain, &scene.intruder, 501).await?.into_iter().collect();

        let (asking, asked) = tokio::sync::mpsc::channel(1);
        let mut entries = EntryClient::new(scene.intruder.channel.clone());
        let ask = async |ids: Vec<String>| asking.send(SyncAuthorizedEntriesRequest { output_mask: None, ids }).await;
        ask(Vec::new()).await?;
        let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
        let mut answers = entries.sync_authorized_entries(asked).await?.into_inner();
        let (mut revisions, mut more) = (0, true);
        while more {
            let page = within("revisions", answers.message()).await??.context("the end")?;
            assert!(page.entry_revisions.iter().all(|revision| revision.id != scene.theirs));
            (revisions, more) = (revisions + page.entry_revisions.len(), page.more);
        }
        assert_eq!(revisions, 502);
        let [theirs, unknown] = scene.others();
        let long = "x".repeat(100_000);
        for ids in
            [vec![theirs.clone()], vec![unknown.clone()], vec![theirs.clone(); 50_000], vec![String::new(), long]]
        {
            ask(ids).await?;
            let page = within("nothing", answers.message()).await??.context("the end")?;
            assert_eq!((page.entries.len(), page.entry_revisions.len(), page.more), (0, 0, false));
        }
        // Among its own ones they are left out, and what is asked for twice is no way to more.
        let first = own.iter().next().context("no entry")?.clone();
        ask(vec![theirs.clone(), first.clone(), unknown, first.clone(), theirs]).await?;
        let page = within("its own", answers.message()).await??.context("the end")?;
        assert_eq!(ids(page.entries)?, [first.as_str(), &first]);
        Ok(())
    })
}

#[test]
fn a_second_synchronization_of_an_agent_ends_the_first() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        create(&scene.domain, &scene.intruder, 501).await?;
        let mut entries = EntryClient::new(scene.intruder.channel.clone());
        let (first, asked) = tokio::sync::mpsc::channel(1);
        first.send(SyncAuthorizedEntriesRequest { output_mask: None, ids: Vec::new() }).await?;
        let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
        let mut older = entries.sync_authorized_entries(asked).await?.into_inner();
        older.message().await?.context("no revisions")?;
        entries.sync_authorized_entries(tokio_stream::pending()).await?;
        let end = within("the end", async {
            loop {
                if let Err(end) = older.message().await {
                    break end;
                }
            }
        });
        assert_eq!(end.await?.code(), Code::Aborted);
        Ok(())
    })
}

#[test]
fn an_agent_gets_no_svid_for_an_entry_that_it_does_not_have_and_does_not_learn_whether_there_is_one() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let csr = AgentByHand::request(&key, Some(&SpiffeId::parse(&scene.domain.id("/payroll"))?))?;
        let broken = [&csr[..csr.len() - 1], &[csr[csr.len() - 1] ^ 1]].concat();
        let params =
            |entry_id: &str, csr: &[u8]| NewX509svidParams { entry_id: entry_id.to_owned(), csr: csr.to_vec() };
        let not_found = (Code::NotFound as i32, "entry not found or not authorized".to_owned());
        let invalid = |message: &str| (Code::InvalidArgument as i32, message.to_owned());

        let [theirs, unknown] = scene.others();
        // Its own ID and its parent's are no entries either.
        let strange = [&*theirs, &unknown, scene.intruder.id.as_str(), scene.victim.id.as_str(), "..", "%00", " "];
        for csr in [&csr, &broken, &b"garbage".to_vec()] {
            let told = scene.x509_svids(strange.iter().map(|id| params(id, csr)).collect()).await?;
            assert_eq!(told, vec![not_found.clone(); strange.len()]);
        }
        let told = scene.x509_svids(vec![params("", &csr), params(&theirs, b""), params(&unknown, b"")]).await?;
        assert_eq!(told, [invalid("missing entry ID"), invalid("missing CSR"), invalid("missing CSR")]);
        let told = scene.x509_svids(vec![params(&scene.own, &broken), params(&scene.own, b"garbage")]).await?;
        assert!(told[0].1.starts_with("invalid CSR signature") && told[1].1.starts_with("malformed CSR"), "{told:?}");

        let mut svids = SvidClient::new(scene.intruder.channel.clone());
        for entry_id in strange.iter().chain(&[""]) {
            let request = NewJwtsvidRequest { entry_id: (*entry_id).to_owned(), audience: vec!["db".to_owned()] };
            let refusal = svids.new_jwtsvid(request).await.unwrap_err();
            assert_eq!((refusal.code() as i32, refusal.message().to_owned()), not_found, "{entry_id}");
        }
        let many = vec![params(&scene.own, &csr); 10_000];
        let refusal = scene.x509_svids(many).await.unwrap_err();
        assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
        let refusal = scene.x509_svids(Vec::new()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");

        // Whatever a request names, an SVID has the name of the entry.
        let request = BatchNewX509svidRequest { params: vec![params(&scene.own, &csr)] };
        let answer = svids.batch_new_x509svid(request).await?.into_inner().results.pop().context("no result")?;
        let chain = answer.svid.context("no SVID")?.cert_chain;
        let leaf = Certificate::from_der(chain.first().context("no leaf")?)?;
        assert_eq!(leaf.spiffe_id()?.as_str(), scene.domain.id("/web"));
        Ok(())
    })
}

#[test]
fn an_agent_gets_no_wit_svid_for_an_entry_that_it_does_not_have_whoever_its_parent_is() -> Result<()> {
    case(async |scratch| {
        let builder = Domain::builder().default_intervals();
        let builder = builder.server_text("experimental {\n        feature_flags = [\"wit-svid\"]\n    }");
        let scene = Scene::set(builder.start(scratch).await?).await?;
        let mut strange = scene.others().to_vec();
        for parent in ["/payroll", "/nobody", "/spire/server"] {
            strange.push(scene.domain.entry(&scene.domain.id(parent), "/below", &[]).await?);
        }
        strange.extend([scene.intruder.id.to_string(), scene.victim.id.to_string()]);
        // When it knows of this one, the server knows of those before.
        create(&scene.domain, &scene.intruder, 1).await?;

        let key = PrivateKey::generate(KeyType::EcP256)?;
        let params = |entry_id: &str, public_key: &[u8]| NewWitsvidParams {
            entry_id: entry_id.to_owned(),
            public_key: public_key.to_vec(),
            signing_algorithm: "ES256".to_owned(),
        };
        let mut svids = SvidClient::new(scene.intruder.channel.clone());
        for public_key in [key.public_key().spki_der(), b"garbage"] {
            let all = strange.iter().chain([&scene.own]).map(|id| params(id, public_key)).collect();
            let answer = svids.batch_new_witsvid(BatchNewWitsvidRequest { params: all }).await?.into_inner();
            let (own, others) = answer.results.split_last().context("no results")?;
            assert_eq!(others.len(), strange.len());
            for result in others {
                let told = result.status.clone().unwrap_or_default();
                let told = (told.code, &*told.message, &result.svid);
                assert_eq!(told, (Code::NotFound as i32, "entry not found or not authorized", &None));
            }
            if public_key == b"garbage" {
                ensure!(own.svid.is_none(), "an SVID for what is no key");
            } else {
                let id = own.svid.as_ref().and_then(|svid| svid.id.clone()).context("no SVID of its own")?;
                assert_eq!(id.path, "/web");
            }
        }
        Ok(())
    })
}

#[test]
fn an_agent_may_read_the_bundle_of_another_trust_domain_by_its_name_and_cannot_ask_which_there_are() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let pem = scratch.path().join("other.pem");
        std::fs::write(&pem, scene.domain.server.bundle_pem().await?)?;
        let set = ["bundle", "set", "-id", "spiffe://other.test", "-path", &*pem.to_string_lossy()];
        scene.domain.server.command(&set).await?.ok()?;
        let mut bundles = BundleClient::new(scene.intruder.channel.clone());
        let named = |name: &str| GetFederatedBundleRequest { trust_domain: name.to_owned(), output_mask: None };
        let bundle = bundles.get_federated_bundle(named("other.test")).await?.into_inner();
        assert_eq!((&*bundle.trust_domain, bundle.x509_authorities.len()), ("other.test", 1));
        let refusal = bundles.get_federated_bundle(named("unknown.test")).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (Code::NotFound, "bundle not found"));
        let list = "/spire.api.server.bundle.v1.Bundle/ListFederatedBundles";
        let refusal = super::call(&scene.intruder.channel, list, &[]).await?.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied);
        Ok(())
    })
}

#[test]
fn an_agent_can_neither_become_another_one_nor_speak_for_it() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let mut agents = AgentClient::new(scene.intruder.channel.clone());
        // The other's name in its request, and the server's: it gets its own.
        let server = SpiffeId::parse(&scene.domain.id("/spire/server"))?;
        for id in [&scene.victim.id, &server] {
            let params = Some(AgentX509svidParams { csr: AgentByHand::request(&key, Some(id))? });
            let svid = agents.renew_agent(RenewAgentRequest { params }).await?.into_inner().svid.context("no SVID")?;
            let leaf = Certificate::from_der(svid.cert_chain.first().context("no leaf")?)?;
            assert_eq!(leaf.spiffe_id()?, scene.intruder.id);
        }
        // A request that another one has signed, or nobody.
        let sound = AgentByHand::request(&key, None)?;
        let broken = [&sound[..sound.len() - 1], &[sound[sound.len() - 1] ^ 1]].concat();
        for csr in [broken, b"garbage".to_vec(), vec![0x30; 70_000], Vec::new()] {
            let params = Some(AgentX509svidParams { csr });
            let refusal = agents.renew_agent(RenewAgentRequest { params }).await.unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
        }
        // The other's token is used up, as far as can be told it was never there.
        let mut told = Vec::new();
        for token in [&*scene.victim.token, "never-there", "../../server", "a/b"] {
            let refusal = scene.port.attest(token, AgentByHand::request(&key, None)?).await.unwrap_err();
            told.push((refusal.code(), refusal.message().to_owned()));
        }
        let expected = "failed to attest: join token does not exist or has already been used".to_owned();
        assert_eq!(told, vec![(Code::InvalidArgument, expected); 4]);
        // What it says of itself is said of itself alone.
        let said = PostStatusRequest { current_bundle_serial: 0, agent_version: "evil".to_owned() };
        agents.post_status(said).await?;
        let long = PostStatusRequest { current_bundle_serial: 0, agent_version: "x".repeat(256) };
        assert_eq!(agents.post_status(long).await.unwrap_err().code(), Code::InvalidArgument);
        for agent in scene.domain.server.agents().await? {
            let is_intruder = agent["id"]["path"] == scene.intruder.id.path();
            ensure!((agent["agent_version"] == "evil") == is_intruder, "{agent}");
        }
        // And the other one has noticed nothing.
        super::call(&scene.victim.channel, "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries", &[]).await??;
        Ok(())
    })
}

/// The entries of which the server tells an agent.
async fn entries(agent: &AgentByHand, output_mask: Option<EntryMask>) -> Result<Vec<String>> {
    let mut entries = EntryClient::new(agent.channel.clone());
    ids(entries.get_authorized_entries(GetAuthorizedEntriesRequest { output_mask }).await?.into_inner().entries)
}

/// The IDs of entries in their encoded form.
fn ids(entries: Vec<Bytes>) -> Result<Vec<String>> {
    entries.into_iter().map(|entry| Ok(Entry::decode(entry)?.id)).collect()
}

/// Makes entries of 600 bytes below an agent, as an administrator, and waits until the server tells it of them. Returns
/// their ids.
pub(super) async fn create(domain: &Domain, agent: &AgentByHand, count: usize) -> Result<Vec<String>> {
    let before = entries(agent, None).await?.len();
    let wire = |path: &str| Some(Spiffeid { trust_domain: domain.name.clone(), path: path.to_owned() });
    let new = (0..count).map(|i| Entry {
        spiffe_id: wire(&format!("/many/{i}")),
        parent_id: wire(agent.id.path()),
        selectors: vec![Selector { r#type: "unix".to_owned(), value: format!("uid:{}", 100_000 + i) }],
        hint: "h".repeat(500),
        ..Entry::default()
    });
    let request = BatchCreateEntryRequest { entries: new.collect(), output_mask: None };
    let mut client = EntryClient::new(dial::local(&domain.server.socket));
    let results = client.batch_create_entry(request).await?.into_inner().results;
    let known = async || (entries(agent, None).await.ok()?.len() == before + count).then_some(());
    until("the entries", known).await?;
    results.into_iter().map(|result| Ok(result.entry.context("refused")?.id)).collect()
}
