//! `spire.api.server.entry.v1.Entry`

mod convert;
mod filter;
mod follow;

use futures::{StreamExt, stream};
use steeple_datastore as datastore;
use steeple_datastore::Page;
use steeple_datastore::entries::{
    CreateEntries, CreateEntry, Created, DeleteEntry, EntryMask, UpdateEntries, UpdateEntry,
};
use steeple_proto::spire::api::server::entry::v1::entry_server::{Entry, EntryServer};
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
    BatchUpdateEntryRequest, BatchUpdateEntryResponse, CountEntriesRequest, CountEntriesResponse,
    GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest,
    ListEntriesResponse, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse, batch_create_entry_response,
    batch_delete_entry_response, batch_update_entry_response,
};
use steeple_proto::spire::api::types;
use steeple_transport::rpc::{Call, Fields};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span, error, error_span};

use super::streams::Streams;
use super::{AT_ONCE, Parts, audited, status};
use crate::entries::api_entry;
pub(super) use convert::selectors_of;

/// An entry that a caller sent, as others would see it once it is stored: a door of the fuzz target, which no other build
/// has.
///
/// # Errors
/// The entry is refused.
#[cfg(fuzzing)]
pub fn taken(entry: types::Entry, trust_domain: &steeple_spiffe::TrustDomain) -> Result<types::Entry, tonic::Status> {
    let stored = convert::stored(entry, steeple_datastore::entries::EntryMask::ALL, trust_domain)?;
    crate::entries::api_entry(&stored).ok_or_else(|| tonic::Status::internal("what was stored has no IDs"))
}
use convert::{encoded, fields_of, masked, stored};

struct Service(Parts, Streams);

/// The service.
pub(crate) fn service(parts: Parts) -> EntryServer<impl Entry> {
    EntryServer::new(Service(parts, Streams::default()))
}

