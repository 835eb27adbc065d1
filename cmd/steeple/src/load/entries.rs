//! Entries that are created, many a call.

use anyhow::Result;
use steeple_proto::spire::api::types::Entry;
use steeple_spiffe::SpiffeId;
use tonic::Status;

use super::pace::Work;
use super::server::Server;

/// `BatchCreateEntry`.
pub(super) struct Entries<'a> {
    server: &'a Server,
    parent: SpiffeId,
    /// Entries a call.
    size: u64,
    /// Entries in all.
    count: u64,
}

impl<'a> Entries<'a> {
    /// The entries are below a node that nobody is.
    pub(super) fn new(server: &'a Server, size: u64, count: u64) -> Result<Self> {
        Ok(Self { server, parent: server.id("parent")?, size, count })
    }

    /// Calls that are needed for all.
    pub(super) fn calls(&self) -> u64 {
        self.count.div_ceil(self.size)
    }

    fn batch(&self, number: u64) -> Result<Vec<Entry>> {
        let first = number * self.size;
        let numbers = first..(first + self.size).min(self.count);
        let entry = |number: u64| self.server.entry(number, &self.parent, ("unix", &format!("uid:{number}")));
        numbers.map(entry).collect()
    }
}

impl Work for Entries<'_> {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let entries = self.batch(number).map_err(|error| Status::internal(error.to_string()))?;
        self.server.create(entries).await
    }
}
