//! Faults: what is damaged, missing, somebody else's or too late. Each case is in a row of `docs/faults.md`.

mod clock;
mod files;
mod identity;
pub(crate) mod out_of_reach;
mod rebootstrap;

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use steeple_tests::Agent;

/// What an agent is without once its server does not want it any more.
fn has_erased_its_identity(agent: &Agent) -> Result<()> {
    let (data, keys) = (json(&agent.data_dir.join("agent-data.json"))?, json(&agent.data_dir.join("keys.json"))?);
    ensure!(data["svid"].is_null(), "the SVID is still there");
    ensure!(data["bundle"].is_array(), "the bundle is gone");
    if agent.program.is_reference {
        // It keeps its key.
        return Ok(());
    }
    ensure!(keys["keys"].as_object().is_some_and(serde_json::Map::is_empty), "keys are still there");
    Ok(())
}

/// Keys and SVID as they are on disk.
fn identity_on_disk(agent: &Agent) -> Result<(Value, Value)> {
    let (data, keys) = (json(&agent.data_dir.join("agent-data.json"))?, json(&agent.data_dir.join("keys.json"))?);
    Ok((data["svid"].clone(), keys["keys"].clone()))
}

/// The SVID that an agent has on disk; null for none.
pub(crate) fn stored_svid(agent: &Agent) -> Result<Value> {
    stored(agent, "svid")
}

/// A member of what an agent has on disk; null for none.
pub(crate) fn stored(agent: &Agent, member: &str) -> Result<Value> {
    Ok(json(&agent.data_dir.join("agent-data.json"))?[member].take())
}

fn json(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
