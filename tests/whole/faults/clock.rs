//! Clocks that are wrong, and machines that sleep.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_proto::workload::X509svidResponse;
use steeple_runtime::Clock;
use steeple_spiffe::x509::{Certificate, parse_chain_der};
use steeple_tests::{
    Agent, Domain, Follower, Scratch, WallClock, cannot_run_here, case, say, skipped_on_the_reference,
};

use super::{has_erased_its_identity, identity_on_disk, json};
use crate::mistakes::ends_with;
use crate::x509pop;

/// A little more than an hour: certificates are backdated.
const AN_HOUR: i64 = 3700;

const NOT_NOW: &str = "certificate has expired or is not yet valid";

/// Runs a case if this machine can.
fn with_clocks(name: &str, body: impl AsyncFnOnce(&Scratch) -> Result<()>) -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().write(scratch)?;
        if domain.server.program.is_reference {
            skipped_on_the_reference(name, "programs in Go ask the kernel for the time, past every library");
            return Ok(());
        }
        match WallClock::missing() {
            Some(reason) => cannot_run_here(name, &reason),
            None => body(scratch).await,
        }
    })
}

fn leaf(update: &X509svidResponse) -> Result<Certificate> {
    let svid = update.svids.first().context("no SVID")?;
    Ok(parse_chain_der(&svid.x509_svid)?.remove(0))
}

/// Has an agent attest, and follows the SVIDs of a workload whose first one is there.
async fn attested_and_followed(domain: &Domain, agent: &mut Agent) -> Result<Follower> {
    domain.attest(agent).await?;
    domain.entry(&agent.id, "/web", &[]).await?;
    let mut follower = agent.workload().follow();
    follower.until_id("spiffe://example.org/web").await?;
    Ok(follower)
}

