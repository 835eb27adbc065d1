//! The reference takes back a database after a day of our writes: rotations, taints, attestations, renewals, bans, entries,
//! bundles and federation relationships that come, change and go, and prunes. It lists the same, its caches are whole, and it rotates on.

mod pruned;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{BanAgentRequest, DeleteAgentRequest};
use steeple_proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_tests::x509pop::JOIN_TOKEN;
use steeple_tests::{
    Agent, AgentByHand, Binaries, Domain, Port, Random, Scratch, Server, Shared, case, free_port, http, say, until,
    x509pop,
};
use steeple_transport::dial;
use steeple_transport::id::on_wire;

use crate::domain::{self, WEB};
use crate::mixed::Side;
use crate::mixed::writer::Writer;

/// How often authorities are rotated by hand, and entries and bundles written between two rotations and in the end.
const ROTATIONS: usize = 4;
const WRITES: usize = 60;

/// What both sides list. Sets are sorted, and so is what has no order.
const LISTS: [&[&str]; 7] = [
    &["entry", "show"],
    &["agent", "list"],
    &["bundle", "show"],
    &["bundle", "list"],
    &["federation", "list"],
    &["localauthority", "x509", "show"],
    &["localauthority", "jwt", "show"],
];
const SETS: [&str; 6] = ["entries", "agents", "bundles", "federation_relationships", "selectors", "federates_with"];

#[test]
fn the_reference_takes_back_a_sqlite_file_after_a_day_of_our_writes() -> Result<()> {
    case(async |scratch| taken_back(scratch, &Shared::on_sqlite(scratch), "SQLite").await)
}

#[test]
fn the_reference_takes_back_a_postgresql_database_after_a_day_of_our_writes() -> Result<()> {
    case(async |scratch| taken_back(scratch, &Shared::on_postgres(scratch).await?, "PostgreSQL").await)
}

#[test]
fn the_reference_takes_back_a_mariadb_database_after_a_day_of_our_writes() -> Result<()> {
    case(async |scratch| taken_back(scratch, &Shared::on_mariadb(scratch).await?, "MariaDB").await)
}

async fn taken_back(scratch: &Scratch, shared: &Shared, name: &str) -> Result<()> {
    let (ours, theirs) = (Binaries::find()?.clone(), Binaries::peers()?);
    // Events are pruned after ten seconds, in place of twelve hours.
    let experimental = "experimental {\n        cache_reload_interval = \"1s\"\n        events_based_cache = true\n        \
                        prune_events_older_than = \"10s\"\n    }";
    let builder = Domain::builder().default_intervals().agent_ttl(pruned::AGENT_TTL).server_text(pruned::KEYS);
    let builder = builder.server_text(experimental).database(shared.database.clone());
    let (mut domain, mut agent) = domain::of(builder, &theirs.server, &theirs.agent, scratch).await?;
    agent.stop().await?;
    domain::asks_each_second(&agent)?;
    agent.start().await?;
    let first = domain.entry(&agent.id, "/web", &[]).await?;
    agent.workload().follow().until_id(WEB).await?;
    agent.stop().await?;
    domain.server.stop().await?;

    domain.server.program = ours.server;
    let both = format!("{JOIN_TOKEN}\n    {}", x509pop::of_server());
    domain.server.reconfigure(|conf| conf.replace(JOIN_TOKEN, &both))?;
    domain.server.start().await?;
    let (by_hand, mut writer) = a_day(&domain, &mut agent, name).await?;
    agent.stop().await?;
    let mut by_selectors = attested_by_selectors(&domain).await?;
    domain.server.stop().await?;
    let inside = pruned::prunes(&domain, shared, &first).await?;
    writer.write(WRITES).await?;
    let left = lists(&domain.server).await?;
    inside.stop().await?;

    domain.server.program = theirs.server;
    let metrics = free_port()?;
    let telemetry = format!(
        "telemetry {{\n    Prometheus {{\n        host = \"127.0.0.1\"\n        port = {metrics}\n    }}\n}}\n"
    );
    domain.server.reconfigure(|conf| format!("{conf}{telemetry}"))?;
    domain.server.start().await?;
    for ((command, ours), (_, theirs)) in left.iter().zip(lists(&domain.server).await?) {
        ensure!(*ours == theirs, "{command}: {theirs:#} in place of {ours:#}");
    }
    chases_no_gaps(metrics).await?;
    let told = authorized(&domain, &by_hand).await?;
    by_selectors.start().await?;
    domain.entry(&domain.id(ALIAS), "/after-by-selectors", &[]).await?;
    let log = by_selectors.process()?.log()?;
    ensure!(!log.contains("Node attestation was successful"), "the node attested again");
    for path in [BY_SELECTORS, "/after-by-selectors"] {
        by_selectors.workload().follow().until_id(&domain.id(path)).await?;
    }
    by_selectors.stop().await?;
    agent.start().await?;
    rotates(&domain, &agent).await?;
    domain.entry(&agent.id, "/after", &[]).await?;
    agent.workload().follow().until_id(&domain.id("/after")).await?;
    let log = agent.process()?.log()?;
    ensure!(!log.contains("Node attestation was successful"), "the agent attested again");
    let log = domain.server.process()?.log()?;
    // Nobody answers where the relationships lead.
    let is_bad = |line: &&str| line.contains("level=error") && !line.contains("subsystem_name=bundle_client");
    let bad: Vec<_> = log.lines().filter(is_bad).collect();
    ensure!(bad.is_empty(), "the reference says {bad:#?}");
    let entries = left[0].1["entries"].as_array().map_or(0, Vec::len);
    say(&format!("peer: {name}: taken back by the reference: {entries} entries listed alike, {told} told to an agent"));
    Ok(())
}

