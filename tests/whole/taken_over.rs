//! What SPIRE 1.15.3 left behind is taken over as it is: its configuration, database, keys, and agents.

mod databases;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::unistd::Uid;
use serde_json::Value;
use steeple_spiffe::x509::{hex, parse_pem};
use steeple_tests::{Agent, Bootstrap, Domain, Installation, case, say, verified};

use crate::mistakes::ends_with;

/// A server in use and three agents, the third of which is banned; the README there says how they came to be. Nothing
/// in it ends before October 2036.
const LEFT_BEHIND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/whole/data/spire-1.15.3");
const PORT: &str = "8081";

/// The same of another run, whose clocks were those of India: its database has times in that zone, as text. That and what
/// the server said are with the other databases.
const IN_INDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/whole/data/spire-1.15.3-kolkata");
/// A small server below an authority that is in a file, and one agent.
const BELOW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/whole/data/spire-1.15.3-upstream");
const DATABASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/datastore/tests/data");

#[test]
fn a_server_and_agents_of_the_reference_go_on_where_they_were_stopped() -> Result<()> {
    let left_behind = Path::new(LEFT_BEHIND);
    go_on(left_behind, &left_behind.join("manifest.json"), &left_behind.join("server/datastore.sqlite3"), "UTC")
}

#[test]
fn a_server_and_agents_of_the_reference_in_another_zone_go_on_where_they_were_stopped() -> Result<()> {
    let of_database = Path::new(DATABASES).join("kolkata");
    let (manifest, database) = (of_database.with_extension("json"), of_database.with_extension("sqlite3"));
    go_on(Path::new(IN_INDIA), &manifest, &database, "Asia/Kolkata")
}

#[test]
fn a_server_of_the_reference_below_another_authority_goes_on_where_it_was_stopped() -> Result<()> {
    case(async |scratch| {
        let left_behind = Path::new(BELOW);
        let said: Value = serde_json::from_slice(&fs::read(left_behind.join("manifest.json"))?)?;
        let mut domain = Domain::builder().write(scratch)?;
        let dir = domain.server.conf.parent().context("no directory")?.to_owned();
        copy(left_behind, &dir)?;
        let port = domain.server.port.to_string();
        domain.server.reconfigure(|conf| conf.replace(PORT, &port))?;
        let keys = keys_of(&domain.server)?;
        domain.server.start().await?;
        is_the_same_server(&domain, &said).await?;
        for kind in ["x509", "jwt"] {
            let shown = domain.server.command(&["localauthority", kind, "show", "-output", "json"]).await?.json()?;
            for place in ["active", "prepared", "old"] {
                let (shown, said) = (&shown[place], &said["authority_state"][kind][place]);
                ensure!(shown["authority_id"] == said["authority_id"], "{kind} {place}: {shown} in place of {said}");
            }
        }
        let mut agent = agent_left_behind(&domain, "node1", &dir)?;
        agent.start().await?;
        serves(&domain, &agent, "/web").await?;
        agent.stop().await?;
        domain.server.stop().await?;
        ensure!(keys_of(&domain.server)? == keys, "the server has other keys");
        say(
            "taken over: a server of SPIRE 1.15.3 below another authority, and its agent, go on with their keys and IDs",
        );
        Ok(())
    })
}

fn go_on(left_behind: &Path, manifest: &Path, database: &Path, zone: &str) -> Result<()> {
    case(async |scratch| {
        let said: Value = serde_json::from_slice(&fs::read(manifest)?)?;
        let mut domain = Domain::builder().write(scratch)?;
        let dir = domain.server.conf.parent().context("no directory")?.to_owned();
        copy(left_behind, &dir)?;
        fs::copy(database, dir.join("server/datastore.sqlite3"))?;
        let in_zone = vec!["env".to_owned(), format!("TZ={zone}")];
        domain.server.starter.clone_from(&in_zone);
        // Nothing but the port is changed.
        let port = domain.server.port.to_string();
        domain.server.reconfigure(|conf| conf.replace(PORT, &port))?;
        let keys = keys_of(&domain.server)?;

        domain.server.start().await?;
        is_the_same_server(&domain, &said).await?;

        for (node, path) in [("node1", "/root-workload"), ("node2", "/on-node2")] {
            let mut agent = agent_left_behind(&domain, node, &dir)?;
            agent.starter.clone_from(&in_zone);
            let keys = keys_of(&agent)?;
            agent.start().await?;
            serves(&domain, &agent, path).await?;
            let jwt = &said["minted"]["jwt_svid"]["token"];
            let jwt = jwt.as_str().context("no JWT-SVID")?;
            agent.workload().validate_jwt("fixture-audience", jwt).await?;
            ensure!(keys_of(&agent)? == keys, "{node}: other keys");
            let log = agent.process()?.log()?;
            ensure!(!log.contains("Node attestation was successful"), "{node} attested again");
            agent.stop().await?;
        }

        let mut banned = agent_left_behind(&domain, "node3", &dir)?;
        banned.starter = in_zone;
        knows_the_server(&banned, &dir)?;
        banned.launch(&[])?;
        ends_with(banned.process()?, &["Agent is banned"]).await?;

        is_the_same_server(&domain, &said).await?;
        domain.server.stop().await?;
        ensure!(keys_of(&domain.server)? == keys, "the server has other keys");
        domain.server.reconfigure(|conf| conf.replace("\"example.org\"", "\"other.test\""))?;
        domain.server.launch(&[])?;
        let words = "which does not match the configured trust domain of 'other.test'";
        ends_with(domain.server.process()?, &[words]).await?;
        say(&format!(
            "taken over: server and 2 agents of SPIRE 1.15.3 in the zone {zone} go on with their keys and IDs, a banned one \
             stays away"
        ));
        Ok(())
    })
}

