//! What goes with time. It takes an hour or more until agents are looked for, so our server runs in this process, on a clock that
//! goes ahead.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use steeple_proto::spire::api::server::agent::v1::BanAgentRequest;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use steeple_tests::{AgentByHand, Domain, Inside, Port, Shared, until};
use steeple_transport::dial;
use steeple_transport::id::on_wire;

/// What the configuration has for it.
pub(super) const KEYS: &str = "prune_attested_nodes_expired_for = \"30m\"\n    prune_tofu_nodes = true";
/// How long the SVIDs of agents last that shall be there in the end.
pub(super) const AGENT_TTL: &str = "12h";
/// That of the others.
const SHORT: &str = "1m";
/// How far the clock goes between two looks: it must not pass what a statement of the server may take.
const STEP: Duration = Duration::from_secs(5);

/// An entry and an agent end, each with what belongs to it alone, and are pruned, and so are the events since the first
/// entry; who is banned stays, and so does what somebody else registered. Returns the server, which runs on.
pub(super) async fn prunes(domain: &Domain, shared: &Shared, first: &str) -> Result<Inside> {
    let ttl = |length: &str| format!("agent_ttl = \"{length}\"");
    let conf = domain.server.reconfigure(|conf| conf.replace(&ttl(AGENT_TTL), &ttl(SHORT)))?;
    let clock = ManualClock::new(Clock::system().now());
    let inside = Inside::server(&domain.server, &clock)?;
    fs::write(&domain.server.conf, conf)?;
    until("our server", async || domain.server.command(&["healthcheck"]).await.ok()?.ok().ok()).await?;

    let port = Port::of(domain).await?;
    let (over, banned) = (AgentByHand::attest(domain, &port).await?, AgentByHand::attest(domain, &port).await?);
    let mut agents = AgentClient::new(dial::local(&domain.server.socket));
    agents.ban_agent(BanAgentRequest { id: Some(on_wire(&banned.id)) }).await?;
    let bundle = domain.server.conf.with_extension("pem");
    fs::write(&bundle, domain.server.bundle_pem().await?)?;
    let (federated, path) = ("spiffe://pruned.test", bundle.to_string_lossy());
    domain.server.command(&["bundle", "set", "-id", federated, "-path", &path]).await?.ok()?;
    let end = (clock.clock().unix_seconds() + 60).to_string();
    let flags = ["-entryExpiry", &end, "-dns", "a.test", "-federatesWith", federated];
    let ends = domain.entry(&domain.id("/n1"), "/ends", &flags).await?;
    // As `token generate -spiffeID` makes it; it goes with the agent.
    let (parent, id, selector) = (over.id.as_str(), domain.id("/alias"), format!("spiffe_id:{}", over.id));
    let flags = ["-parentID", parent, "-spiffeID", &id, "-selector", &selector];
    let alias = domain.server.create_entry(&flags).await?;
    let stays = domain.entry(parent, "/below", &[]).await?;

    let rows = format!(
        "SELECT entry_id FROM registered_entries WHERE entry_id IN ('{ends}', '{alias}') \
         UNION ALL SELECT spiffe_id FROM attested_node_entries WHERE spiffe_id = '{parent}'"
    );
    ensure!(shared.column(&rows).await?.len() == 3, "something is missing before it is over");
    // It may have gone in the course of the day.
    let event = format!("SELECT entry_id FROM registered_entries_events WHERE entry_id = '{first}'");
    let query = format!("{rows} UNION ALL {event}");
    let gone = async || {
        clock.advance(STEP);
        shared.column(&query).await.ok()?.is_empty().then_some(())
    };
    until("what is over to be pruned", gone).await?;
    ensure!(domain.server.entry_ids().await?.contains(&stays), "an entry below a pruned agent is gone");
    let is_there = domain.server.agents().await?.iter().any(|agent| agent["id"]["path"] == banned.id.path());
    ensure!(is_there, "a banned agent is gone");
    Ok(inside)
}
