use anyhow::{Context, ensure};
use steeple_config::flags::FlagSet;
use steeple_console::progress::Progress;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    CountEntriesRequest, CountEntriesResponse, GetEntryRequest, ListEntriesRequest, ListEntriesResponse,
    list_entries_request,
};
use steeple_proto::spire::api::types;

use super::filter::{self, FilterFlags};
use super::pretty;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Prints one entry, or those that a filter lets through.
pub(crate) async fn show(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut filter) = (ServerFlags::default(), Output::default(), FilterFlags::default());
    let mut entry_id = String::new();
    let flags = FlagSet::new("entry show").flag("output", &mut output, Output::HELP).flag(
        "entryID",
        &mut entry_id,
        "The own ID of the one entry to show",
    );
    usage::parse(filter.add_to(server.add_to(flags)), args)?;

    let mut entries = if entry_id.is_empty() {
        let filter = filter.filter()?;
        all(&server.server()?, filter).await.context("error fetching entries")?
    } else {
        // The other flags of the filter are ignored, as in the reference.
        let alone = filter.parent_id.is_empty() && filter.spiffe_id.is_empty() && filter.selectors.is_empty();
        ensure!(alone, "the -entryID flag can't be combined with others");
        let entry = one(&server.server()?, &entry_id).await;
        vec![entry.with_context(|| format!("error fetching entry ID {entry_id}"))?]
    };
    sort(&mut entries);
    match output.format() {
        Format::Json => print_json(&json::entries(&ListEntriesResponse { entries, next_page_token: String::new() })),
        Format::Pretty => {
            let noun = if entries.len() == 1 { "entry" } else { "entries" };
            let blocks: String = entries.iter().map(pretty::block).collect();
            console::out(&format!("Found {} {noun}\n{blocks}", entries.len()));
        }
    }
    Ok(())
}

/// Prints how many entries a filter lets through.
pub(crate) async fn count(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut filter) = (ServerFlags::default(), Output::default(), FilterFlags::default());
    let flags = FlagSet::new("entry count").flag("output", &mut output, Output::HELP);
    usage::parse(filter.add_to(server.add_to(flags)), args)?;

    let request = CountEntriesRequest { filter: Some(filter::for_count(filter.filter()?)) };
    let server = server.server()?;
    let response = EntryClient::new(server.channel()).count_entries(request).await;
    let CountEntriesResponse { count } = response.map_err(|status| server.failed(&status))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::count(count)),
        Format::Pretty => {
            let noun = if count == 1 { "entry" } else { "entries" };
            console::out(&format!("{count} registration {noun}\n"));
        }
    }
    Ok(())
}

async fn one(server: &Server, id: &str) -> anyhow::Result<types::Entry> {
    let request = GetEntryRequest { id: id.to_owned(), output_mask: None };
    let response = EntryClient::new(server.channel()).get_entry(request).await;
    Ok(response.map_err(|status| server.failed(&status))?.into_inner())
}

pub(super) async fn all(server: &Server, filter: list_entries_request::Filter) -> anyhow::Result<Vec<types::Entry>> {
    const PAGE_SIZE: i32 = 500;
    let mut client = EntryClient::new(server.channel());
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    let mut progress = Progress::new();
    loop {
        let filter = Some(filter.clone());
        let request = ListEntriesRequest { filter, output_mask: None, page_size: PAGE_SIZE, page_token };
        let page = client.list_entries(request).await.map_err(|status| server.failed(&status))?.into_inner();
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(entries);
        }
        progress.tell(&format!("{} entries", entries.len()));
    }
}

/// By what an entry gives and to whom, so that two answers can be compared.
fn sort(entries: &mut [types::Entry]) {
    fn selector(selector: &types::Selector) -> (&str, &str) {
        (&selector.r#type, &selector.value)
    }
    fn id(id: &Option<types::Spiffeid>) -> Option<(&str, &str)> {
        id.as_ref().map(|id| (id.trust_domain.as_str(), id.path.as_str()))
    }
    for entry in entries.iter_mut() {
        entry.selectors.sort_by(|a, b| selector(a).cmp(&selector(b)));
    }
    entries.sort_by(|a, b| {
        let ids = id(&a.spiffe_id).cmp(&id(&b.spiffe_id)).then_with(|| id(&a.parent_id).cmp(&id(&b.parent_id)));
        let ttls = || (a.x509_svid_ttl, a.jwt_svid_ttl).cmp(&(b.x509_svid_ttl, b.jwt_svid_ttl));
        ids.then_with(ttls).then_with(|| a.selectors.iter().map(selector).cmp(b.selectors.iter().map(selector)))
    });
}