/// Its authorities in their order, and its agents with their SVIDs' serial numbers: nobody has attested, nor renewed.
async fn is_the_same_server(domain: &Domain, said: &Value) -> Result<()> {
    let authorities = domain.server.authorities().await?;
    let mut shown = Vec::new();
    for authority in authorities["x509"].as_array().context("no X.509 authorities")? {
        let der = STANDARD.decode(authority["asn1"].as_str().context("an authority without its certificate")?)?;
        shown.push((hex(&steeple_pki::sha256(&der)), authority["tainted"].clone()));
    }
    let list = said["x509_authorities"].as_array().context("no authorities in the manifest")?;
    let expected: Vec<_> = list
        .iter()
        .map(|authority| (authority["sha256"].as_str().unwrap_or_default().to_owned(), authority["tainted"].clone()))
        .collect();
    ensure!(shown == expected, "authorities {shown:?} in place of {expected:?}");

    let in_order = |mut agents: Vec<Value>| {
        // Builds of one version call themselves differently.
        agents.iter_mut().for_each(|agent| drop(agent["agent_version"].take()));
        agents.sort_by_key(|agent| agent["id"]["path"].to_string());
        agents
    };
    let agents = in_order(domain.server.agents().await?);
    let expected = in_order(said["agents"].as_array().context("no agents in the manifest")?.clone());
    ensure!(agents == expected, "agents {agents:#?} in place of {expected:#?}");
    Ok(())
}

/// An agent on what it had left.
fn agent_left_behind(domain: &Domain, node: &str, dir: &Path) -> Result<Agent> {
    let name = format!("agent-{node}");
    // The third one's configuration was the first one's.
    let of = if node == "node3" { "node1" } else { node };
    let text = fs::read_to_string(dir.join(format!("agent-{of}.conf")))?;
    let mut agent = domain.agent_that_begins(&name, Bootstrap::Insecure)?;
    agent.socket = dir.join(format!("s-{node}/api.sock"));
    fs::write(&agent.conf, text.replace(of, node).replace(PORT, &domain.server.port.to_string()))?;
    let data: Value = serde_json::from_slice(&fs::read(agent.data_dir.join("agent-data.json"))?)?;
    agent.id = id_in(&data)?;
    Ok(agent)
}

/// An agent that was stopped before the server had other authorities gets the bundle of one that was not: otherwise it
/// would not come as far as its ban.
fn knows_the_server(agent: &Agent, dir: &Path) -> Result<()> {
    let path = agent.data_dir.join("agent-data.json");
    let mut data: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let mut other: Value = serde_json::from_slice(&fs::read(dir.join("agent-node1/agent-data.json"))?)?;
    data["bundle"] = other["bundle"].take();
    Ok(fs::write(path, data.to_string())?)
}

/// The SPIFFE ID of the SVID in an agent's data.
fn id_in(data: &Value) -> Result<String> {
    let first = data["svid"].as_array().and_then(|chain| chain[0].as_str()).context("no SVID in the agent's data")?;
    let pem = String::from_utf8(STANDARD.decode(first)?)?;
    let leaf = parse_pem(&pem)?.swap_remove(0);
    Ok(leaf.spiffe_id()?.to_string())
}

/// What was registered before, which is for root, and what is registered now.
async fn serves(domain: &Domain, agent: &Agent, path: &str) -> Result<()> {
    let now = format!("{path}-now");
    domain.entry(&agent.id, &now, &[]).await?;
    let update = agent.workload().follow().until_id(&domain.id(&now)).await?;
    for svid in &update.svids {
        verified(svid)?;
    }
    let before = update.svids.iter().any(|svid| svid.spiffe_id == domain.id(path));
    ensure!(before || !Uid::current().is_root(), "{path} is not served: {update:?}");
    Ok(())
}

fn keys_of(installation: &Installation) -> Result<Vec<u8>> {
    Ok(fs::read(installation.data_dir.join("keys.json"))?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry, &target)?;
        } else {
            fs::copy(&entry, &target)?;
        }
    }
    Ok(())
}
