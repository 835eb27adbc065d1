//! Streams that are opened and stay open.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::Result;
use steeple_proto::steeple::agent::sync::v1::sync_client::SyncClient;
use steeple_proto::steeple::agent::sync::v1::{FollowRequest, FollowResponse, Open, follow_request};
use steeple_proto::workload::X509svidResponse;
use steeple_runtime::Clock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::attested::Attested;
use super::fetch::{connect, open};
use super::pace::Work;
use super::server::Server;

/// `FetchX509SVID`, each on a connection of its own.
pub(super) struct Held {
    socket: PathBuf,
    streams: RefCell<Vec<Streaming<X509svidResponse>>>,
}

impl Held {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), streams: RefCell::default() }
    }

    /// Closes those that are open.
    pub(super) fn close(&self) {
        self.streams.borrow_mut().clear();
    }
}

impl Work for Held {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let stream = open(&mut connect(&self.socket)).await?;
        self.streams.borrow_mut().push(stream);
        Ok(())
    }
}

/// `steeple.agent.sync.v1.Sync/Follow`, each by an agent of its own.
pub(super) struct Agents {
    agents: RefCell<Vec<Attested>>,
    streams: RefCell<Vec<AgentStream>>,
}

/// Both directions, and the agent whose connection it is.
type AgentStream = (Attested, mpsc::Sender<FollowRequest>, Streaming<FollowResponse>);

impl Agents {
    /// Attests so many.
    pub(super) async fn new(server: &Server, address: &(String, u16), count: u64, clock: &Clock) -> Result<Self> {
        let mut agents = Vec::new();
        for _ in 0..count {
            agents.push(Attested::attest(server, address, clock).await?);
        }
        Ok(Self { agents: agents.into(), streams: RefCell::default() })
    }
}

impl Work for Agents {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let agent = self.agents.borrow_mut().pop().ok_or_else(|| Status::out_of_range("no agent is left"))?;
        let (sender, messages) = mpsc::channel(1);
        let request = Some(follow_request::Request::Open(Open { held: Vec::new() }));
        let gone = |_| Status::cancelled("the stream has ended");
        sender.send(FollowRequest { request }).await.map_err(gone)?;
        let mut client = SyncClient::new(agent.channel.clone());
        let mut stream = client.follow(ReceiverStream::new(messages)).await?.into_inner();
        stream.message().await?.ok_or_else(|| Status::data_loss("the server ended the stream"))?;
        self.streams.borrow_mut().push((agent, sender, stream));
        Ok(())
    }
}
