use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, BatchCreateEntryResponse};

use super::flags::{EntryFlags, Parent};
use super::{data, written};
use crate::cli::client::ServerFlags;
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
    let request = BatchCreateEntryRequest { entries: entries.clone(), output_mask: None };
    let response = EntryClient::new(server.channel()).batch_create_entry(request).await;
    let BatchCreateEntryResponse { mut results } = response.map_err(|status| server.failed(&status))?.into_inner();
    // What failed is shown as it was asked for.
    for (result, requested) in results.iter_mut().zip(entries) {
        if written::failed(result.status.as_ref()) {
            result.entry = Some(requested);
        }
    }
    match output.format() {
        // Whoever reads JSON finds the failures in it: they do not fail the command.
        Format::Json => {
            print_json(&json::created(&BatchCreateEntryResponse { results }));
            Ok(())
        }
        Format::Pretty => written::print("create", results.into_iter().map(|result| (result.status, result.entry))),
    }
}