#[tonic::async_trait]
impl Entry for Service {
    async fn count_entries(
        &self,
        request: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        let call = Call::of(&request)?;
        let filter = request.into_inner().filter.map(filter::as_of_list);
        call.audit_fields(|| audited::entry_filter(filter.as_ref()));
        let filter = filter::checked(filter, &self.0.trust_domain, "failed to count entries")?;
        let count = self.0.store.count_entries(&filter).await;
        let count = count.map_err(|error| status::internal("failed to count entries", error))?;
        Ok(Response::new(CountEntriesResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let call = Call::of(&request)?;
        let ListEntriesRequest { filter, output_mask, page_size, page_token } = request.into_inner();
        call.audit_fields(|| audited::entry_filter(filter.as_ref()));
        let filter = filter::checked(filter, &self.0.trust_domain, "failed to list entries")?;
        let page = Page { size: u32::try_from(page_size).unwrap_or(0), token: page_token };
        let listing = self.0.store.list_entries(&filter, &page).await;
        let listing = listing.map_err(|error| status::internal("failed to list entries", error))?;
        let entries = listing.rows.iter().filter_map(|row| {
            let entry = api_entry(row);
            if entry.is_none() {
                error!(target: "api", entry_id = row.entry_id, "Failed to convert entry");
            }
            entry.map(|entry| masked(entry, output_mask.as_ref()))
        });
        Ok(Response::new(ListEntriesResponse { entries: entries.collect(), next_page_token: listing.next_page_token }))
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        let call = Call::of(&request)?;
        let GetEntryRequest { id, output_mask } = request.into_inner();
        if id.is_empty() {
            return Err(status::invalid_argument("missing ID"));
        }
        call.audit("entry_id", &id);
        let row = self.0.store.fetch_entry(&id).await;
        let row = row.map_err(|error| status::internal("failed to fetch entry", error))?;
        let row = row.ok_or_else(|| named(&id).in_scope(|| status::not_found("entry not found")))?;
        let entry =
            api_entry(&row).ok_or_else(|| status::internal("failed to convert entry", "malformed SPIFFE ID"))?;
        Ok(Response::new(masked(entry, output_mask.as_ref())))
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchCreateEntryRequest { entries, output_mask } = request.into_inner();
        let mut audited = audited(&call, &entries, EntryMask::ALL).into_iter();
        let converted: Vec<_> =
            entries.into_iter().map(|entry| stored(entry, EntryMask::ALL, &self.0.trust_domain)).collect();
        let sound: Vec<_> = converted.iter().filter_map(|entry| entry.as_ref().ok().cloned()).collect();
        // One alone needs no savepoints, which are round trips: whatever goes wrong is its own.
        let created = match <[datastore::Entry; 1]>::try_from(sound) {
            Ok([entry]) => Ok(vec![self.0.store.write(CreateEntry { entry }).await]),
            Err(sound) => self.0.store.write(CreateEntries { entries: sound }).await,
        };
        let mut created =
            created.map(Vec::into_iter).map_err(|error| status::datastore("failed to create entry", &error));
        let results = converted.into_iter().map(|entry| {
            let (row, result) = match entry {
                Err(status) => (None, Err(status)),
                // One outcome for each that was handed over, in the same order.
                Ok(datastore::Entry { spiffe_id, .. }) => match created.as_mut().map(Iterator::next) {
                    Err(status) => (None, Err(status.clone())),
                    Ok(Some(Ok(Created::New(row)))) => (Some(row), Ok(())),
                    Ok(Some(Ok(Created::Similar(row)))) => {
                        (Some(row), Err(Status::already_exists("similar entry already exists")))
                    }
                    Ok(Some(Err(error))) => {
                        let span = error_span!(target: "api", "entry", spiffe_id);
                        (None, Err(span.in_scope(|| status::datastore("failed to create entry", &error))))
                    }
                    Ok(None) => (None, Err(status::internal("failed to create entry", "no outcome"))),
                },
            };
            let status = status::item(&result);
            call.audit_item(&status, audited.next().unwrap_or_default());
            let entry = row.as_ref().and_then(api_entry).map(|entry| masked(entry, output_mask.as_ref()));
            batch_create_entry_response::Result { status: Some(status), entry }
        });
        Ok(Response::new(BatchCreateEntryResponse { results: results.collect() }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        const FAILED: &str = "failed to update entry";
        let call = Call::of(&request)?;
        let BatchUpdateEntryRequest { entries, input_mask, output_mask } = request.into_inner();
        let mask = fields_of(input_mask);
        let mut audited = audited(&call, &entries, mask).into_iter();
        let converted: Vec<_> = entries
            .into_iter()
            .map(|entry| named(&entry.id).in_scope(|| stored(entry, mask, &self.0.trust_domain)))
            .collect();
        let sound: Vec<_> = converted.iter().filter_map(|entry| entry.as_ref().ok().cloned()).collect();
        // Not all of a large batch in one transaction, so that other writers are not held up for long.
        let mut updated = Vec::with_capacity(sound.len());
        for some in sound.chunks(AT_ONCE) {
            // One alone needs no savepoints here either.
            let outcome = match some {
                [entry] => Ok(vec![self.0.store.write(UpdateEntry { entry: entry.clone(), mask }).await]),
                some => self.0.store.write(UpdateEntries { entries: some.to_vec(), mask }).await,
            };
            match outcome {
                Ok(outcome) => updated.extend(outcome.into_iter().zip(some).map(|(one, entry)| {
                    one.map_err(|error| named(&entry.entry_id).in_scope(|| status::datastore(FAILED, &error)))
                })),
                Err(error) => updated.extend(vec![Err(status::datastore(FAILED, &error)); some.len()]),
            }
        }
        let mut updated = updated.into_iter();
        let results = converted.into_iter().map(|entry| {
            // One outcome for each that was handed over, in the same order.
            let row = entry.and_then(|_| updated.next().unwrap_or_else(|| Err(status::internal(FAILED, "no outcome"))));
            let result = row.and_then(|row| {
                api_entry(&row).ok_or_else(|| status::internal("failed to convert entry", "malformed SPIFFE ID"))
            });
            let (status, entry) = status::item_of(result);
            call.audit_item(&status, audited.next().unwrap_or_default());
            let entry = entry.map(|entry| masked(entry, output_mask.as_ref()));
            batch_update_entry_response::Result { status: Some(status), entry }
        });
        Ok(Response::new(BatchUpdateEntryResponse { results: results.collect() }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let call = Call::of(&request)?;
        // Many at once, so that they share commits; they reach the store in the order of the request.
        let results = stream::iter(request.into_inner().ids).map(async |id| {
            let status = status::item(&self.delete(&id).instrument(named(&id)).await);
            call.audit_item(&status, vec![audited::field("entry_id", &id)]);
            batch_delete_entry_response::Result { status: Some(status), id }
        });
        Ok(Response::new(BatchDeleteEntryResponse { results: results.buffered(AT_ONCE).collect().await }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        let call = Call::of(&request)?;
        let mask = request.get_ref().output_mask.as_ref();
        let authorized = self.0.index.authorized(call.agent()?.as_str());
        let entries = authorized.iter().filter_map(|entry| encoded(entry, mask));
        Ok(Response::new(GetAuthorizedEntriesResponse { entries: entries.collect() }))
    }

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<BoxStream<SyncAuthorizedEntriesResponse>>, Status> {
        let call = Call::of(&request)?;
        // What the agent may have is taken once, before its first message, and stays for the whole stream.
        let agent = call.agent()?.as_str();
        let authorized = self.0.index.authorized(agent);
        Ok(Response::new(follow::answer(authorized, request.into_inner(), self.1.open(agent))))
    }
}

/// Names the entry in what is logged of it.
fn named(entry_id: &str) -> Span {
    error_span!(target: "api", "entry", entry_id)
}

/// What an audit record says of each entry of a batch.
fn audited(call: &Call, entries: &[types::Entry], written: EntryMask) -> Vec<Fields> {
    if call.audit_is_on() { entries.iter().map(|entry| audited::entry(entry, written)).collect() } else { Vec::new() }
}

impl Service {
    async fn delete(&self, id: &str) -> Result<(), Status> {
        if id.is_empty() {
            return Err(status::invalid_argument("missing entry ID"));
        }
        match self.0.store.write(DeleteEntry { entry_id: id.to_owned() }).await {
            Ok(_) => Ok(()),
            Err(steeple_datastore::Error::NotFound) => Err(status::not_found("entry not found")),
            Err(error) => Err(status::internal("failed to delete entry", error)),
        }
    }
}
