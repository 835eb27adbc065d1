//! An agent that is killed while it erases what makes it who it is, because its server does not want it any more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_tests::{Agent, Domain, Shim, until};
use tokio::net::UnixStream;

use super::{EVERY_WRITE, Plan, Sprung, killed, leaves_nothing_bad};
use crate::faults::stored_svid;

/// Agents that are killed at the same time. They wait for the most part.
const AT_ONCE: usize = 8;

#[test]
fn an_agent_that_is_killed_while_it_erases_its_identity_does_not_serve_it_again() -> Result<()> {
    killed("the end of an agent that is banned or evicted", EVERY_WRITE, async |scratch, shim, plan| {
        let domain = Domain::builder().start(scratch).await?;
        let mut points = 0;
        for command in ["ban", "evict"] {
            points += plan.each_point(AT_ONCE, async |at| end(&domain, shim, plan, command, at).await).await?;
        }
        Ok(points)
    })
}

/// Ends an agent by a command at its server, unless it is killed meanwhile, and starts it again.
async fn end(domain: &Domain, shim: &Shim, plan: Plan, command: &str, at: usize) -> Result<Sprung> {
    let mut agent = domain.new_agent(&format!("{command}{at}")).await?;
    let trap = shim.before(&mut agent, Duration::ZERO)?;
    domain.attest(&mut agent).await?;
    domain.entry(&agent.id, &format!("/of/{}", agent.name), &[]).await?;
    agent.workload().follow().until("its SVID", |update| !update.svids.is_empty()).await?;
    trap.set(at, plan.how)?;
    domain.server.command(&["agent", command, "-spiffeID", &agent.id]).await?.ok()?;
    agent.process()?.exit().await?;
    leaves_nothing_bad(&agent)?;
    let sprung = trap.sprung()?;
    let told = || format!("killed at {}", sprung.as_deref().unwrap_or("no operation"));
    ensure!(sprung.is_some() || stored_svid(&agent)?.is_null(), "the SVID is still there, untouched");

    agent.starter.clear();
    does_not_serve(&mut agent).await.with_context(told)?;
    Ok(sprung)
}

/// With an identity the agent is refused, erases it, and ends; without one it asks for a token.
async fn does_not_serve(agent: &mut Agent) -> Result<()> {
    agent.launch(&[])?;
    let process = agent.process()?;
    until("an end, or a token that is missing", async || {
        let has_ended = process.exited().ok()?.is_some();
        (has_ended || process.log().ok()?.contains("join token was not provided")).then_some(())
    })
    .await?;
    ensure!(UnixStream::connect(&agent.socket).await.is_err(), "it serves");
    ensure!(stored_svid(agent)?.is_null(), "the SVID is still there");
    agent.kill();
    leaves_nothing_bad(agent)
}
