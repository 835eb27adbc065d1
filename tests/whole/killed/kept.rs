//! An agent that is killed while it keeps what it has learned of its server: another bundle, and that it is to begin anew.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use steeple_tests::{Agent, until};

use super::agent::serves;
use super::{EVERY_WRITE, copy, killed, lanes, leaves_nothing_bad};
use crate::faults::out_of_reach::begin_anew;
use crate::faults::stored;
use crate::x509pop;

/// Agents that are killed at the same time. They wait for the most part.
const AT_ONCE: usize = 4;
/// How often an agent may have to be started until it serves below the new authority: the first time it may only find out
/// that it is to begin anew.
const STARTS: usize = 3;

#[test]
fn an_agent_that_is_killed_while_it_keeps_another_bundle_serves_again() -> Result<()> {
    killed("another bundle that comes to an agent", EVERY_WRITE, async |scratch, shim, plan| {
        lanes(0..AT_ONCE, async |lane| {
            let (domain, mut agent) = x509pop::domain_and_agent(scratch).await?;
            domain.entry(&agent.id, "/web", &[]).await?;
            let id = domain.id("/web");
            for (count, at) in plan.points_of(lane, AT_ONCE).enumerate() {
                let trap = shim.before(&mut agent, Duration::ZERO)?;
                agent.launch(&[])?;
                serves(&mut agent, &id).await?;
                trap.set(at, plan.how)?;
                domain.server.command(&["localauthority", "x509", "prepare"]).await?.ok()?;
                let authorities = domain.server.bundle_pem().await?.matches("BEGIN").count();
                until("the new bundle, or the end", async || {
                    let has_ended = agent.process().ok()?.exited().ok()?.is_some();
                    let has_it =
                        stored(&agent, "bundle").is_ok_and(|it| it.as_array().map(Vec::len) == Some(authorities));
                    (has_ended || has_it).then_some(())
                })
                .await?;
                agent.kill();
                leaves_nothing_bad(&agent)?;
                let sprung = trap.sprung()?;

                agent.starter.clear();
                agent.launch(&[])?;
                let told = || format!("killed at {} (operation {at})", sprung.as_deref().unwrap_or("no operation"));
                serves(&mut agent, &id).await.with_context(told)?;
                agent.kill();
                if sprung.is_none() {
                    return Ok(count);
                }
            }
            bail!("no end of operations")
        })
        .await
    })
}

#[test]
fn an_agent_that_is_killed_while_it_makes_ready_to_begin_anew_begins_anew() -> Result<()> {
    killed("an agent's way to a new authority", EVERY_WRITE, async |scratch, shim, plan| {
        let (mut domain, mut agent) = x509pop::domain_and_agent(scratch).await?;
        agent.stop().await?;
        let keys = "rebootstrap_mode = \"always\"\n    rebootstrap_delay = \"0s\"\n    log_level";
        agent.reconfigure(|conf| conf.replacen("log_level", keys, 1))?;
        begin_anew(&mut domain).await?;
        fs::write(agent.conf.with_extension("pem"), domain.server.bundle_pem().await?)?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let (id, before) = (domain.id("/web"), agent.data_dir.with_extension("before"));
        copy(&agent.data_dir, &before)?;

        for (count, at) in plan.points().enumerate() {
            fs::remove_dir_all(&agent.data_dir)?;
            copy(&before, &agent.data_dir)?;
            let trap = shim.before(&mut agent, Duration::ZERO)?;
            trap.set(at, plan.how)?;
            agent.launch(&[])?;
            agent.process()?.exit().await?;
            leaves_nothing_bad(&agent)?;
            let sprung = trap.sprung()?;

            agent.starter.clear();
            let told = || format!("killed at {} (operation {at})", sprung.as_deref().unwrap_or("no operation"));
            begins_anew(&mut agent, &id).await.with_context(told)?;
            let agents = domain.server.agents().await?;
            ensure!(agents.len() == 1, "{agents:?}");
            if sprung.is_none() {
                return Ok(count);
            }
        }
        bail!("no end of operations")
    })
}

/// Starts it as whatever supervises it does, until it serves.
async fn begins_anew(agent: &mut Agent, id: &str) -> Result<()> {
    let mut last = None;
    for _ in 0..STARTS {
        agent.launch(&[])?;
        match serves(agent, id).await {
            Ok(()) => {
                agent.kill();
                return leaves_nothing_bad(agent);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("it was never started")?)
}
