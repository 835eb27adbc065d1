//! How much the index holds, now and then, under the names of the reference's events-based cache; and when the first of
//! the agents ends that are in use.

use std::sync::Arc;
use std::time::Duration;

use steeple_datastore::FeedStatus;
use steeple_runtime::metrics::gauge;
use steeple_runtime::{Clock, Shutdown};
use tokio::sync::watch;

use super::Index;
use super::tables::Tables;

/// All agents are looked at.
const EVERY: Duration = Duration::from_secs(10);

/// Measures an index and its feed.
pub(crate) struct Figures {
    pub(crate) index: Arc<Index>,
    pub(crate) feed: watch::Receiver<FeedStatus>,
    pub(crate) clock: Clock,
}

impl Figures {
    /// Measures until it is told to stop.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        loop {
            self.measure();
            if shutdown.unless_stopped(self.clock.sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    fn measure(&self) {
        let now = self.clock.unix_seconds();
        let tables = &self.index.tables;
        let (agents, entries, alias_selectors) = (tables.agents.len(), tables.entries.len(), tables.aliases.len());
        let aliases: usize = tables.aliases.iter().map(|aliases| aliases.len()).sum();
        let skipped = |of_nodes| -> i64 {
            let feed = self.feed.borrow();
            let gaps = feed.open_gaps.iter().filter(|gap| gap.of_nodes == of_nodes);
            gaps.map(|gap| gap.last - gap.first + 1).sum()
        };
        for (key, value) in [
            ("node.agents_by_id_cache.count", agents as f64),
            ("node.agents_by_expiresat_cache.count", agents as f64),
            ("node.skipped_node_event_ids.count", skipped(true) as f64),
            ("entry.entries_by_entryid_cache.count", entries as f64),
            ("entry.nodealiases_by_entryid_cache.count", aliases as f64),
            ("entry.nodealiases_by_selector_cache.count", alias_selectors as f64),
            ("entry.skipped_entry_event_ids.count", skipped(false) as f64),
            ("steeple.agent_svid.soonest_expiration", first_end(tables, now) as f64),
        ] {
            gauge(key, value);
        }
    }
}

/// Seconds since 1970; 0 where no agent is in use. Those that are over have had their alert.
fn first_end(tables: &Tables, now: i64) -> i64 {
    let in_use = tables.agents.iter().filter(|agent| !agent.is_banned());
    in_use.map(|agent| agent.last_end()).filter(|end| *end > now).min().unwrap_or_default()
}
