//! A server of a new CA in the place of the old one, and agents that may begin anew by themselves (`rebootstrap_mode`).

use std::fs;

use anyhow::{Context, Result, ensure};
use steeple_spiffe::X509Svid;
use steeple_tests::{Agent, Domain, Scratch, case, skipped_on_the_reference, verified, within};

use super::out_of_reach::{UNKNOWN_AUTHORITY, begin_anew};
use crate::mistakes::ends_with;
use crate::x509pop;

const WEB: &str = "spiffe://example.org/web";
/// In the log of an agent that ends to begin anew.
const DISAGREED: &str = "Trust Bundle and Server don't agree, rebootstrapping";

/// An agent of this mode that can attest again, with a workload that has its SVID.
async fn domain_and_agent(scratch: &Scratch, mode: &str, delay: &str) -> Result<(Domain, Agent, X509Svid)> {
    let (domain, mut agent) = x509pop::server_and_agent(Domain::builder().write(scratch)?).await?;
    let keys = format!("rebootstrap_mode = \"{mode}\"\n    rebootstrap_delay = \"{delay}\"\n    log_level");
    agent.reconfigure(|conf| conf.replacen("log_level", &keys, 1))?;
    agent.start().await?;
    let svid = served(&domain, &agent).await?;
    Ok((domain, agent, svid))
}

/// The SVID of a new entry.
async fn served(domain: &Domain, agent: &Agent) -> Result<X509Svid> {
    domain.entry(&agent.id, "/web", &[]).await?;
    let update = agent.workload().follow().until_id(WEB).await?;
    verified(update.svids.first().context("no SVID")?)
}

/// Another trust domain of the same name and at the same place, whose bundle is where the agent's first one was.
async fn replace_server(domain: &mut Domain, agent: &Agent) -> Result<()> {
    begin_anew(domain).await?;
    Ok(fs::write(agent.conf.with_extension("pem"), domain.server.bundle_pem().await?)?)
}

/// Starts the agent as whatever supervises it does. It is the same one, below the new authority.
async fn is_back(domain: &Domain, agent: &mut Agent, before: &X509Svid) -> Result<()> {
    agent.start().await?;
    let after = served(domain, agent).await?;
    let issuer = |svid: &X509Svid| svid.chain[0].authority_key_id().map(<[u8]>::to_vec);
    ensure!(issuer(&after) != issuer(before), "an SVID of the old authority");
    let agents = domain.server.agents().await?;
    ensure!(agents.len() == 1, "{agents:?}");
    Ok(())
}

#[test]
fn a_running_agent_that_is_told_to_ends_after_its_delay_and_begins_anew_below_a_new_authority() -> Result<()> {
    for mode in ["auto", "always"] {
        case(async |scratch| {
            let (mut domain, mut agent, before) = domain_and_agent(scratch, mode, "3s").await?;
            let mut stream = agent.workload().x509_svids().await?;
            replace_server(&mut domain, &agent).await?;
            // Not at once: it may be the server that is the wrong one.
            agent.process()?.line("time_left=").await?;
            ends_with(agent.process()?, &[DISAGREED, "shutting down for rebootstrapping", UNKNOWN_AUTHORITY]).await?;
            within("the end of the stream", async { while let Ok(Some(_)) = stream.message().await {} }).await?;
            is_back(&domain, &mut agent, &before).await
        })?;
    }
    Ok(())
}

#[test]
fn an_agent_that_is_told_to_and_starts_below_a_new_authority_begins_anew_at_the_start_after() -> Result<()> {
    for mode in ["auto", "always"] {
        case(async |scratch| {
            let (mut domain, mut agent, before) = domain_and_agent(scratch, mode, "0s").await?;
            agent.stop().await?;
            replace_server(&mut domain, &agent).await?;
            agent.launch(&[])?;
            let last = "Agent needs to rebootstrap. shutting down";
            ends_with(agent.process()?, &[DISAGREED, last, UNKNOWN_AUTHORITY]).await?;
            is_back(&domain, &mut agent, &before).await
        })?;
    }
    Ok(())
}

#[test]
fn an_agent_that_may_not_begin_anew_serves_on_below_a_new_authority_whatever_its_first_bundle_says_now() -> Result<()> {
    case(async |scratch| {
        let (mut domain, mut agent, before) = domain_and_agent(scratch, "never", "0s").await?;
        if agent.program.is_reference {
            skipped_on_the_reference("a server with a new CA", "its running agent ends");
            return Ok(());
        }
        replace_server(&mut domain, &agent).await?;
        agent.process()?.line(UNKNOWN_AUTHORITY).await?;
        let update = agent.workload().follow().until_id(WEB).await?;
        let after = verified(update.svids.first().context("no SVID")?)?;
        ensure!(after.chain == before.chain, "another SVID");
        ensure!(agent.process()?.exited()?.is_none(), "it has ended");
        Ok(())
    })
}
