//! The reference's way: the agent asks for everything, again and again.

use std::collections::HashSet;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use prost::Message;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{GetBundleRequest, GetFederatedBundleRequest};
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    EntryRevision, GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use steeple_proto::spire::api::types;
use steeple_spiffe::TrustDomain;
use steeple_transport::dial::Traced;
use steeple_transport::sync::MASK;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tracing::warn;

use super::{put_bundle, put_entry};
use crate::cache::{Entry, Store};
use crate::upstream::Upstream;

/// Federated bundles that are asked for at a time.
const AT_ONCE: usize = 10;

/// Takes over all entries and bundles.
pub(super) async fn everything(upstream: &Upstream, store: &mut Store, by_stream: bool) -> Result<(), Status> {
    let channel = upstream.channel().map_err(|error| Status::internal(error.to_string()))?;
    if by_stream {
        upstream.call(entries_by_stream(EntryClient::new(channel.clone()), store)).await?;
    } else {
        upstream.call(all_entries(EntryClient::new(channel.clone()), store)).await?;
    }
    upstream.call(bundles(channel, store, upstream)).await
}

async fn all_entries(mut client: EntryClient<Traced>, store: &mut Store) -> Result<(), Status> {
    let request = GetAuthorizedEntriesRequest { output_mask: Some(MASK) };
    let entries = client.get_authorized_entries(request).await?.into_inner().entries;
    put_all(store, entries)
}

/// Either everything at once, or revisions first and then the entries that differ.
async fn entries_by_stream(mut client: EntryClient<Traced>, store: &mut Store) -> Result<(), Status> {
    let (requests, stream) = mpsc::channel(1);
    let first = SyncAuthorizedEntriesRequest { output_mask: Some(MASK), ids: Vec::new() };
    let _ = requests.try_send(first);
    let mut answers = client.sync_authorized_entries(ReceiverStream::new(stream)).await?.into_inner();
    let SyncAuthorizedEntriesResponse { entry_revisions, entries, mut more } = next(&mut answers).await?;
    if entry_revisions.is_empty() {
        return put_all(store, entries);
    }
    let page = entry_revisions.len();
    let mut revisions = entry_revisions;
    while more {
        let answer = next(&mut answers).await?;
        if !answer.entries.is_empty() {
            return Err(Status::internal("unexpected entries while receiving revisions"));
        }
        revisions.extend(answer.entry_revisions);
        more = answer.more;
    }
    let mut wanted: Vec<String> =
        revisions.iter().filter(|revision| is_news(store, revision)).map(|revision| revision.id.clone()).collect();
    wanted.sort_unstable();
    for ids in wanted.chunks(page) {
        let request = SyncAuthorizedEntriesRequest { output_mask: None, ids: ids.to_vec() };
        requests.send(request).await.map_err(|_| Status::unavailable("the stream has ended"))?;
        let mut more = true;
        while more {
            let answer = next(&mut answers).await?;
            if !answer.entry_revisions.is_empty() {
                return Err(Status::internal("unexpected revisions while receiving entries"));
            }
            decoded(answer.entries)?.into_iter().for_each(|entry| put_entry(store, Entry::from_api(entry)));
            more = answer.more;
        }
    }
    store.keep_entries(&revisions.into_iter().map(|revision| revision.id).collect());
    Ok(())
}

/// Takes over these entries, and forgets all others.
fn put_all(store: &mut Store, entries: Vec<Bytes>) -> Result<(), Status> {
    let entries = decoded(entries)?;
    let ids = entries.iter().map(|entry| entry.id.clone()).collect();
    entries.into_iter().for_each(|entry| put_entry(store, Entry::from_api(entry)));
    store.keep_entries(&ids);
    Ok(())
}

fn decoded(entries: Vec<Bytes>) -> Result<Vec<types::Entry>, Status> {
    let entries = entries.into_iter().map(types::Entry::decode).collect::<Result<_, _>>();
    entries.map_err(|error| Status::internal(format!("malformed entry: {error}")))
}

async fn next(answers: &mut Streaming<SyncAuthorizedEntriesResponse>) -> Result<SyncAuthorizedEntriesResponse, Status> {
    answers.message().await?.ok_or_else(|| Status::unavailable("the server ended the stream too early"))
}

/// A revision that makes no sense is left out, and with it the entry.
fn is_news(store: &Store, revision: &EntryRevision) -> bool {
    let EntryRevision { id, revision_number, created_at } = revision;
    if id.is_empty() || *revision_number < 0 {
        warn!(target: "manager", entry_id = id, revision_number, "Received malformed entry revision from SPIRE server");
        return false;
    }
    store.entry(id).is_none_or(|held| {
        held.revision_number != *revision_number || (*created_at != 0 && held.created_at != *created_at)
    })
}

async fn bundles(channel: Traced, store: &mut Store, upstream: &Upstream) -> Result<(), Status> {
    let mut client = BundleClient::new(channel);
    let own = client.get_bundle(GetBundleRequest { output_mask: None }).await?.into_inner();
    let federated = store.federated_trust_domains();
    let names: Vec<String> =
        federated.iter().filter(|name| *name != upstream.trust_domain()).map(|name| name.name().to_owned()).collect();
    let fetches = names.into_iter().map(|name| federated_bundle(client.clone(), name));
    let fetched: Vec<_> = stream::iter(fetches).buffer_unordered(AT_ONCE).collect().await;
    // All or none: half of the bundles would be worse than those of before.
    let fetched: Vec<types::Bundle> = fetched.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let kept: HashSet<_> = fetched.iter().filter_map(|bundle| TrustDomain::parse(&bundle.trust_domain).ok()).collect();
    put_bundle(store, own);
    fetched.into_iter().for_each(|bundle| put_bundle(store, bundle));
    store.keep_bundles(&kept, upstream.trust_domain());
    Ok(())
}

/// A federated bundle that the server does not have is no error.
async fn federated_bundle(mut client: BundleClient<Traced>, name: String) -> Result<Option<types::Bundle>, Status> {
    let request = GetFederatedBundleRequest { trust_domain: name.clone(), output_mask: None };
    match client.get_federated_bundle(request).await {
        Ok(bundle) => Ok(Some(bundle.into_inner())),
        Err(status) if status.code() == Code::NotFound => {
            warn!(target: "manager", trust_domain = name, "Federated bundle not found");
            Ok(None)
        }
        Err(status) => Err(status),
    }
}
