//! Changes that the server pushes (`steeple.agent.sync.v1`).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use prost::Message;
use steeple_proto::spire::api::types;
use steeple_proto::steeple::agent::sync::v1::sync_client::SyncClient;
use steeple_proto::steeple::agent::sync::v1::{
    Entries, FollowRequest, FollowResponse, Listing, Open, Removed, Status as SyncStatus, Want, follow_request,
    follow_response,
};
use steeple_runtime::metrics::called;
use steeple_spiffe::TrustDomain;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{FETCH_ENTRIES, put_bundle, put_entry};
use crate::cache::{Entry, Store};
use crate::upstream::Upstream;

pub(super) use follow_response::Change;

/// Ids of one request.
const PAGE: usize = 500;

/// An open stream.
pub(super) struct Stream {
    changes: Streaming<FollowResponse>,
    progress: Progress,
}

/// How far what has come makes a whole.
struct Progress {
    requests: mpsc::Sender<FollowRequest>,
    /// Ids of the listing that is still arriving.
    listed: HashSet<String>,
    /// Ids that were asked for and have not come.
    wanted: HashSet<String>,
    /// When the first change came of those that are not a whole yet.
    began: Option<Instant>,
}

impl Stream {
    /// Opens it, telling what the agent holds. A server that says nothing for `limit` is given up.
    pub(super) async fn open(upstream: &Upstream, store: &Store, limit: Duration) -> Result<Self, Status> {
        let channel = upstream.channel().map_err(|error| Status::internal(error.to_string()))?;
        let (requests, stream) = mpsc::channel(1);
        let held = steeple_transport::sync::digest(store.digests());
        let open = FollowRequest { request: Some(follow_request::Request::Open(Open { held })) };
        // An empty channel of one place takes its first message.
        let _ = requests.try_send(open);
        let opened = async { SyncClient::new(channel).follow(ReceiverStream::new(stream)).await };
        let changes = upstream.call_within(limit, opened).await?.into_inner();
        Ok(Self { changes, progress: Progress::new(requests) })
    }

    /// The next change; None at the stream's end.
    pub(super) async fn next(&mut self) -> Result<Option<Change>, Status> {
        loop {
            match self.changes.message().await? {
                None => return Ok(None),
                Some(FollowResponse { change: Some(change) }) => return Ok(Some(change)),
                // A change of a kind that only a later version knows.
                Some(FollowResponse { change: None }) => {}
            }
        }
    }

    /// Takes a change into the store. Returns whether the store is now as new as the server.
    pub(super) async fn apply(&mut self, change: Change, store: &mut Store) -> Result<bool, Status> {
        self.progress.apply(change, store).await
    }
}

impl Progress {
    fn new(requests: mpsc::Sender<FollowRequest>) -> Self {
        Self { requests, listed: HashSet::new(), wanted: HashSet::new(), began: None }
    }

    async fn apply(&mut self, change: Change, store: &mut Store) -> Result<bool, Status> {
        let began = *self.began.get_or_insert_with(Instant::now);
        match change {
            Change::Bundle(bundle) => put_bundle(store, bundle),
            Change::RemovedBundle(name) => {
                if let Ok(trust_domain) = TrustDomain::parse(&name) {
                    store.remove_bundle(&trust_domain);
                }
            }
            Change::Entries(Entries { entries }) => {
                for encoded in entries {
                    let entry = Entry::decode(&encoded);
                    match &entry {
                        Ok(entry) => self.wanted.remove(&*entry.id),
                        // It makes no sense, but it has come: there is nothing more to wait for.
                        Err(_) => types::Entry::decode(&*encoded).is_ok_and(|entry| self.wanted.remove(&entry.id)),
                    };
                    put_entry(store, entry);
                }
            }
            Change::Removed(Removed { entry_ids }) => {
                for id in entry_ids {
                    self.wanted.remove(&id);
                    store.remove_entry(&id);
                }
            }
            Change::Listing(listing) => self.list(listing, store).await?,
            Change::Status(SyncStatus { complete }) => {
                let is_whole = complete && self.wanted.is_empty();
                if is_whole {
                    self.began = None;
                    called(FETCH_ENTRIES, "OK", began);
                }
                return Ok(is_whole);
            }
        }
        Ok(false)
    }

    /// Asks for what the agent lacks; when the listing is whole, what it does not name is dropped.
    async fn list(&mut self, listing: Listing, store: &mut Store) -> Result<(), Status> {
        let Listing { entries, more } = listing;
        let lacking = entries
            .iter()
            .filter(|listed| store.entry(&listed.id).is_none_or(|held| held.digest.as_slice() != listed.digest));
        let lacking: Vec<String> = lacking.map(|listed| listed.id.clone()).collect();
        self.listed.extend(entries.into_iter().map(|listed| listed.id));
        for page in lacking.chunks(PAGE) {
            self.wanted.extend(page.iter().cloned());
            let want = follow_request::Request::Want(Want { entry_ids: page.to_vec() });
            let sent = self.requests.send(FollowRequest { request: Some(want) }).await;
            sent.map_err(|_| Status::unavailable("the stream has ended"))?;
        }
        if !more {
            store.keep_entries(&self.listed);
            self.listed = HashSet::new();
        }
        Ok(())
    }
}

/// What an agent without entries holds after these changes: IDs of entries, whether it takes itself to be as new as the
/// server, and the IDs that it has asked for.
#[cfg(fuzzing)]
pub async fn held_after(changes: Vec<FollowResponse>) -> (Vec<String>, bool, Vec<String>) {
    let trust_domain = TrustDomain::parse("example.org").expect("a name");
    let (_, mut store) = crate::cache::Cache::new(trust_domain, changes.len() + 1);
    // Each listing of at most so many bytes as a target has asks for a few pages at most.
    let (requests, mut asked) = mpsc::channel(4096);
    let (mut progress, mut complete) = (Progress::new(requests), false);
    for change in changes.into_iter().filter_map(|response| response.change) {
        complete = progress.apply(change, &mut store).await.expect("somebody listens");
        store.publish(std::time::SystemTime::UNIX_EPOCH);
    }
    let mut wanted = Vec::new();
    while let Ok(FollowRequest { request: Some(follow_request::Request::Want(Want { entry_ids })) }) = asked.try_recv()
    {
        wanted.extend(entry_ids);
    }
    (store.digests().into_iter().map(|(id, _)| id.to_owned()).collect(), complete, wanted)
}
