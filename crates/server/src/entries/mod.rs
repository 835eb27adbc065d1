//! The server's memory of entries, agents and bundles, fed only by the datastore's feed: what an agent may have is
//! answered from here, and a change finds here the agents that it concerns.

mod authorized;
mod concerned;
mod encode;
mod entry;
mod figures;
mod follower;
mod seen;
mod streams;
mod tables;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use steeple_datastore::{ChangedRows, Feed, Part};
use steeple_proto::spire::api::types;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::Certificate;
use tokio::sync::watch;

pub(crate) use encode::{FOR_AGENTS, api_bundle, entry as api_entry, id as api_id, selector as api_selector};
pub(crate) use entry::IndexedEntry;
pub(crate) use figures::Figures;
pub(crate) use follower::Follower;
use seen::Seen;
use streams::Streams;
use tables::Tables;

/// What is known of an agent, apart from its entries.
#[derive(Debug)]
pub struct AgentState {
    /// Serial number of the SVID in use, decimal; empty when the agent is banned.
    pub serial: String,
    /// Serial number of a renewed SVID that has not been seen yet, or of the one in use if it answered a join token and has
    /// not been seen; empty when there is none.
    pub new_serial: String,
    expires_at: i64,
    new_expires_at: Option<i64>,
    attestation_type: Box<str>,
    agent_version: Box<str>,
    can_reattest: bool,
    selectors: HashSet<(String, String)>,
    seen: Seen,
}

impl AgentState {
    /// Whether the agent is banned.
    pub fn is_banned(&self) -> bool {
        self.serial.is_empty()
    }
}

/// A trust domain's bundle in the forms that are asked for.
#[derive(Debug)]
pub struct IndexedBundle {
    /// For the APIs.
    pub api: types::Bundle,
    /// For TLS.
    pub authorities: Arc<[Certificate]>,
}

/// What an index is made of, while it is read from the database part by part.
pub struct Loading(Tables);

impl Loading {
    /// Nothing yet.
    pub fn new(trust_domain: &TrustDomain) -> Self {
        Self(Tables::new(trust_domain))
    }

    /// All that the database holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(feed: &mut Feed, trust_domain: &TrustDomain) -> Result<Self, steeple_datastore::Error> {
        let mut loading = Self::new(trust_domain);
        feed.load(&mut |part| loading.add(part)).await?;
        Ok(loading)
    }

    /// Takes over a part, in the order in which the feed gives them.
    pub fn add(&mut self, part: Part) {
        self.0.add(part);
    }
}

/// The index. One task applies changes ([`Index::apply`]); everybody reads.
pub struct Index {
    tables: RwLock<Tables>,
    /// Locked after the tables, where both are.
    streams: Mutex<Streams>,
}

impl Index {
    /// The index of a database as it was read.
    pub fn new(loaded: Loading) -> Self {
        Self { tables: RwLock::new(loaded.0), streams: Mutex::default() }
    }

    /// Replaces what changed and wakes the streams of the agents that it concerns.
    pub fn apply(&self, rows: ChangedRows) {
        let concerned = self.write(|tables| tables.apply(rows, &self.streams()));
        let streams = self.streams();
        for agent in concerned {
            streams.wake(&agent);
        }
    }

    /// The entries that an agent may have: its own, those below them, and those of its aliases; in the order of their
    /// creation, depth first.
    pub fn authorized(&self, agent: &str) -> Vec<Arc<IndexedEntry>> {
        self.read(|tables| authorized::entries(tables, agent))
    }

    /// One entry, if the agent may have it.
    pub fn authorized_entry(&self, agent: &str, entry_id: &str) -> Option<Arc<IndexedEntry>> {
        self.read(|tables| authorized::entry(tables, agent, entry_id))
    }

    /// What is known of an agent.
    pub fn agent(&self, id: &str) -> Option<Arc<AgentState>> {
        self.read(|tables| tables.agents.get(id).cloned())
    }

    /// A trust domain's bundle.
    pub fn bundle(&self, trust_domain: &str) -> Option<Arc<IndexedBundle>> {
        self.read(|tables| tables.bundles.get(trust_domain).cloned())
    }

    /// Wakes for each later change that concerns an agent, until it is dropped.
    pub fn changes_of(&self, agent: &str) -> watch::Receiver<u64> {
        self.streams().open(agent)
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<Arc<IndexedEntry>> {
        self.read(|tables| tables.entries.values().cloned().collect())
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> T {
        read(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Tables) -> T) -> T {
        write(&mut self.tables.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
