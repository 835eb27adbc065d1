//! An agent that is killed while it gets its identity, and while it renews it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use steeple_tests::{Agent, Bootstrap, Domain, Shim, Trap, verified};

use super::{EVERY_WRITE, Plan, Sprung, killed, lanes, leaves_nothing_bad};
use crate::x509pop;

/// Agents that are killed at the same time. They wait for the most part.
const AT_ONCE: usize = 8;
/// An agent's SVID lives an hour and is renewed after half of it.
const DUE: Duration = Duration::from_secs(31 * 60);

#[test]
fn an_agent_that_is_killed_while_it_attests_attests_again_with_the_same_token() -> Result<()> {
    killed("the first attestation of an agent", EVERY_WRITE, async |scratch, shim, plan| {
        let domain = Domain::builder().start(scratch).await?;
        let bundle = scratch.path().join("bundle.pem");
        fs::write(&bundle, domain.server.bundle_pem().await?)?;
        attest_at_each_point(&domain, Bootstrap::Path(&bundle), shim, plan).await
    })
}

/// It has its SVID before it has the bundle.
#[test]
fn an_agent_that_is_killed_while_it_attests_on_trust_attests_again_with_the_same_token() -> Result<()> {
    killed("the first attestation of an agent that knows no authority", EVERY_WRITE, async |scratch, shim, plan| {
        let domain = Domain::builder().start(scratch).await?;
        attest_at_each_point(&domain, Bootstrap::Insecure, shim, plan).await
    })
}

#[test]
fn an_agent_that_is_killed_while_it_renews_has_the_same_identity_again() -> Result<()> {
    killed("the renewal of an agent's SVID", EVERY_WRITE, async |scratch, shim, plan| {
        let domain = Domain::builder().start(scratch).await?;
        let killed = lanes(0..AT_ONCE, async |lane| {
            let agent = domain.agent(&format!("agent{lane}")).await?;
            let renewed = "Successfully rotated agent SVID";
            Lane { domain: &domain, agent, renewed }.run(lane, shim, plan).await
        });
        let killed = killed.await?;
        let agents = domain.server.agents().await?;
        ensure!(agents.len() == AT_ONCE, "{} agents in place of {AT_ONCE}: {agents:?}", agents.len());
        Ok(killed)
    })
}

/// The server forgets the SVID before as soon as it has given the next one away: whoever was killed before he had that asks
/// for it again at his next start.
#[test]
fn an_agent_that_is_killed_while_it_attests_anew_has_the_same_identity_again() -> Result<()> {
    killed("the renewal of an agent's SVID by attestation", EVERY_WRITE, async |scratch, shim, plan| {
        lanes(0..AT_ONCE, async |lane| {
            let (domain, agent) = x509pop::domain_and_agent(scratch).await?;
            let renewed = "Successfully reattested node";
            let killed = Lane { domain: &domain, agent, renewed }.run(lane, shim, plan).await?;
            let agents = domain.server.agents().await?;
            ensure!(agents.len() == 1, "{} agents in place of one: {agents:?}", agents.len());
            Ok(killed)
        })
        .await
    })
}

async fn attest_at_each_point(domain: &Domain, bootstrap: Bootstrap<'_>, shim: &Shim, plan: Plan) -> Result<usize> {
    let attest = async |at| {
        let agent = domain.agent_that_begins(&format!("agent{at}"), bootstrap)?;
        attest(domain, agent, shim, plan, at).await
    };
    let points = plan.each_point(AT_ONCE, attest).await?;
    let agents = domain.server.agents().await?.len();
    // Some may have begun beyond the last point.
    ensure!((points + 1..=points + AT_ONCE).contains(&agents), "{agents} agents, of which {points} were killed");
    Ok(points)
}

async fn attest(domain: &Domain, mut agent: Agent, shim: &Shim, plan: Plan, at: usize) -> Result<Sprung> {
    let token = domain.server.token(&[]).await?;
    let path = format!("/of/{token}");
    domain.entry(&domain.id(&format!("/spire/agent/join_token/{token}")), &path, &[]).await?;
    let id = domain.id(&path);
    let trap = shim.before(&mut agent, Duration::ZERO)?;
    trap.set(at, plan.how)?;
    agent.launch(&["-joinToken", &token])?;
    let served = serves(&mut agent, &id).await;
    let sprung = finish(&mut agent, &trap, served).await?;

    agent.starter.clear();
    agent.launch(&["-joinToken", &token])?;
    serves(&mut agent, &id).await.with_context(|| told(&sprung))?;
    agent.kill();
    Ok(sprung)
}

/// One agent, whose SVID is due whenever it is started.
struct Lane<'d> {
    domain: &'d Domain,
    agent: Agent,
    /// What it logs when it has a new one.
    renewed: &'static str,
}

impl Lane<'_> {
    /// Returns how often it was killed.
    async fn run(mut self, lane: usize, shim: &Shim, plan: Plan) -> Result<usize> {
        let path = format!("/of/{lane}");
        self.domain.entry(&self.agent.id, &path, &[]).await?;
        for (count, at) in plan.points_of(lane, AT_ONCE).enumerate() {
            let sprung = self.renew(shim, plan, at).await.with_context(|| format!("to be killed at operation {at}"))?;
            let served = self.serves_again(&self.domain.id(&path)).await;
            served.with_context(|| format!("{} (operation {at})", told(&sprung)))?;
            if sprung.is_none() {
                return Ok(count);
            }
        }
        bail!("no end of operations")
    }

    async fn renew(&mut self, shim: &Shim, plan: Plan, at: usize) -> Result<Sprung> {
        let Self { agent, renewed, .. } = self;
        let trap = shim.before(agent, DUE)?;
        trap.set(at, plan.how)?;
        agent.launch(&[])?;
        let renewed = agent.process()?.line(renewed).await;
        finish(agent, &trap, renewed.map(drop)).await
    }

    async fn serves_again(&mut self, id: &str) -> Result<()> {
        let Self { agent, .. } = self;
        agent.starter.clear();
        agent.launch(&[])?;
        serves(agent, id).await
    }
}

/// Stops an agent in an orderly way, if nothing has happened to it.
async fn finish(agent: &mut Agent, trap: &Trap, outcome: Result<()>) -> Result<Sprung> {
    let outcome = match outcome {
        Ok(()) if trap.sprung()?.is_none() => agent.stop().await,
        outcome => outcome,
    };
    agent.kill();
    leaves_nothing_bad(agent)?;
    match (trap.sprung()?, outcome) {
        (None, Err(error)) => Err(error),
        (sprung, _) => Ok(sprung),
    }
}

/// Waits until a workload of the agent has a sound SVID with this ID.
pub(super) async fn serves(agent: &mut Agent, id: &str) -> Result<()> {
    agent.healthy().await?;
    let mut follower = agent.workload().follow();
    tokio::select! {
        update = follower.until_id(id) => {
            let update = update?;
            let svid = update.svids.iter().find(|svid| svid.spiffe_id == id).context("no SVID")?;
            verified(svid).map(drop)
        }
        ended = agent.process()?.exit() => bail!("the agent ended: {}", ended?),
    }
}

fn told(sprung: &Sprung) -> String {
    format!("killed at {}", sprung.as_deref().unwrap_or("no operation"))
}
