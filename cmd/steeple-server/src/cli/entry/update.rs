use anyhow::{Context, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchUpdateEntryRequest, BatchUpdateEntryResponse, GetEntryRequest,
};
use steeple_proto::spire::api::types;

use super::flags::{Attributes, EntryFlags, Parent};
use super::{data, written};
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Replaces the entry that the flags describe, or those in a file, whole: what is not given is reset.
pub(crate) async fn update(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut entry) = (ServerFlags::default(), Output::default(), EntryFlags::default());
    let mut data = String::new();
    let flags = FlagSet::new("entry update").flag("output", &mut output, Output::HELP).flag(
        "data",
        &mut data,
        "A `file` with entries in JSON, in place of the flags; -: standard input",
    );
    usage::parse(entry.add_to(server.add_to(flags)), args)?;

    let mut entries = Vec::new();
    let mut attributes = Attributes::default();
    if data.is_empty() {
        ensure!(!entry.entry_id.is_empty(), "entry ID is required");
        attributes = entry.attributes;
        entries.push(entry.entry(Parent::Named("a parent ID is required"))?);
    } else {
        entries = data::entries(&console::read(&data)?)?;
    }
    let server = server.server()?;
    // Which of the attributes is given says nothing of the others.
    if attributes != Attributes::default() {
        for entry in &mut entries {
            let stored = stored(&server, &entry.id).await;
            let stored = stored.context("failed to fetch existing entry to merge additional attributes")?;
            entry.additional_attributes = attributes.over(stored.additional_attributes);
        }
    }
    let request = BatchUpdateEntryRequest { entries: entries.clone(), input_mask: None, output_mask: None };
    let response = EntryClient::new(server.channel()).batch_update_entry(request).await;
    let BatchUpdateEntryResponse { mut results } = response.map_err(|status| server.failed(&status))?.into_inner();
    // What failed is shown as it was asked for.
    for (result, requested) in results.iter_mut().zip(entries) {
        if written::failed(result.status.as_ref()) {
            result.entry = Some(requested);
        }
    }
    match output.format() {
        Format::Json => {
            print_json(&json::updated(&BatchUpdateEntryResponse { results }));
            Ok(())
        }
        Format::Pretty => written::print("update", results.into_iter().map(|result| (result.status, result.entry))),
    }
}

async fn stored(server: &Server, id: &str) -> anyhow::Result<types::Entry> {
    let request = GetEntryRequest { id: id.to_owned(), output_mask: None };
    let response = EntryClient::new(server.channel()).get_entry(request).await;
    Ok(response.map_err(|status| server.failed(&status))?.into_inner())
}
