//! `entry create`, `entry update`, `entry show`, `entry count`, `entry delete` and `entry explain`.

mod create;
mod data;
mod delete;
mod explain;
mod filter;
mod flags;
mod pretty;
mod show;
mod update;
mod written;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use explain::explain;
pub(crate) use show::{count, show};
pub(crate) use update::update;

/// The entries of a file for `entry create -data`: a door of the fuzz target, which no other build has, like the next one.
///
/// # Errors
/// It cannot be read, or has an ID that is none.
#[cfg(fuzzing)]
pub fn read_entries(json: &[u8]) -> anyhow::Result<Vec<steeple_proto::spire::api::types::Entry>> {
    data::entries(json)
}

/// The IDs of a file for `entry delete -file`.
///
/// # Errors
/// It cannot be read.
#[cfg(fuzzing)]
pub fn read_entry_ids(json: &[u8]) -> anyhow::Result<Vec<String>> {
    data::ids(json)
}
