//! One after the other on the same configuration, database, keys, data directories and sockets, there and back.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;
use steeple_tests::{Agent, Binaries, Domain, case, say};

use crate::domain::{self, WEB};

#[test]
fn daemons_take_over_from_each_other_and_give_back() -> Result<()> {
    let (ours, theirs) = (Binaries::find()?.clone(), Binaries::peers()?);
    case(async |scratch| {
        let (mut domain, mut agent) = domain::of(Domain::builder(), &theirs.server, &theirs.agent, scratch).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(WEB).await?;
        let (authorities, agents) = (domain.server.authorities().await?, known(&domain).await?);

        let steps = [(&ours.server, &theirs.agent), (&ours.server, &ours.agent), (&theirs.server, &ours.agent)];
        for (step, (server, program)) in steps.into_iter().chain([(&theirs.server, &theirs.agent)]).enumerate() {
            agent.stop().await?;
            domain.server.stop().await?;
            domain.server.program = server.clone();
            agent.program = program.clone();
            domain.server.start().await?;
            agent.start().await?;
            ensure!(domain.server.authorities().await? == authorities, "other authorities in step {step}");
            ensure!(known(&domain).await? == agents, "another agent in step {step}");
            lives_on(&domain, &agent, &format!("/step-{step}")).await?;
        }
        let log = fs::read_to_string(agent.data_dir.with_extension("log"))?;
        ensure!(log.matches("Node attestation was successful").count() == 1, "the agent attested again");
        say("peer: 4 changes of daemons on the same files; authorities, agent and entries kept");
        Ok(())
    })
}

/// What was registered before is served, and so is what comes now.
async fn lives_on(domain: &Domain, agent: &Agent, path: &str) -> Result<()> {
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    domain.entry(&agent.id, path, &[]).await?;
    follower.until_id(&domain.id(path)).await?;
    let token = agent.workload().jwt_svids("billing").await?.swap_remove(0).svid;
    agent.workload().validate_jwt("billing", &token).await?;
    Ok(())
}

/// The agents' IDs.
async fn known(domain: &Domain) -> Result<Vec<Value>> {
    Ok(domain.server.agents().await?.into_iter().map(|mut agent| agent["id"].take()).collect())
}
