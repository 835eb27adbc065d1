//! An agent's stream, `steeple.agent.sync.v1.Sync/Follow`.

use anyhow::Result;
use prost::Message;
use steeple_proto::spire::api::types::Entry;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_proto::steeple::agent::sync::v1::sync_client::SyncClient;
use steeple_proto::steeple::agent::sync::v1::{Entries, FollowRequest, FollowResponse, Open, Want, follow_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::attested::Attested;
use super::server::BATCH;

/// Both directions, and the agent whose connection it is.
pub(super) struct Follow {
    _agent: Attested,
    requests: mpsc::Sender<FollowRequest>,
    answers: Streaming<FollowResponse>,
}

impl Follow {
    /// Opens the stream of an agent that has no entry yet, and asks for all that it may have. Returns when they are here.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn open(agent: Attested) -> Result<Self, Status> {
        let (requests, messages) = mpsc::channel(1);
        let first = follow_request::Request::Open(Open { held: Vec::new() });
        // The channel has room for it.
        let _ = requests.try_send(FollowRequest { request: Some(first) });
        let answers = SyncClient::new(agent.channel.clone()).follow(ReceiverStream::new(messages)).await?.into_inner();
        let mut stream = Self { _agent: agent, requests, answers };
        let mut lacking = Vec::new();
        loop {
            match stream.next().await? {
                Change::Listing(listing) => lacking.extend(listing.entries.into_iter().map(|entry| entry.id)),
                Change::Status(_) => break,
                _ => {}
            }
        }
        for ids in lacking.chunks(BATCH) {
            let want = follow_request::Request::Want(Want { entry_ids: ids.to_vec() });
            let sent = stream.requests.send(FollowRequest { request: Some(want) }).await;
            sent.map_err(|_| ended())?;
            let mut come = 0;
            while come < ids.len() {
                if let Change::Entries(Entries { entries }) = stream.next().await? {
                    come += entries.len();
                }
            }
        }
        Ok(stream)
    }

    /// Waits for an entry.
    ///
    /// # Errors
    /// The stream has ended.
    pub(super) async fn until(&mut self, is_it: impl Fn(&Entry) -> bool) -> Result<(), Status> {
        loop {
            let Change::Entries(Entries { entries }) = self.next().await? else { continue };
            for entry in entries {
                let entry = Entry::decode(&*entry).map_err(|error| Status::data_loss(error.to_string()))?;
                if is_it(&entry) {
                    return Ok(());
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Change, Status> {
        loop {
            if let Some(change) = self.answers.message().await?.ok_or_else(ended)?.change {
                return Ok(change);
            }
        }
    }
}

fn ended() -> Status {
    Status::cancelled("the server ended the stream")
}
