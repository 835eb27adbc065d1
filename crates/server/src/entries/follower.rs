//! Following the datastore's feed. Who does it is the only one that writes the index.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use steeple_datastore::nodes::PutBackNodes;
use steeple_datastore::{Change, ChangedRows, DataStore, Error, Feed, Names, Node, Slice};
use steeple_runtime::Clock;
use steeple_runtime::clock::unix_seconds;
use tracing::{error, warn};

use super::Index;

/// Applies changes to an index, and compares it with all rows as they come by. When the database has moved back, what it
/// has lost of agents is written back first: they show SVIDs that it knows nothing of, and would be refused for ever.
pub(crate) struct Follower {
    index: Arc<Index>,
    store: DataStore,
    clock: Clock,
    /// What the comparison that is under way has found so far.
    differences: usize,
}

impl Follower {
    /// Of this index, and the store that its feed reads.
    pub(crate) fn new(index: Arc<Index>, store: DataStore, clock: Clock) -> Self {
        Self { index, store, clock, differences: 0 }
    }

    /// Takes over a change of this feed. At the end of a comparison it returns how many entries and agents were gone, or
    /// otherwise than the index had them.
    pub(crate) async fn take(&mut self, change: Change, feed: &mut Feed) -> Option<usize> {
        match change {
            Change::Rows(rows) => {
                self.apply(rows, feed).await;
                None
            }
            Change::Slice(slice) => self.compare(slice, feed).await,
        }
    }

    async fn compare(&mut self, slice: Slice, feed: &mut Feed) -> Option<usize> {
        let is_last = slice.is_last;
        if slice.is_first {
            self.differences = 0;
            self.index.begin_comparison();
        }
        let changed = self.index.differences(slice);
        self.differences += changed.nodes.len() + changed.entries.len();
        if !changed.nodes.is_empty() || !changed.entries.is_empty() {
            self.apply(changed, feed).await;
        }
        if !is_last {
            return None;
        }
        let gone = self.index.unseen();
        self.differences += gone.entries.len() + gone.nodes.len();
        feed.look_again(gone);
        Some(self.differences)
    }

    async fn apply(&self, mut rows: ChangedRows, feed: &mut Feed) {
        if feed.has_moved_back() {
            self.put_back(&mut rows.nodes, feed).await;
        }
        self.index.apply(rows);
    }

    /// Writes back what the database has lost of these agents. Those stay as the index knows them until their rows come by
    /// again.
    async fn put_back(&self, rows: &mut Vec<(String, Option<Node>)>, feed: &mut Feed) {
        let now = unix_seconds(self.clock.now());
        let nodes: Vec<_> = rows.iter().filter_map(|(id, row)| self.index.lost(id, row.as_ref(), now)).collect();
        if nodes.is_empty() {
            return;
        }
        let ids: Vec<_> = nodes.iter().map(|node| node.spiffe_id.clone()).collect();
        let kept = match self.store.write(PutBackNodes { nodes }).await {
            Ok(written) => {
                if !written.is_empty() {
                    warn!(target: "feed", agents = written.len(), "Database has lost agents or their SVIDs; written back");
                }
                written
            }
            Err(Error::Closed) => ids,
            Err(error) => {
                error!(target: "feed", agents = ids.len(), error = %error, "Failed to write back agents; trying again");
                self.clock.sleep(PAUSE).await;
                feed.look_again(Names { entries: Vec::new(), nodes: ids.clone() });
                ids
            }
        };
        let kept: HashSet<_> = kept.iter().map(String::as_str).collect();
        rows.retain(|(id, _)| !kept.contains(id.as_str()));
    }
}

/// Between attempts to write agents back. As long as the database takes no writes, changes wait for no more than this.
const PAUSE: Duration = Duration::from_secs(1);

impl Index {
    pub(super) fn begin_comparison(&self) {
        let mut writer = self.writer();
        writer.round = writer.round.wrapping_add(1);
    }

    /// The agent as it is known, if it may go on but for this row, which is gone or knows of earlier SVIDs alone.
    fn lost(&self, id: &str, row: Option<&Node>, now: i64) -> Option<Node> {
        let known = self.agent(id).filter(|known| !known.is_banned())?.row(id);
        (known.last_end() > now && row.is_none_or(|row| known.is_newer_than(row))).then_some(known)
    }

    /// Marks what is known as it stands there, and returns the rest.
    pub(super) fn differences(&self, slice: Slice) -> ChangedRows {
        let Slice { nodes, entries, is_first: _, is_last: _ } = slice;
        let (tables, round) = (&self.tables, self.writer().round);
        let mut changed = ChangedRows::default();
        for node in nodes {
            let known = tables.agent(&node.spiffe_id).filter(|known| known.is_of(&node));
            let is_known = known.inspect(|known| known.seen.mark(round)).is_some();
            if !is_known {
                changed.nodes.push((node.spiffe_id.clone(), Some(node)));
            }
        }
        for entry in entries {
            let known = tables.entry(&entry.entry_id).filter(|known| known.is_of(&entry));
            let is_known = known.inspect(|known| known.seen.mark(round)).is_some() || !tables.takes(&entry);
            if !is_known {
                changed.entries.push((entry.entry_id.clone(), Some(entry)));
            }
        }
        changed
    }

    /// What has neither come by nor changed since the comparison began.
    pub(super) fn unseen(&self) -> Names {
        let (tables, round) = (&self.tables, self.writer().round);
        let entries = tables.entries.iter().filter(|entry| !entry.seen.is_marked(round));
        let agents = tables.agents.iter().filter(|agent| !agent.seen.is_marked(round));
        Names {
            entries: entries.map(|entry| entry.id.to_string()).collect(),
            nodes: agents.map(|agent| agent.key().to_string()).collect(),
        }
    }
}
