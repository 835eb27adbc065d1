//! What became of entries that were to be created or updated.

use anyhow::bail;
use steeple_proto::spire::api::types;
use steeple_transport::status::refused;

use super::pretty;
use crate::cli::{console, refusal};

/// Whether the server refused an item.
pub(super) fn failed(status: Option<&types::Status>) -> bool {
    refused(status).is_some()
}

/// Prints entries for people: those that were written, then those that were not, and why.
///
/// # Errors
/// At least one was not.
pub(super) fn print(
    verb: &str,
    results: impl Iterator<Item = (Option<types::Status>, Option<types::Entry>)>,
) -> anyhow::Result<()> {
    let (refused, written): (Vec<_>, Vec<_>) = results.partition(|(status, _)| failed(status.as_ref()));
    for entry in written.iter().filter_map(|(_, entry)| entry.as_ref()) {
        console::out(&pretty::block(entry));
    }
    for (status, entry) in &refused {
        let reason = status.as_ref().map(refusal::reason).unwrap_or_default();
        let block = entry.as_ref().map(pretty::block).unwrap_or_default();
        console::err(&format!("Failed to {verb} the following entry {reason}:\n{block}"));
    }
    if !refused.is_empty() {
        bail!("failed to {verb} one or more entries");
    }
    Ok(())
}