#[test]
fn an_agent_whose_clock_is_an_hour_off_says_so_and_attests_when_it_is_right() -> Result<()> {
    with_clocks("an agent whose clock is wrong", async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut left_wrong = Vec::new();
        for (name, ahead) in [("ahead", AN_HOUR), ("behind", -AN_HOUR)] {
            let token = domain.server.token(&[]).await?;
            let (mut agent, mut other) = (domain.new_agent(name).await?, domain.new_agent(&format!("{name}2")).await?);
            let clock = WallClock::of(&mut agent)?;
            clock.set(ahead)?;
            WallClock::of(&mut other)?.set(ahead)?;
            for agent in [&mut agent, &mut other] {
                agent.launch(&["-joinToken", &token])?;
                let line = agent.process()?.line("Failed to retrieve attestation result").await?;
                ensure!(line.contains(NOT_NOW), "{line}");
                ensure!(!agent.socket.exists(), "there is a socket");
                ensure!(json(&agent.data_dir.join("agent-data.json"))?["svid"].is_null(), "there is an SVID");
            }
            clock.set(0)?;
            // The token was not used up.
            agent.healthy().await?;
            left_wrong.push(other);
        }
        for mut agent in left_wrong {
            ends_with(agent.process()?, &["Agent crashed", NOT_NOW]).await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_whose_clock_is_an_hour_off_is_waited_for_and_its_agents_serve_on() -> Result<()> {
    with_clocks("a server whose clock is wrong", async |scratch| {
        for ahead in [AN_HOUR, -AN_HOUR] {
            let mut domain = Domain::builder().start(scratch).await?;
            let mut agent = domain.agent("node1").await?;
            domain.entry(&agent.id, "/web", &[]).await?;
            agent.workload().follow().until_id("spiffe://example.org/web").await?;
            let authorities = domain.server.authorities().await?;
            domain.server.stop().await?;
            let clock = WallClock::of(&mut domain.server)?;
            clock.set(ahead)?;
            domain.server.start().await?;
            agent.process()?.line(NOT_NOW).await?;
            let update = agent.workload().follow().until_id("spiffe://example.org/web").await?;
            steeple_tests::verified(&update.svids[0])?;
            // Its own SVID is replaced as soon as its clock is right, and nothing else was made anew.
            clock.set(0)?;
            domain.entry(&agent.id, "/db", &[]).await?;
            let update = agent.workload().follow().until_id("spiffe://example.org/db").await?;
            steeple_tests::verified(&update.svids[0])?;
            ensure!(domain.server.authorities().await? == authorities, "other authorities");
        }
        Ok(())
    })
}

#[test]
fn an_agent_whose_clock_is_set_an_hour_ahead_shows_nothing_that_is_over_and_is_well_when_it_is_set_back() -> Result<()>
{
    with_clocks("an agent whose clock is set", async |scratch| {
        let domain = Domain::builder().agent_ttl("24h").x509_svid_ttl("20m").start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let clock = WallClock::of(&mut agent)?;
        let mut follower = attested_and_followed(&domain, &mut agent).await?;
        let kept = identity_on_disk(&agent)?;

        clock.set(AN_HOUR)?;
        agent.process()?.line("SVID ended before it could be renewed").await?;
        // What the server signs now is over by this clock; it is not asked again and again.
        let process = agent.process()?;
        process.line("the server sent an SVID that has ended by the clock of this host").await?;
        // A clock that is set back before anybody has looked at it has not jumped.
        process.line("The clock has jumped").await?;

        clock.set(0)?;
        let update = follower.until_id("spiffe://example.org/web").await?;
        steeple_tests::verified(&update.svids[0])?;
        let times = agent.process()?.log()?.matches("an SVID that has ended by the clock").count();
        ensure!(times < 20, "asked {times} times for SVIDs that were over");
        ensure!(identity_on_disk(&agent)? == kept, "another identity");
        Ok(())
    })
}

#[test]
fn an_agent_whose_clock_is_set_an_hour_back_serves_on() -> Result<()> {
    with_clocks("an agent whose clock is set back", async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let clock = WallClock::of(&mut agent)?;
        let mut follower = attested_and_followed(&domain, &mut agent).await?;
        let kept = identity_on_disk(&agent)?;
        clock.set(-AN_HOUR)?;
        agent.process()?.line("The clock has jumped").await?;
        // Over the connection that it has, also what is new.
        domain.entry(&agent.id, "/db", &[]).await?;
        let update = follower.until_id("spiffe://example.org/db").await?;
        ensure!(update.svids.len() == 2, "{update:?}");
        ensure!(identity_on_disk(&agent)? == kept, "another identity");
        Ok(())
    })
}

#[test]
fn svids_that_ended_while_the_machine_slept_are_replaced_at_once() -> Result<()> {
    const SLEEP: i64 = 30 * 60;
    with_clocks("a machine that slept", async |scratch| {
        let mut domain = Domain::builder().agent_ttl("1h").x509_svid_ttl("10m").write(scratch)?;
        let clock = WallClock::of(&mut domain.server)?;
        domain.server.start().await?;
        let mut agent = domain.new_agent("node1").await?;
        clock.give_to(&mut agent)?;
        let mut follower = attested_and_followed(&domain, &mut agent).await?;

        clock.set(SLEEP)?;
        let awake = Clock::system().now() + Duration::from_secs(SLEEP.unsigned_abs());
        let is_good = |update: &X509svidResponse| leaf(update).is_ok_and(|leaf| leaf.not_after() > awake);
        follower.until("an SVID that is good after the sleep", is_good).await?;
        // With a server that can be believed again.
        let mut other = domain.new_agent("node2").await?;
        clock.give_to(&mut other)?;
        domain.attest(&mut other).await
    })
}

#[test]
fn an_agent_that_slept_past_its_own_svid_attests_again_or_erases_its_identity_and_ends() -> Result<()> {
    const SLEEP: i64 = 2 * 60 * 60;
    with_clocks("an agent that slept past its SVID", async |scratch| {
        let domain = Domain::builder().write(scratch)?;
        let (mut domain, mut agent) = x509pop::server_and_agent(domain).await?;
        domain.server.stop().await?;
        let clock = WallClock::of(&mut domain.server)?;
        domain.server.start().await?;
        clock.give_to(&mut agent)?;
        agent.start().await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/web").await?;
        let (svid, keys) = identity_on_disk(&agent)?;
        clock.set(SLEEP)?;
        let awake = Clock::system().now() + Duration::from_secs(SLEEP.unsigned_abs());
        let is_good = |update: &X509svidResponse| leaf(update).is_ok_and(|leaf| leaf.not_after() > awake);
        follower.until("an SVID that is good after the sleep", is_good).await?;
        let (new_svid, new_keys) = identity_on_disk(&agent)?;
        ensure!(new_svid != svid && new_keys != keys, "the identity of before is still on disk");
        Ok(())
    })?;
    with_clocks("an agent with one token that slept past its SVID", async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let clock = WallClock::of(&mut domain.server)?;
        domain.server.start().await?;
        let mut agent = domain.new_agent("node1").await?;
        clock.give_to(&mut agent)?;
        let token = domain.server.token(&[]).await?;
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await?;
        clock.set(SLEEP)?;
        ends_with(agent.process()?, &["Agent crashed"]).await?;
        has_erased_its_identity(&agent)?;
        say("faults: an agent that slept past its SVID attested again, one with one token ended");
        Ok(())
    })
}
