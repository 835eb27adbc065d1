//! Agents that their server does not want any more, or whose SVID is over.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_runtime::Clock;
use steeple_spiffe::x509::Certificate;
use steeple_tests::{Agent, Domain, case, say, skipped_on_the_reference, until, within};

use super::{has_erased_its_identity, identity_on_disk};
use crate::mistakes::ends_with;
use crate::x509pop;

/// Ends the agent by a command at its server while a workload holds a stream.
async fn ended_by(domain: &Domain, agent: &mut Agent, command: &str) -> Result<()> {
    domain.entry(&agent.id, &format!("/{command}"), &[]).await?;
    let mut follower = agent.workload().follow();
    follower.until_id(&domain.id(&format!("/{command}"))).await?;
    let mut stream = follower.into_stream()?;
    domain.server.command(&["agent", command, "-spiffeID", &agent.id]).await?.ok()?;
    let denial = "code = PermissionDenied desc = authorization denied for method /";
    ends_with(agent.process()?, &["removing SVID and shutting down", denial]).await?;
    let reason = if command == "ban" { "reason=AGENT_BANNED" } else { "reason=AGENT_NOT_ATTESTED" };
    // SPIRE's has no such field.
    ensure!(agent.program.is_reference || agent.written()?.contains(reason), "no {reason}");
    within("the end of the stream", async { while let Ok(Some(_)) = stream.message().await {} }).await?;
    ensure!(!agent.socket.exists(), "there is a socket");
    has_erased_its_identity(agent)
}

#[test]
fn an_agent_that_is_banned_or_evicted_and_has_one_token_erases_its_identity_and_ends() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        for command in ["ban", "evict"] {
            let mut agent = domain.agent(command).await?;
            ended_by(&domain, &mut agent, command).await?;
            // Started again, it is nobody: it asks for a token, and has no socket.
            agent.launch(&[])?;
            agent.process()?.line("nodeattestor(join_token): join token was not provided").await?;
            ensure!(!agent.socket.exists(), "there is a socket");
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_is_banned_and_could_attest_again_erases_its_identity_and_stays_away() -> Result<()> {
    case(async |scratch| {
        let (domain, mut agent) = x509pop::domain_and_agent(scratch).await?;
        ended_by(&domain, &mut agent, "ban").await?;
        agent.launch(&[])?;
        ends_with(agent.process()?, &["code = PermissionDenied desc = failed to attest: agent is banned"]).await?;
        Ok(())
    })
}

/// Waits until the SVID that an agent has on disk is over.
async fn until_over(agent: &Agent) -> Result<()> {
    use base64::Engine;
    let (svid, _) = identity_on_disk(agent)?;
    let pem = base64::engine::general_purpose::STANDARD.decode(svid[0].as_str().context("no SVID")?)?;
    let leaf: Certificate = steeple_spiffe::x509::parse_pem(&String::from_utf8(pem)?)?.remove(0);
    let over = leaf.not_after() + Duration::from_secs(1);
    until("the end of the SVID", async || (Clock::system().now() > over).then_some(())).await
}

/// Until an agent gives up: about a minute.
#[test]
fn an_agent_that_was_off_until_its_svid_was_over_attests_again_or_ends_and_keeps_its_key() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().agent_ttl("15s").write(scratch)?;
        let (domain, mut again) = x509pop::server_and_agent(domain).await?;
        again.start().await?;
        domain.entry(&again.id, "/web", &[]).await?;
        again.workload().follow().until_id("spiffe://example.org/web").await?;
        again.stop().await?;
        until_over(&again).await?;
        again.start().await?;
        again.workload().follow().until_id("spiffe://example.org/web").await?;
        Ok(())
    })?;
    case(async |scratch| {
        let domain = Domain::builder().agent_ttl("15s").start(scratch).await?;
        let mut once = domain.agent("node1").await?;
        once.stop().await?;
        until_over(&once).await?;
        let (svid, keys) = identity_on_disk(&once)?;
        once.launch(&[])?;
        ends_with(once.process()?, &["nodeattestor(join_token): join token was not provided"]).await?;
        ensure!(!once.socket.exists(), "there is a socket");
        // It may have been the clock that was wrong: nothing is erased that was not taken back.
        let (svid_after, keys_after) = identity_on_disk(&once)?;
        ensure!(svid_after == svid, "another SVID");
        let names = keys.as_object().context("no keys")?.keys();
        ensure!(names.into_iter().all(|name| keys_after[name] == keys[name]), "another key");
        Ok(())
    })
}

#[test]
fn an_agent_whose_svid_ends_while_its_server_is_away_serves_on_until_the_server_is_back() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().agent_ttl("15s").write(scratch)?;
        let (mut domain, mut again) = x509pop::server_and_agent(domain).await?;
        if again.program.is_reference {
            skipped_on_the_reference("an SVID that ends while the server is away", "it ends with it");
            return Ok(());
        }
        again.start().await?;
        domain.entry(&again.id, "/again", &[]).await?;
        again.workload().follow().until_id("spiffe://example.org/again").await?;
        domain.server.stop().await?;
        until_over(&again).await?;
        again.process()?.line("Could not reattest agent").await?;
        let update = again.workload().follow().until_id("spiffe://example.org/again").await?;
        steeple_tests::verified(&update.svids[0])?;
        domain.server.start().await?;
        again.process()?.line("Successfully reattested node").await?;
        domain.entry(&again.id, "/more", &[]).await?;
        again.workload().follow().until_id("spiffe://example.org/more").await?;
        say("faults: an agent whose SVID ended while its server was away served on and attested again");
        Ok(())
    })
}

#[test]
fn an_agent_with_one_token_whose_svid_ended_while_its_server_was_away_ends_when_the_server_is_back() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().agent_ttl("15s").start(scratch).await?;
        let mut once = domain.agent("node1").await?;
        domain.entry(&once.id, "/once", &[]).await?;
        once.workload().follow().until_id("spiffe://example.org/once").await?;
        domain.server.stop().await?;
        until_over(&once).await?;
        if !once.program.is_reference {
            once.process()?.line("Could not rotate agent SVID").await?;
            once.workload().follow().until_id("spiffe://example.org/once").await?;
            domain.server.start().await?;
        }
        let words = "current SVID has already expired and rotate agent SVID failed: ";
        ends_with(once.process()?, &["Agent crashed", words]).await
    })
}
