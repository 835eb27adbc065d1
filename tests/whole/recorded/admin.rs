//! What the reference's commands printed of an agent's administrative socket.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use steeple_testkit::commands::{self, Outcome, Record};
use steeple_tests::{Agent, Domain, Scratch, case};

use super::RECORDS;

/// An agent whose administrative socket is where that of the records was.
pub(super) async fn administered(scratch: &Scratch) -> Result<(Domain, Agent)> {
    let domain = Domain::builder().start(scratch).await?;
    let mut agent = domain.new_agent("node1").await?;
    let (link, socket) = (scratch.path().join("admin"), scratch.path().join("private/admin.sock"));
    let key = format!("agent {{\n    admin_socket_path = \"{}\"\n", socket.display());
    // The public socket is beside the configuration; the other one must not be.
    let public = scratch.path().join("public/api.sock");
    let before = agent.socket.display().to_string();
    agent.socket = public;
    agent.reconfigure(|conf| {
        conf.replace(&before, &agent.socket.display().to_string()).replacen("agent {\n", &key, 1)
    })?;
    domain.attest(&mut agent).await?;
    symlink(scratch.path().join("private"), link)?;
    Ok((domain, agent))
}

/// What is other than recorded. By which token an agent has come is its own affair.
fn difference(scratch: &Scratch, agent: &Agent, record: &Record) -> Option<String> {
    let record = record.clone().but_for(r#"join_token/[^"\s]+"#);
    let program = agent.program.path.to_string_lossy();
    let child = record.start(commands::program(&program, "spire-agent", scratch.path()));
    record.difference(&Outcome::of(child, scratch.path()))
}

/// Compares those records whose names begin so, in their order; returns how many there are.
fn compare(scratch: &Scratch, agent: &Agent, is_one: impl Fn(&str) -> bool) -> Result<usize> {
    let records = commands::records(RECORDS);
    let asking: Vec<_> = records.iter().filter(|record| is_one(&record.name)).collect();
    let failing: Vec<_> = asking.iter().filter_map(|record| difference(scratch, agent, record)).collect();
    ensure!(failing.is_empty(), "{}", failing.join("\n"));
    Ok(asking.len())
}

#[test]
fn an_agents_log_level_is_told_and_changed_as_the_references_is() -> Result<()> {
    case(async |scratch| {
        let (_domain, agent) = administered(scratch).await?;
        let count = compare(scratch, &agent, |name| name.starts_with("agent-logger-"))?;
        ensure!(count == 8, "{count} records");
        Ok(())
    })
}

#[test]
fn an_agent_tells_of_itself_what_the_reference_tells() -> Result<()> {
    case(async |scratch| {
        let (_domain, agent) = administered(scratch).await?;
        let count = compare(scratch, &agent, |name| name.starts_with("agent-debug-getinfo-empty"))?;
        ensure!(count == 2, "{count} records");
        Ok(())
    })?;
    case(async |scratch| {
        let (domain, agent) = administered(scratch).await?;
        let entry = async |name: &str, svids: usize| {
            domain.entry(&agent.id, &format!("/workload/{name}"), &["-entryID", &format!("w-{name}")]).await?;
            agent.workload().follow().until("the SVIDs", |update| update.svids.len() == svids).await
        };
        entry("a", 1).await?;
        agent.workload().jwt_svids("aud1").await?;
        entry("b", 2).await?;
        let is_one = |name: &str| ["agent-debug-getinfo", "agent-debug-getinfo-json"].contains(&name);
        let count = compare(scratch, &agent, is_one)?;
        ensure!(count == 2, "{count} records");
        let mode = fs::metadata(scratch.path().join("private/admin.sock"))?;
        ensure!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777 == 0o770);
        Ok(())
    })
}
