//! Streams that are opened and stay open.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use steeple_proto::workload::X509svidResponse;
use tonic::{Status, Streaming};

use super::attested::{Attested, Site};
use super::fetch::{connect, open};
use super::follow::Follow;
use super::pace::Work;
use super::server::AT_ONCE;

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

/// `steeple.agent.sync.v1.Sync/Follow`, each by an agent of its own, until the agent has its entries.
pub(super) struct Agents {
    agents: RefCell<Vec<Attested>>,
    streams: RefCell<Vec<Follow>>,
}

impl Agents {
    /// Attests so many, each of which may have `entries`. They have been in touch and are not connected: their SVIDs are
    /// in use, as those of agents are that come back.
    ///
    /// # Errors
    /// They cannot attest, or the server does not create their entries.
    pub(super) async fn new(site: Site<'_>, count: u64, entries: u64) -> Result<Self> {
        let agents = stream::iter(site.several(count).await?).map(async |agent| {
            agent.authorize(site.server, entries, site.clock).await?;
            anyhow::Ok(site.connected(agent)?)
        });
        let agents: Vec<_> = agents.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Self { agents: agents.into(), streams: RefCell::default() })
    }
}

impl Work for Agents {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let agent = self.agents.borrow_mut().pop().ok_or_else(|| Status::out_of_range("no agent is left"))?;
        let stream = Follow::open(agent).await?;
        self.streams.borrow_mut().push(stream);
        Ok(())
    }
}
