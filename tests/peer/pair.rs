//! One's server with the other's agent: attestation, sync, rotation of everything, and restarts without warning.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use steeple_tests::{Agent, Binaries, Domain, Program, Scratch, case, own_selector, say, until};
use tonic::Code;

use crate::domain::{self, WEB, next_svid};

const ROTATIONS: usize = 3;

#[test]
fn our_server_and_their_agent_are_a_trust_domain() -> Result<()> {
    let peers = Binaries::peers()?;
    case(async |scratch| live("our server, their agent", &Binaries::find()?.server, &peers.agent, scratch).await)
}

#[test]
fn their_server_and_our_agent_are_a_trust_domain() -> Result<()> {
    let peers = Binaries::peers()?;
    case(async |scratch| live("their server, our agent", &peers.server, &Binaries::find()?.agent, scratch).await)
}

/// All that a trust domain lives through, in one life.
async fn live(who: &str, server: &Program, agent: &Program, scratch: &Scratch) -> Result<()> {
    let builder = Domain::builder().x509_svid_ttl("20s").agent_ttl("40s").server_key("ca_ttl", "60s");
    let (mut domain, mut agent) = domain::of(builder, server, agent, scratch).await?;
    syncs(&domain, &agent).await?;
    rotates(&domain, &agent).await?;
    restarts(&mut domain, &mut agent).await?;
    say(&format!("peer: {who}: attested, synced, {ROTATIONS} rotations each of SVID, agent and authority, 3 kills"));
    Ok(())
}

/// Entries that come, change and go, and tokens.
async fn syncs(domain: &Domain, agent: &Agent) -> Result<()> {
    domain.entry(&agent.id, "/web", &["-hint", "internal"]).await?;
    let mut follower = agent.workload().follow();
    let update = follower.until_id(WEB).await?;
    ensure!(update.svids[0].hint == "internal");
    let entry = domain.entry(&agent.id, "/db", &[]).await?;
    follower.until_id("spiffe://example.org/db").await?;
    let selector = own_selector();
    let flags = ["-parentID", &agent.id, "-spiffeID", "spiffe://example.org/other", "-selector", &selector];
    let update = [&["entry", "update", "-entryID", &entry][..], &flags].concat();
    domain.server.command(&update).await?.ok()?;
    follower.until_id("spiffe://example.org/other").await?;
    domain.server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
    follower.until("one SVID", |update| update.svids.len() == 1).await?;

    let token = agent.workload().jwt_svids("billing").await?.swap_remove(0).svid;
    let valid = agent.workload().validate_jwt("billing", &token).await?;
    ensure!(valid.spiffe_id == WEB, "{valid:?}");
    let refused = agent.workload().validate_jwt("shipping", &token).await.err().context("a wrong audience is good")?;
    ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
    Ok(())
}

/// Workload's SVID, agent's SVID and authority, on one stream that stays open.
async fn rotates(domain: &Domain, agent: &Agent) -> Result<()> {
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    let mut stream = follower.into_stream()?;
    let (mut svids, mut issuers, mut agents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    while [&svids, &agents, &issuers].iter().any(|seen| seen.len() <= ROTATIONS) {
        let (serial, issuer) = next_svid(&mut stream).await?;
        svids.insert(serial);
        issuers.insert(issuer);
        let known = domain.server.agents().await?;
        ensure!(known.len() == 1, "{known:?}");
        agents.insert(known[0]["x509svid_serial_number"].to_string());
    }
    Ok(())
}

/// Either is killed, then both; who they are and what they know is kept, and what comes next arrives.
async fn restarts(domain: &mut Domain, agent: &mut Agent) -> Result<()> {
    domain.server.kill();
    domain.server.start().await?;
    arrives(domain, agent, "/after-server").await?;
    agent.kill();
    agent.start().await?;
    arrives(domain, agent, "/after-agent").await?;
    agent.kill();
    domain.server.kill();
    domain.server.start().await?;
    agent.start().await?;
    arrives(domain, agent, "/after-both").await?;
    let agents = domain.server.agents().await?;
    ensure!(agents.len() == 1, "{agents:?}");
    Ok(())
}

async fn arrives(domain: &Domain, agent: &Agent, path: &str) -> Result<()> {
    domain.entry(&agent.id, path, &[]).await?;
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    follower.until_id(&domain.id(path)).await?;
    until("a token", async || agent.workload().jwt_svids("billing").await.ok()).await?;
    Ok(())
}
