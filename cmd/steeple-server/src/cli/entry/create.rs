use steeple_config::flags::FlagSet;
use steeple_console::progress::Progress;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, batch_create_entry_response,
};
use steeple_proto::spire::api::types;

use super::flags::{EntryFlags, Parent};
use super::{data, written};
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Creates the entry that the flags describe, or those in a file.
pub(crate) async fn create(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut entry) = (ServerFlags::default(), Output::default(), EntryFlags::default());
    let (mut data, mut node) = (String::new(), false);
    let flags = FlagSet::new("entry create")
        .flag("output", &mut output, Output::HELP)
        .flag("data", &mut data, "A `file` with entries in JSON, in place of the flags; -: standard input")
        .flag("node", &mut node, "Give the SPIFFE ID to agents with these selectors rather than to workloads");
    usage::parse(entry.add_to(server.add_to(flags)), args)?;

    let parent =
        if node { Parent::Server } else { Parent::Named("a parent ID is required if the node flag is not set") };
    let entries = if data.is_empty() { vec![entry.entry(parent)?] } else { data::entries(&console::read(&data)?)? };
    let server = server.server()?;
    // Entries that are there are told, though a later call failed.
    let (results, failed) = match created(&server, &entries).await {
        (results, Some(error)) if results.is_empty() => return Err(error),
        created => created,
    };
    let printed = match output.format() {
        // Whoever reads JSON finds the failures in it: they do not fail the command.
        Format::Json => {
            print_json(&json::created(&BatchCreateEntryResponse { results }));
            Ok(())
        }
        Format::Pretty => written::print("create", results.into_iter().map(|result| (result.status, result.entry))),
    };
    failed.map_or(printed, Err)
}

/// What has become of each entry, up to the call that failed, if one did. What was refused is shown as it was asked for.
async fn created(
    server: &Server,
    entries: &[types::Entry],
) -> (Vec<batch_create_entry_response::Result>, Option<anyhow::Error>) {
    let mut client = EntryClient::new(server.channel());
    let (mut results, mut progress) = (Vec::with_capacity(entries.len()), Progress::new());
    // No entries are a call as well, as in the reference: whoever has no server is told.
    for batch in entries.chunks(BATCH).chain(entries.is_empty().then_some(entries)) {
        if !results.is_empty() {
            progress.tell(&format!("{} of {} entries", results.len(), entries.len()));
        }
        let request = BatchCreateEntryRequest { entries: batch.to_vec(), output_mask: None };
        let response = match client.batch_create_entry(request).await {
            Ok(response) => response,
            Err(status) => {
                let error = server.failed(&status);
                let error = match results.len() {
                    0 => error,
                    before => error.context(format!("after {before} entries")),
                };
                return (results, Some(error));
            }
        };
        for (mut result, requested) in response.into_inner().results.into_iter().zip(batch) {
            if written::failed(result.status.as_ref()) {
                result.entry = Some(requested.clone());
            }
            results.push(result);
        }
    }
    (results, None)
}

/// How many are created by one call: a message has a limit, and whoever waits wants to see that it goes on.
const BATCH: usize = 1000;
