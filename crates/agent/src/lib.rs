//! The agent: attests its node to the server, and the processes of its host to itself. Knows no plugin and no command
//! line.
//!
//! [`run`] is its start, from top to bottom; [`config`] is what it is started with. The warm path of a workload's call is
//! `listen/unix.rs` and `os/peer.rs` (who calls), `api/workload.rs`, `workload.rs` (what the caller is), `cache/`.

mod api;
mod attest;
mod bootstrap;
mod cache;
pub mod config;
mod health;
mod jwt;
mod log_fields;
mod mint;
mod rebootstrap;
mod rejection;
mod renewal;
mod rotate;
mod run;
mod storage;
mod sync;
#[cfg(test)]
mod tests;
mod upstream;
mod workload;

/// Reads an agent's data file and writes it back: the door of its fuzz target, which no other build has. Returns what it
/// says.
///
/// # Errors
/// The file is damaged, or cannot be written.
#[cfg(fuzzing)]
pub fn rewrite_data(data_dir: &std::path::Path) -> Result<String, storage::StorageError> {
    let mut storage = storage::Storage::open(data_dir)?;
    storage.write_back()?;
    Ok(format!("{storage:?}"))
}

/// An entry as the server encodes it, read: its selectors, and whether the agent can use it at all. A door of the fuzz
/// targets like the one above, and like the next one.
///
/// # Errors
/// The entry makes no sense.
#[cfg(fuzzing)]
pub fn read_entry(encoded: &[u8]) -> Result<Vec<String>, String> {
    let entry = cache::Entry::decode(encoded).map_err(|error| error.to_string())?;
    Ok(entry.selectors.iter().map(ToString::to_string).collect())
}

/// A bundle as the server sends it, read: what workloads get of it, X.509 authorities and JWT authorities.
///
/// # Errors
/// The bundle makes no sense.
#[cfg(fuzzing)]
pub fn read_bundle(bundle: steeple_proto::spire::api::types::Bundle) -> Result<(Vec<u8>, Vec<u8>), String> {
    let bundle = cache::CachedBundle::from_api(bundle).map_err(|error| error.to_string())?;
    Ok((bundle.x509.into(), bundle.jwks.into()))
}

#[cfg(fuzzing)]
pub use sync::held_after;

pub use run::{JoinToken, Process, RunError, run};