/// A day of our server; returns an agent that lives on, and who writes on.
async fn a_day(domain: &Domain, agent: &mut Agent, name: &str) -> Result<(AgentByHand, Writer)> {
    agent.start().await?;
    let mut random = Random::seeded(&format!("day, {name}"))?;
    let before = serial(domain).await?;
    let old = rotates(domain, agent).await?;
    // Whoever has an SVID of the old authority is lost when it is revoked.
    until("the agent's next SVID", async || (serial(domain).await.ok()? != before).then_some(())).await?;
    for (kind, id) in KINDS.into_iter().zip(old) {
        domain.server.command(&["localauthority", kind, "revoke", "-authorityID", &id]).await?.ok()?;
    }
    federate(&domain.server).await?;
    let port = Port::of(domain).await?;
    let mut agents = Vec::new();
    for _ in 0..4 {
        agents.push(AgentByHand::attest(domain, &port).await?);
    }
    let parents = agents.iter().map(|agent| agent.id.to_string()).chain([agent.id.clone(), domain.id("/n1")]).collect();
    let channel = dial::local(&domain.server.socket);
    let mut writer = Writer::new(Side::Ours, channel.clone(), &domain.name, parents, random.another());
    for _ in 0..ROTATIONS {
        writer.write(WRITES).await?;
        rotates(domain, agent).await?;
        domain.server.token(&[]).await?;
    }
    // One is renewed and shows it, one is renewed and does not, one is banned, one is forgotten.
    let port = Port::of(domain).await?;
    for agent in &mut agents {
        agent.channel = port.channel(Some(agent.credential.clone()))?;
    }
    let [renewed, waiting, banned, forgotten] = &*agents else { anyhow::bail!("four agents") };
    let credential = renewed.renew().await?;
    let request = GetAuthorizedEntriesRequest { output_mask: None };
    EntryClient::new(port.channel(Some(credential.clone()))?).get_authorized_entries(request).await?;
    waiting.renew().await?;
    let mut api = AgentClient::new(channel);
    api.ban_agent(BanAgentRequest { id: Some(on_wire(&banned.id)) }).await?;
    api.delete_agent(DeleteAgentRequest { id: Some(on_wire(&forgotten.id)) }).await?;
    agent.workload().follow().until_id(WEB).await?;
    let mut lives_on = agents.swap_remove(0);
    lives_on.credential = credential;
    Ok((lives_on, writer))
}

/// Of all nodes with a selector.
const ALIAS: &str = "/alias-of-nodes";
/// A workload of theirs.
const BY_SELECTORS: &str = "/by-selectors";

/// A node whose agent has served a workload that it has by its selectors.
async fn attested_by_selectors(domain: &Domain) -> Result<Agent> {
    let mut agent = domain.new_agent("node2").await?;
    agent.reconfigure(|conf| conf.replace(JOIN_TOKEN, &x509pop::of_agent()))?;
    agent.start().await?;
    let alias = domain.id(ALIAS);
    domain.server.create_entry(&["-node", "-spiffeID", &alias, "-selector", x509pop::SELECTOR]).await?;
    domain.entry(&alias, BY_SELECTORS, &[]).await?;
    agent.workload().follow().until_id(&domain.id(BY_SELECTORS)).await?;
    agent.stop().await?;
    Ok(agent)
}

