//! SyncAuthorizedEntries: revisions first, then the entries that the agent asks for.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use steeple_proto::spire::api::server::entry::v1::{
    EntryRevision, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use steeple_proto::spire::api::types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Status, Streaming};

use super::convert::encoded;
use crate::api::status;
use crate::api::streams::Newer;
use crate::entries::IndexedEntry;

/// Entries or revisions of one message.
const PAGE: usize = 500;

type Answers = mpsc::Sender<Result<SyncAuthorizedEntriesResponse, Status>>;

/// Answers the agent's messages until it has no more, or begins anew: it has one such stream, so that what it costs is
/// bounded.
pub(super) fn answer(
    authorized: Vec<Arc<IndexedEntry>>,
    requests: Streaming<SyncAuthorizedEntriesRequest>,
    mut newer: Newer,
) -> BoxStream<SyncAuthorizedEntriesResponse> {
    let (answers, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        let served = tokio::select! {
            served = serve(&authorized, requests, &answers) => served,
            () = newer.opened() => Err(Some(Status::aborted("the agent has begun another synchronization"))),
        };
        // An agent that does not read must not keep what it was to get.
        drop(authorized);
        if let Err(Some(status)) = served {
            // The agent may be gone already.
            let _ = answers.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

/// Err(None): the agent is gone.
async fn serve(
    authorized: &[Arc<IndexedEntry>],
    mut requests: Streaming<SyncAuthorizedEntriesRequest>,
    answers: &Answers,
) -> Result<(), Option<Status>> {
    let Some(first) = requests.next().await else { return Ok(()) };
    let SyncAuthorizedEntriesRequest { output_mask: mask, ids } = first?;
    if !ids.is_empty() {
        return Err(Some(status::invalid_argument("specifying IDs on initial request is not supported")));
    }
    if mask.as_ref().is_some_and(|mask| !mask.revision_number) {
        return Err(Some(status::invalid_argument("revision number cannot be masked")));
    }
    if authorized.len() <= PAGE {
        return send(answers, Vec::new(), entries(authorized, mask.as_ref()), false).await;
    }

    let mut pages = authorized.chunks(PAGE).peekable();
    while let Some(page) = pages.next() {
        let revisions = page.iter().map(|entry| EntryRevision {
            id: entry.id.to_string(),
            revision_number: entry.revision_number,
            created_at: entry.created_at,
        });
        send(answers, revisions.collect(), Vec::new(), pages.peek().is_some()).await?;
    }
    let by_id: HashMap<&str, &Arc<IndexedEntry>> = authorized.iter().map(|entry| (&*entry.id, entry)).collect();
    while let Some(request) = requests.next().await {
        let mut asked: Vec<_> =
            request?.ids.iter().filter_map(|id| by_id.get(id.as_str())).map(|entry| Arc::clone(entry)).collect();
        asked.sort_by(|a, b| a.id.cmp(&b.id));
        let mut pages = asked.chunks(PAGE).peekable();
        if pages.peek().is_none() {
            send(answers, Vec::new(), Vec::new(), false).await?;
        }
        while let Some(page) = pages.next() {
            send(answers, Vec::new(), entries(page, mask.as_ref()), pages.peek().is_some()).await?;
        }
    }
    Ok(())
}

fn entries(page: &[Arc<IndexedEntry>], mask: Option<&types::EntryMask>) -> Vec<Bytes> {
    page.iter().filter_map(|entry| encoded(entry, mask)).collect()
}

async fn send(
    answers: &Answers,
    entry_revisions: Vec<EntryRevision>,
    entries: Vec<Bytes>,
    more: bool,
) -> Result<(), Option<Status>> {
    let answer = SyncAuthorizedEntriesResponse { entry_revisions, entries, more };
    answers.send(Ok(answer)).await.map_err(|_| None)
}
