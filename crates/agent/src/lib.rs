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
mod jwt;
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

/// Reads an agent's data file: the door of its fuzz target, which no other build has.
///
/// # Errors
/// The file is damaged.
#[cfg(fuzzing)]
pub fn read_data(data_dir: &std::path::Path) -> Result<(), storage::StorageError> {
    storage::Storage::open(data_dir).map(drop)
}

pub use run::{JoinToken, RunError, run};