/// A relationship of each profile, one that has changed, and one that has gone.
async fn federate(server: &Server) -> Result<()> {
    let web = ["-bundleEndpointProfile", "https_web"];
    let spiffe = |id| ["-bundleEndpointProfile", "https_spiffe", "-endpointSpiffeID", id];
    let run = async |verb: &str, name: &str, path: &str, profile: &[&str]| {
        let url = format!("https://127.0.0.1:1/{path}");
        let about = ["federation", verb, "-trustDomain", name, "-bundleEndpointURL", &url];
        server.command(&[&about, profile].concat()).await?.ok()
    };
    run("create", "web.test", "web", &web).await?;
    run("create", "spiffe.test", "spiffe", &spiffe("spiffe://spiffe.test/endpoint")).await?;
    run("create", "changed.test", "before", &web).await?;
    run("update", "changed.test", "after", &spiffe("spiffe://changed.test/endpoint")).await?;
    run("create", "gone.test", "gone", &web).await?;
    server.command(&["federation", "delete", "-id", "gone.test"]).await?.ok()?;
    let listed = server.command(&["federation", "list", "-output", "json"]).await?.json()?;
    let listed = listed["federation_relationships"].as_array().map_or(0, Vec::len);
    ensure!(listed == 3, "{listed} relationships");
    Ok(())
}

/// The serial number of the first agent's SVID.
async fn serial(domain: &Domain) -> Result<Value> {
    let agents = domain.server.agents().await?;
    Ok(agents.first().context("no agent")?["x509svid_serial_number"].clone())
}

const KINDS: [&str; 2] = ["x509", "jwt"];

/// A new authority of each kind takes over when the agent knows it, and what signed before is tainted. Returns the IDs of the
/// latter.
async fn rotates(domain: &Domain, agent: &Agent) -> Result<Vec<String>> {
    let server = &domain.server;
    let mut old = Vec::new();
    for kind in KINDS {
        let run = async |verb: &str, flags: &[&str]| {
            let args = [&["localauthority", kind, verb, "-output", "json"], flags].concat();
            server.command(&args).await?.json()
        };
        let id = |answer: &Value| {
            let id = answer["authority_id"].as_str().map(str::to_owned);
            id.with_context(|| format!("no authority in {answer}"))
        };
        let before = id(&run("show", &[]).await?["active"])?;
        let prepared = id(&run("prepare", &[]).await?["prepared_authority"])?;
        // Whoever has not heard of it cannot come back.
        let all = server.authorities().await?["x509"].as_array().map_or(0, Vec::len);
        agent.workload().follow().until_authorities(all).await?;
        run("activate", &["-authorityID", &prepared]).await?;
        run("taint", &["-authorityID", &before]).await?;
        let now = run("show", &[]).await?;
        ensure!(id(&now["active"])? == prepared && id(&now["old"])? == before, "{now}");
        old.push(before);
    }
    Ok(old)
}

/// By command.
async fn lists(server: &Server) -> Result<Vec<(String, Value)>> {
    let mut lists = Vec::new();
    for command in LISTS {
        let mut answer = server.command(&[command, &["-output", "json"]].concat()).await?.json()?;
        sort_sets(&mut answer);
        lists.push((command.join(" "), answer));
    }
    Ok(lists)
}

fn sort_sets(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort_sets),
        Value::Object(fields) => {
            for (name, value) in fields {
                sort_sets(value);
                if let (true, Value::Array(items)) = (SETS.contains(&name.as_str()), value) {
                    items.sort_by_key(Value::to_string);
                }
            }
        }
        _ => {}
    }
}

/// How many entries the reference tells an agent of, which are those that it lists below it.
async fn authorized(domain: &Domain, agent: &AgentByHand) -> Result<usize> {
    let port = Port::of(domain).await?;
    let mut entries = EntryClient::new(port.channel(Some(agent.credential.clone()))?);
    let store = crate::mixed::views::Store::at(dial::local(&domain.server.socket)).await?;
    let told = entries.get_authorized_entries(GetAuthorizedEntriesRequest { output_mask: None }).await?.into_inner();
    let told = crate::mixed::views::decoded(told.entries)?;
    ensure!(told == store.authorized(agent.id.as_str()), "the reference tells {told:?}");
    Ok(told.len())
}

/// The reference counts the ids of events that it misses.
async fn chases_no_gaps(port: u16) -> Result<()> {
    let gauges = async || {
        let (_, text) = http(port, "GET /metrics", "").await.ok()?;
        let found: Vec<_> =
            text.lines().filter(|line| line.contains("skipped") && !line.starts_with('#')).map(str::to_owned).collect();
        (found.len() >= 2).then_some(found)
    };
    let gauges = until("the gauges of events that are missed", gauges).await?;
    ensure!(gauges.iter().all(|line| line.ends_with(" 0")), "{gauges:?}");
    Ok(())
}
