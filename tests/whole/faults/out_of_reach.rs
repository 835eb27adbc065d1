//! Servers that are away, or another one in their place.

use std::fs;

use anyhow::{Context, Result, ensure};
use steeple_tests::{Agent, Domain, Scratch, case, skipped_on_the_reference, within};

use super::{identity_on_disk, json};
use crate::mistakes::ends_with;

/// In the words of the reference, wherever they stand in its text.
pub(super) const UNKNOWN_AUTHORITY: &str = "x509: certificate signed by unknown authority";

/// The server loses everything and begins anew, with authorities that nobody knows.
pub(crate) async fn begin_anew(domain: &mut Domain) -> Result<()> {
    domain.server.stop().await?;
    fs::remove_dir_all(&domain.server.data_dir)?;
    domain.server.start().await
}

#[test]
fn a_running_agent_serves_on_below_a_server_that_it_does_not_know_and_goes_on_with_its_own() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        if agent.program.is_reference {
            skipped_on_the_reference("a server with a new CA", "its running agent ends");
            return Ok(());
        }
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/web").await?;
        let mut stream = follower.into_stream()?;

        domain.server.stop().await?;
        let own = domain.server.data_dir.with_extension("own");
        fs::rename(&domain.server.data_dir, &own)?;
        domain.server.start().await?;
        let line = agent.process()?.line(UNKNOWN_AUTHORITY).await?;
        ensure!(line.contains("Failed to fetch authorized entries") || line.contains("SVID"), "{line}");
        // Whoever comes now is served, too.
        let update = agent.workload().follow().until_id("spiffe://example.org/web").await?;
        steeple_tests::verified(&update.svids[0])?;

        domain.server.stop().await?;
        fs::remove_dir_all(&domain.server.data_dir)?;
        fs::rename(&own, &domain.server.data_dir)?;
        domain.server.start().await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        within("the second SVID on the stream that was open all the time", async {
            loop {
                let update = stream.message().await?.context("the stream ended")?;
                if update.svids.iter().any(|svid| svid.spiffe_id == "spiffe://example.org/db") {
                    return anyhow::Ok(());
                }
            }
        })
        .await?
    })
}

/// An agent that has attested and was stopped.
async fn stopped(domain: &Domain, name: &str) -> Result<Agent> {
    let mut agent = domain.agent(name).await?;
    agent.stop().await?;
    Ok(agent)
}

/// Until an agent gives up: about a minute, all of them at the same time.
#[test]
fn an_agent_that_starts_without_its_server_ends_after_a_minute_and_keeps_what_it_has() -> Result<()> {
    case(async |scratch: &Scratch| {
        let mut renewed = Domain::builder().start(scratch).await?;
        let mut away = Domain::builder().start(scratch).await?;
        let mut of_another = stopped(&renewed, "node1").await?;
        let mut alone = stopped(&away, "node1").await?;
        let mut keyless = stopped(&away, "node2").await?;
        let svid_of_keyless = identity_on_disk(&keyless)?.0;
        fs::remove_file(keyless.data_dir.join("keys.json"))?;
        let mut misled = renewed.new_agent("node2").await?;
        begin_anew(&mut renewed).await?;
        away.server.stop().await?;
        let kept = (identity_on_disk(&of_another)?, identity_on_disk(&alone)?);
        of_another.launch(&[])?;
        alone.launch(&[])?;
        keyless.launch(&[])?;
        let token = renewed.server.token(&[]).await?;
        misled.launch(&["-joinToken", &token])?;

        of_another.process()?.line("Failed to initialize manager").await?;
        misled.process()?.line("Failed to retrieve attestation result").await?;
        keyless.process()?.line("SVID recovered, but no SVID key found").await?;
        for agent in [&of_another, &alone, &keyless, &misled] {
            ensure!(!agent.socket.exists(), "there is a socket");
        }
        ensure!(json(&misled.data_dir.join("agent-data.json"))?["svid"].is_null(), "an SVID of an unknown authority");
        ends_with(of_another.process()?, &["Agent crashed", UNKNOWN_AUTHORITY]).await?;
        ends_with(alone.process()?, &["Agent crashed", "connection refused"]).await?;
        ends_with(misled.process()?, &["Agent crashed", UNKNOWN_AUTHORITY]).await?;
        let no_token = "nodeattestor(join_token): join token was not provided";
        ends_with(keyless.process()?, &["Agent crashed", no_token]).await?;
        ensure!(identity_on_disk(&keyless)?.0 == svid_of_keyless, "another SVID");
        ensure!((identity_on_disk(&of_another)?, identity_on_disk(&alone)?) == kept, "an identity was changed");

        // The token was not shown to a server that nobody vouches for.
        fs::write(misled.conf.with_extension("pem"), renewed.server.bundle_pem().await?)?;
        misled.launch(&["-joinToken", &token])?;
        misled.healthy().await?;
        away.server.start().await?;
        alone.start().await
    })
}
