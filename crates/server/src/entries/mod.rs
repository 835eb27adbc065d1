//! The server's memory of entries, agents and bundles, fed only by the datastore's feed: what an agent may have is
//! answered from here, and a change finds here the agents that it concerns.

mod agent;
mod authorized;
mod concerned;
mod encode;
mod entry;
mod figures;
mod follower;
mod seen;
mod streams;
mod tables;
mod turns;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steeple_datastore::{ChangedRows, Feed, Part};
use steeple_proto::spire::api::types;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::Certificate;
use tokio::sync::watch;

pub(crate) use agent::AgentState;
pub(crate) use encode::{FOR_AGENTS, api_bundle, entry as api_entry, id as api_id, selector as api_selector};
pub(crate) use entry::{IndexedEntry, Terms};
pub(crate) use figures::Figures;
pub(crate) use follower::Follower;
use seen::Seen;
pub(crate) use streams::MOST_SPREAD;
use streams::{Streams, Wakes, spread_over};
use tables::Tables;
use writer::Writer;

/// A trust domain's bundle in the forms that are asked for.
#[derive(Debug)]
pub struct IndexedBundle {
    /// For the APIs.
    pub api: types::Bundle,
    /// For TLS.
    pub authorities: Arc<[Certificate]>,
}

/// What an index is made of, while it is read from the database part by part.
pub struct Loading {
    tables: Tables,
    writer: Writer,
}

impl Loading {
    /// Nothing yet.
    pub fn new(trust_domain: &TrustDomain) -> Self {
        Self { tables: Tables::new(trust_domain), writer: Writer::default() }
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
        self.writer.add(&self.tables, part);
    }
}

/// The index. One task applies changes ([`Index::apply`]); everybody reads.
pub struct Index {
    tables: Tables,
    /// Locked before the others, where several are.
    writer: Mutex<Writer>,
    /// Locked before a shard of the tables.
    streams: Mutex<Streams>,
    bundles: watch::Sender<()>,
}

impl Index {
    /// The index of a database as it was read.
    pub fn new(loaded: Loading) -> Self {
        let Loading { tables, writer } = loaded;
        Self { tables, writer: Mutex::new(writer), streams: Mutex::default(), bundles: watch::Sender::default() }
    }

    /// Replaces what changed and wakes the streams of the agents that it concerns.
    pub fn apply(&self, rows: ChangedRows) {
        let with_bundles = !rows.bundles.is_empty();
        let own: Vec<_> = rows.nodes.iter().map(|(id, _)| id.clone()).collect();
        let concerned = self.writer().apply(&self.tables, rows, || self.streams());
        if with_bundles {
            self.bundles.send_replace(());
        }
        let (streams, within) = (self.streams(), spread_over(concerned.len()));
        for agent in concerned {
            streams.wake(&agent, within);
        }
        // A ban does not wait for the change of a bundle that was read with it.
        for agent in &own {
            streams.wake(agent, spread_over(own.len()));
        }
    }

    /// The entries that an agent may have: its own, those below them, and those of its aliases; in the order of their
    /// creation, depth first.
    pub fn authorized(&self, agent: &str) -> Vec<Arc<IndexedEntry>> {
        self.tables.turns.steady(|| authorized::entries(&self.tables, agent))
    }

    /// One entry, if the agent may have it.
    pub fn authorized_entry(&self, agent: &str, entry_id: &str) -> Option<Arc<IndexedEntry>> {
        self.tables.turns.steady(|| authorized::entry(&self.tables, agent, entry_id))
    }

    /// What is known of an agent.
    pub fn agent(&self, id: &str) -> Option<Arc<AgentState>> {
        self.tables.agent(id)
    }

    /// A trust domain's bundle.
    pub fn bundle(&self, trust_domain: &str) -> Option<Arc<IndexedBundle>> {
        self.tables.bundle(trust_domain)
    }

    /// Wakes for each later change that concerns an agent, until it is dropped.
    pub fn changes_of(&self, agent: &str) -> watch::Receiver<Wakes> {
        self.streams().open(agent)
    }

    /// Wakes after each change of any bundle.
    pub fn bundle_changes(&self) -> watch::Receiver<()> {
        self.bundles.subscribe()
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<Arc<IndexedEntry>> {
        self.tables.entries.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
