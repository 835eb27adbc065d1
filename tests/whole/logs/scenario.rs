//! A server, an agent that stays, one that is banned and one that is refused, and what is asked of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::entry::v1::GetEntryRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{MintX509svidRequest, NewDownstreamX509caRequest};
use steeple_proto::workload::X509svidRequest;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_spiffe::SpiffeId;
use steeple_tests::{Agent, AgentByHand, Domain, Output, Port, Scratch, Server, http};
use steeple_transport::dial;

use super::Line;
use crate::hostile::call;
use crate::hostile::callers::workload_svid;

/// A bundle from a file, with two kinds of keys.
const STATIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cmd/steeple-server/tests/data/inputs/static.test.json");
const NOWHERE: &str = "spiffe://missing.test";

/// What the daemons told.
pub(crate) struct Told {
    /// Program and line.
    pub(super) lines: Vec<(&'static str, Line)>,
    /// Whether the daemons were SPIRE's.
    pub(crate) is_reference: bool,
    /// What server and agent had measured before the server stopped.
    pub(crate) scraped: [(&'static str, String); 2],
}

/// Runs it from the start of the server to the end of the agent. `further` comes before the server stops.
pub(crate) async fn run(scratch: &Scratch, further: impl AsyncFnOnce(&Domain) -> Result<()>) -> Result<Told> {
    let builder = Domain::builder().server_key("log_format", "json").server_text("audit_log_enabled = true");
    let mut domain = builder.agent_ttl("20s").write(scratch)?;
    domain.server.tell_health()?;
    let server_port = domain.server.tell_measurements("")?;
    domain.server.start().await?;
    let server = &domain.server;
    bundles(server).await?;
    relationships(server).await?;

    let mut node1 = agent(&domain, "node1").await?;
    node1.tell_health()?;
    // Its directory is made by the agent itself.
    node1.socket = node1.socket.with_extension("d").join("api.sock");
    let told = node1.socket.display().to_string();
    node1.reconfigure(|conf| conf.lines().map(|line| with_socket(line, &told)).collect())?;
    // Its directory too, which is another one.
    let admin = scratch.path().join("admin").join("admin.sock");
    let key = format!("agent {{\n    admin_socket_path = \"{}\"\n", admin.display());
    node1.reconfigure(|conf| conf.replacen("agent {\n", &key, 1))?;
    let agent_port = node1.tell_measurements("")?;
    let mut node2 = agent(&domain, "node2").await?;
    let mut refused = agent(&domain, "refused").await?;
    domain.attest(&mut node1).await?;
    domain.attest(&mut node2).await?;
    refused.launch(&["-joinToken", "unknown"])?;
    refused.process()?.line("Failed to retrieve attestation result").await?;
    refused.stop().await?;
    agents(server, &node1).await?;

    let short = entries(&domain, &node1).await?;
    administration(server).await?;
    administration_of(&node1, &admin).await?;
    let token = workload(&node1).await?;
    ensure!(node1.workload().validate_jwt("another", &token).await.is_err(), "a token for somebody else is valid");
    strangers(&domain).await?;

    domain.server.command(&["agent", "ban", "-spiffeID", &node2.id]).await?.ok()?;
    node2.process()?.exit().await?;
    domain.server.command(&["agent", "evict", "-spiffeID", &node2.id]).await?.ok()?;
    node1.process()?.line("Successfully rotated agent SVID").await?;
    node1.process()?.line("Renewing X509-SVID").await?;
    domain.server.command(&["entry", "delete", "-entryID", &short]).await?.ok()?;
    node1.process()?.line("Entry removed").await?;

    other_authorities(&domain, scratch).await?;
    node1.process()?.line("Bundle updated").await?;
    given_up(&mut domain, &mut node1).await?;

    further(&domain).await?;
    let scraped =
        [("server", http(server_port, "GET /metrics", "").await?), ("agent", http(agent_port, "GET /", "").await?)];
    let scraped = scraped.map(|(program, (_, text))| (program, text));
    domain.server.stop().await?;
    node1.process()?.line("Synchronize failed").await?;
    ensure!(node1.workload().jwt_svids("later").await.is_err(), "there is nobody who could sign");
    node1.stop().await?;

    let mut lines = Vec::new();
    let is_reference = domain.server.program.is_reference;
    let written = [("server", &*domain.server), ("agent", &*node1), ("agent", &*node2), ("agent", &*refused)];
    for (program, installation) in written {
        let written = installation.written()?;
        for line in written.lines().filter(|line| line.starts_with('{')) {
            lines.push((program, serde_json::from_str(line).with_context(|| line.to_owned())?));
        }
    }
    Ok(Told { lines, is_reference, scraped })
}

async fn agent(domain: &Domain, name: &str) -> Result<Agent> {
    let agent = domain.new_agent(name).await?;
    agent.reconfigure(|conf| conf.replacen("log_level", "log_format = \"json\"\n    log_level", 1))?;
    Ok(agent)
}

fn with_socket(line: &str, socket: &str) -> String {
    let is_socket = line.trim_start().starts_with("socket_path");
    if is_socket { format!("    socket_path = \"{socket}\"\n") } else { format!("{line}\n") }
}

async fn bundles(server: &Server) -> Result<()> {
    server.command(&["healthcheck"]).await?.ok()?;
    server.command(&["bundle", "count"]).await?.ok()?;
    let set = ["bundle", "set", "-format", "spiffe", "-id", "spiffe://static.test", "-path", STATIC];
    server.command(&set).await?.ok()?;
    server.command(&["bundle", "list"]).await?.ok()?;
    server.command(&["bundle", "list", "-id", NOWHERE]).await?.refused()?;
    server.command(&["bundle", "delete", "-id", NOWHERE]).await?;
    Ok(())
}

/// With a trust domain whose endpoint is never reached.
async fn relationships(server: &Server) -> Result<()> {
    let command = async |verb: &str, flags: &[&str]| server.command(&[&["federation", verb], flags].concat()).await;
    let web = ["-bundleEndpointProfile", "https_web", "-bundleEndpointURL"];
    let written = [&["-trustDomain", "partner.test"], &web[..], &["https://127.0.0.1:1"]].concat();
    command("create", &written).await?.ok()?;
    command("create", &written).await?.refused()?;
    command("update", &written).await?.ok()?;
    command("show", &["-trustDomain", "missing.test"]).await?.refused()?;
    command("delete", &["-id", "partner.test"]).await?.ok()?;
    command("delete", &["-id", "partner.test"]).await?.refused()?;
    Ok(())
}

async fn agents(server: &Server, agent: &Agent) -> Result<()> {
    server.command(&["agent", "list"]).await?.ok()?;
    server.command(&["agent", "count"]).await?.ok()?;
    server.command(&["agent", "show", "-spiffeID", &agent.id]).await?.ok()?;
    let unknown = ["agent", "show", "-spiffeID", "spiffe://example.org/spire/agent/none"];
    server.command(&unknown).await?.refused()?;
    server.command(&["agent", "evict", "-spiffeID", unknown[3]]).await?.refused()?;
    Ok(())
}

/// The other trust domain has the authorities of this one now.
async fn other_authorities(domain: &Domain, scratch: &Scratch) -> Result<()> {
    let path = scratch.path().join("other.pem");
    fs::write(&path, domain.server.bundle_pem().await?)?;
    let path = path.display().to_string();
    domain.server.command(&["bundle", "set", "-id", "spiffe://static.test", "-path", &path]).await?.ok()?;
    Ok(())
}

/// The authorities of both kinds make room for others.
async fn given_up(domain: &mut Domain, agent: &mut Agent) -> Result<()> {
    for (kind, told) in [
        ("x509", ["Agent SVID is tainted by a root authority", "Finished processing all tainted entries"]),
        ("jwt", ["New tainted JWT authorities found", "JWT-SVIDs were removed from the JWT cache"]),
    ] {
        let server = &mut domain.server;
        let command = async |args: &[&str]| server.command(&[&["localauthority", kind], args].concat()).await;
        let id = |authority: &Value| authority["authority_id"].as_str().map(str::to_owned).context("no authority");
        let first = id(&command(&["show", "-output", "json"]).await?.json()?["active"])?;
        let second = id(&command(&["prepare", "-output", "json"]).await?.json()?["prepared_authority"])?;
        command(&["activate", "-authorityID", &second]).await?.ok()?;
        command(&["taint", "-authorityID", "none"]).await?.refused()?;
        command(&["taint", "-authorityID", &first]).await?.ok()?;
        for line in told {
            agent.process()?.line(line).await?;
        }
        command(&["revoke", "-authorityID", &first]).await?.ok()?;
        if kind == "x509" {
            server.process()?.line("Server SVID signed using a tainted authority").await?;
        }
    }
    Ok(())
}

/// Returns the ID of the entry whose SVID is renewed soon.
async fn entries(domain: &Domain, agent: &Agent) -> Result<String> {
    let server = &domain.server;
    ensure!(agent.workload().jwt_svids("none").await.is_err(), "a process without an entry has a token");
    domain.entry(&agent.id, "/plain", &[]).await?;
    domain.entry(&agent.id, "/dns", &["-dns", "a.example.org"]).await?;
    domain.entry(&agent.id, "/fed", &["-federatesWith", "spiffe://static.test"]).await?;
    domain.entry(&agent.id, "/down", &["-downstream"]).await?;
    let short = domain.entry(&agent.id, "/short", &["-x509SVIDTTL", "6"]).await?;
    let known = ["entry", "create", "-parentID", &agent.id, "-selector", "unix:uid:4242", "-spiffeID"];
    let other = [&known[..], &["spiffe://example.org/other", "-entryID", "other"]].concat();
    server.command(&other).await?.ok()?;
    server.command(&other).await?;
    server.command(&[&known[..], &["spiffe://example.org/no", "-federatesWith", NOWHERE]].concat()).await?;
    for id in ["other", "none"] {
        let of = [
            "entry",
            "update",
            "-entryID",
            id,
            "-parentID",
            &agent.id,
            "-spiffeID",
            "spiffe://example.org/other",
            "-selector",
            "unix:uid:4243",
        ];
        server.command(&of).await?;
    }
    server.command(&["entry", "show"]).await?.ok()?;
    server.command(&["entry", "count"]).await?.ok()?;
    server.command(&["entry", "show", "-entryID", "none"]).await?.refused()?;
    server.command(&["entry", "delete", "-entryID", "other"]).await?.ok()?;
    server.command(&["entry", "delete", "-entryID", "other"]).await?;
    agent.workload().follow().until("all SVIDs", |update| update.svids.len() == 5).await?;
    Ok(short)
}

async fn administration(server: &Server) -> Result<()> {
    let id = "spiffe://example.org/minted";
    server.command(&["x509", "mint", "-spiffeID", id]).await?.ok()?;
    server.command(&["jwt", "mint", "-spiffeID", id, "-audience", "a"]).await?.ok()?;
    server.command(&["x509", "mint", "-spiffeID", "spiffe://foreign.test/minted"]).await?.refused()?;
    server.command(&["logger", "get"]).await?.ok()?;
    server.command(&["logger", "set", "-level", "info"]).await?.ok()?;
    server.command(&["logger", "reset"]).await?.ok()?;
    let mut svids = SvidClient::new(dial::local(&server.socket));
    let malformed = MintX509svidRequest { csr: b"no CSR".to_vec(), ttl: 0 };
    ensure!(svids.mint_x509svid(malformed).await.is_err());
    let mut entries = EntryClient::new(dial::local(&server.socket));
    ensure!(entries.get_entry(GetEntryRequest { id: String::new(), output_mask: None }).await.is_err());
    Ok(())
}

/// What an agent does for those who may open its administrative socket. Its level stays as it is: its lines are waited for.
async fn administration_of(agent: &Agent, socket: &Path) -> Result<()> {
    let path = socket.to_string_lossy();
    for args in [&["get"][..], &["set", "-level", "debug"], &["reset"]] {
        let args = [&["logger"], args, &["-socketPath", &path]].concat();
        Output::of(&agent.program.path, &args).await?.ok()?;
    }
    call(&dial::local(socket), "/spire.agent.debug.v1.Debug/GetInfo", &[]).await??;
    Ok(())
}

/// Returns a token for `db`.
async fn workload(agent: &Agent) -> Result<String> {
    let workload = agent.workload();
    let token = workload.jwt_svids("db").await?.pop().context("no token")?.svid;
    workload.validate_jwt("db", &token).await?;
    ensure!(workload.validate_jwt("db", "malformed").await.is_err());
    workload.x509_bundles().await?.message().await?.context("no bundles")?;
    workload.jwt_bundles().await?.message().await?.context("no bundles")?;
    let mut bare = SpiffeWorkloadApiClient::new(dial::local(&agent.socket));
    ensure!(bare.fetch_x509svid(X509svidRequest {}).await.is_err());
    Ok(token)
}

/// Calls of a server below this one, and of somebody who shows no certificate.
async fn strangers(domain: &Domain) -> Result<()> {
    let port = Port::of(domain).await?;
    let below = port.channel(Some(workload_svid(domain, "/down").await?))?;
    let csr = AgentByHand::request(&PrivateKey::generate(KeyType::EcP256)?, Some(&SpiffeId::parse(&domain.id(""))?))?;
    SvidClient::new(below).new_downstream_x509ca(NewDownstreamX509caRequest { csr, preferred_ttl: 0 }).await?;
    let stranger = port.channel(None)?;
    ensure!(call(&stranger, "/spire.api.server.entry.v1.Entry/ListEntries", &[]).await?.is_err());
    call(&stranger, "/spire.api.server.bundle.v1.Bundle/GetBundle", &[]).await??;
    Ok(())
}
