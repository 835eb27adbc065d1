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
    parents: Vec<SpiffeId>,
    /// Entries a call.
    size: u64,
    /// Entries in all.
    count: u64,
}

impl<'a> Entries<'a> {
    /// The entries are below so many nodes that nobody is.
    pub(super) fn new(server: &'a Server, size: u64, count: u64, parents: u64) -> Result<Self> {
        let parents = (0..parents).map(|number| server.id(&format!("parent-{number}"))).collect::<Result<_>>()?;
        Ok(Self { server, parents, size, count })
    }

    /// Calls that are needed for all.
    pub(super) fn calls(&self) -> u64 {
        self.count.div_ceil(self.size)
    }

    fn batch(&self, number: u64) -> Result<Vec<Entry>> {
        let first = number * self.size;
        let numbers = first..(first + self.size).min(self.count);
        let entry = |(number, parent)| self.server.entry(number, parent, ("unix", &format!("uid:{number}")));
        let parents = self.parents.iter().cycle().skip(usize::try_from(first)? % self.parents.len());
        numbers.zip(parents).map(entry).collect()
    }
}

impl Work for Entries<'_> {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let entries = self.batch(number).map_err(|error| Status::internal(error.to_string()))?;
        self.server.create(entries).await
    }
}
