use anyhow::ensure;
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchDeleteEntryRequest, BatchDeleteEntryResponse, batch_delete_entry_response,
};
use steeple_transport::status::refused;

use super::data;
use crate::cli::client::ServerFlags;
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, refusal, usage};

/// Deletes an entry, or those that a file names.
pub(crate) async fn delete(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut entry_id, mut file) = (String::new(), String::new());
    let flags = FlagSet::new("entry delete")
        .flag("output", &mut output, Output::HELP)
        .flag("entryID", &mut entry_id, "The entry's own ID")
        .flag("file", &mut file, "A `file` with IDs in JSON, in place of -entryID; -: standard input");
    usage::parse(server.add_to(flags), args)?;

    ensure!(!entry_id.is_empty() || !file.is_empty(), "an entry ID is required");
    let ids = if file.is_empty() { vec![entry_id] } else { data::ids(&console::read(&file)?)? };
    let server = server.server()?;
    let response = EntryClient::new(server.channel()).batch_delete_entry(BatchDeleteEntryRequest { ids }).await;
    let response = response.map_err(|status| server.failed(&status))?.into_inner();
    match output.format() {
        Format::Json => {
            print_json(&json::deleted(&response));
            Ok(())
        }
        Format::Pretty => print(&response),
    }
}

/// Empty lines where the reference has them, and no end of the last line.
fn print(response: &BatchDeleteEntryResponse) -> anyhow::Result<()> {
    let (deleted, failed): (Vec<_>, Vec<_>) = response.results.iter().partition(|result| failure(result).is_none());
    for result in &deleted {
        console::out(&format!("Deleted entry with ID: {}\n", result.id));
    }
    for result in &failed {
        let reason = failure(result).unwrap_or_default();
        console::err(&format!("Failed to delete entry with ID {} {reason}\n", result.id));
    }
    let space = |any: &[_]| if any.is_empty() { "" } else { "\n\n" };
    console::out(&format!("{}{}", space(&deleted), space(&failed)));
    match (deleted.len(), failed.len()) {
        (all, 0) => console::out(&format!("Deleted {all} entries successfully")),
        (0, all) => console::out(&format!("Failed to delete {all} entries")),
        (some, others) => {
            console::out(&format!("Deleted {some} entries successfully, but failed to delete {others} entries"));
        }
    }
    ensure!(failed.is_empty(), "failed to delete one or more entries");
    Ok(())
}

/// Why an entry was not deleted; `None` if it was.
fn failure(result: &batch_delete_entry_response::Result) -> Option<String> {
    refused(result.status.as_ref()).map(refusal::reason)
}
