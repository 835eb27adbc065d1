//! Entries that are listed.

use std::cell::RefCell;

use anyhow::Result;
use steeple_proto::spire::api::server::entry::v1::ListEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::list_entries_request::Filter;
use steeple_proto::spire::api::types::{Selector, SelectorMatch, selector_match};
use steeple_transport::id::on_wire;
use tonic::Status;
use tonic::transport::Channel;

use super::advice::failed;
use super::options::By;
use super::pace::Work;
use super::server::{BATCH, Server};

/// `ListEntries`.
pub(super) struct List {
    client: EntryClient<Channel>,
    request: ListEntriesRequest,
    /// How many entries the answer has; None: as many as there are up to the page's size.
    expected: Option<u64>,
    /// Where lanes go on.
    tokens: RefCell<Vec<String>>,
}

impl List {
    /// By a filter, `size` entries are made below a node of this run, of which the filter finds all or one.
    ///
    /// # Errors
    /// The server does not create them.
    pub(super) async fn new(server: &Server, by: By, size: u64) -> Result<Self> {
        let client = EntryClient::new(server.channel.clone()).max_decoding_message_size(LARGEST);
        let mut request = ListEntriesRequest { page_size: i32::try_from(size)?, ..Default::default() };
        let tokens = RefCell::default();
        if by == By::Page {
            return Ok(Self { client, request, expected: None, tokens });
        }
        let parent = server.id("listed")?;
        // Not one of theirs is another entry's, so that a filter finds what was made here.
        let value = |number: u64| format!("{parent}:{number}");
        let entries = (0..size).map(|number| server.entry(number, &parent, ("load", &value(number))));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        for entries in entries.chunks(BATCH) {
            server.create(entries.to_vec()).await.map_err(|status| failed("cannot create entries", &status))?;
        }
        let one = size / 2;
        let selector = Selector { r#type: "load".into(), value: value(one) };
        let exact = selector_match::MatchBehavior::MatchExact.into();
        let filter = match by {
            By::Page => Filter::default(),
            By::Parent => Filter { by_parent_id: Some(on_wire(&parent)), ..Filter::default() },
            By::Id => Filter { by_spiffe_id: Some(on_wire(&server.id(&one.to_string())?)), ..Filter::default() },
            By::Selector => {
                let by_selectors = Some(SelectorMatch { selectors: vec![selector], r#match: exact });
                Filter { by_selectors, ..Filter::default() }
            }
        };
        request.filter = Some(filter);
        Ok(Self { client, request, expected: Some(if by == By::Parent { size } else { 1 }), tokens })
    }
}

impl Work for List {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let page_token = self.tokens.borrow_mut().pop().unwrap_or_default();
        let request = ListEntriesRequest { page_token, ..self.request.clone() };
        let answer = self.client.clone().list_entries(request).await?.into_inner();
        let found = answer.entries.len() as u64;
        if let Some(expected) = self.expected {
            let wrong = || Status::data_loss(format!("the answer has {found} entries instead of {expected}"));
            return if found == expected { Ok(()) } else { Err(wrong()) };
        }
        // After the last page comes the first one.
        self.tokens.borrow_mut().extend(Some(answer.next_page_token).filter(|token| !token.is_empty()));
        Ok(())
    }
}

/// Ten thousand entries in one answer.
const LARGEST: usize = 64 << 20;
