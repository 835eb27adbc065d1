//! The pushing of changes: at its opening a stream is told everything that the agent lacks, as the real server does it;
//! afterwards what the test pushes.

use std::sync::Arc;

use prost::Message;
use steeple_proto::spire::api::types;
use steeple_proto::steeple::agent::sync::v1::follow_request::Request as Asked;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_proto::steeple::agent::sync::v1::sync_server::Sync;
use steeple_proto::steeple::agent::sync::v1::{
    Entries, EntryDigest, FollowRequest, FollowResponse, Listing, Open, Removed, Status as SyncStatus, Want,
};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Pushed, Shared};

/// Entries of one part of a listing.
const PAGE: usize = 500;

pub(super) struct Service(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl Sync for Service {
    async fn follow(
        &self,
        request: Request<Streaming<FollowRequest>>,
    ) -> Result<Response<BoxStream<FollowResponse>>, Status> {
        if !self.0.script().pushes {
            return Err(Status::unimplemented("unknown service steeple.agent.sync.v1.Sync"));
        }
        let mut asked = request.into_inner();
        let Some(FollowRequest { request: Some(Asked::Open(open)) }) = asked.message().await? else {
            return Err(Status::invalid_argument("the first message must be open"));
        };
        // From before the first look, so that nothing that is pushed is missed.
        let pushes = self.0.pushes.subscribe();
        let (answers, stream) = mpsc::channel(64);
        let following = Following { shared: Arc::clone(&self.0), answers };
        tokio::spawn(following.run(open, asked, pushes));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

struct Following {
    shared: Arc<Shared>,
    answers: mpsc::Sender<Result<FollowResponse, Status>>,
}

/// The agent is gone.
struct Gone;

impl Following {
    async fn run(self, open: Open, mut asked: Streaming<FollowRequest>, mut pushes: broadcast::Receiver<Pushed>) {
        if self.open(open).await.is_err() {
            return;
        }
        loop {
            let done = tokio::select! {
                pushed = pushes.recv() => match pushed {
                    Ok(Pushed::Change(change)) => self.send(change).await,
                    Ok(Pushed::End(status)) => {
                        if let Some(status) = status {
                            let _ = self.answers.send(Err(status)).await;
                        }
                        return;
                    }
                    Err(_) => return,
                },
                asked = asked.message() => match asked {
                    Ok(Some(FollowRequest { request: Some(Asked::Want(want)) })) => self.answer(want).await,
                    _ => return,
                },
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn open(&self, open: Open) -> Result<(), Gone> {
        let (bundle, federated, entries) = {
            let script = self.shared.script();
            (script.bundle.clone(), script.federated.clone(), encoded(&script.entries))
        };
        self.send(Change::Bundle(bundle)).await?;
        for bundle in federated.into_values() {
            self.send(Change::Bundle(bundle)).await?;
        }
        let mut digests: Vec<_> = entries.iter().map(|(id, bytes)| (id.as_str(), steeple_pki::sha256(bytes))).collect();
        digests.sort_unstable();
        if steeple_transport::sync::digest(digests.iter().copied()) != open.held {
            let digests: Vec<_> = digests
                .iter()
                .map(|(id, digest)| EntryDigest { id: (*id).to_owned(), digest: digest.to_vec() })
                .collect();
            let parts = digests.len().div_ceil(PAGE).max(1);
            for part in 0..parts {
                let entries = digests.iter().skip(part * PAGE).take(PAGE).cloned().collect();
                self.send(Change::Listing(Listing { entries, more: part + 1 < parts })).await?;
            }
        }
        self.send(Change::Status(SyncStatus { complete: true })).await
    }

    async fn answer(&self, Want { entry_ids }: Want) -> Result<(), Gone> {
        let entries = encoded(&self.shared.script().entries);
        let (mut found, mut lost) = (Vec::new(), Vec::new());
        for id in &entry_ids {
            match entries.iter().find(|(known, _)| known == id) {
                Some((_, bytes)) => found.push(bytes.clone().into()),
                None => lost.push(id.clone()),
            }
        }
        self.shared.see(|seen| seen.wanted.push(entry_ids));
        if !lost.is_empty() {
            self.send(Change::Removed(Removed { entry_ids: lost })).await?;
        }
        self.send(Change::Entries(Entries { entries: found })).await?;
        self.send(Change::Status(SyncStatus { complete: true })).await
    }

    async fn send(&self, change: Change) -> Result<(), Gone> {
        self.answers.send(Ok(FollowResponse { change: Some(change) })).await.map_err(|_| Gone)
    }
}

fn encoded(entries: &[types::Entry]) -> Vec<(String, Vec<u8>)> {
    entries.iter().map(|entry| (entry.id.clone(), entry.encode_to_vec())).collect()
}
