//! Following the datastore's feed. Who does it is the only one that writes the index.

use std::sync::Arc;

use steeple_datastore::{Change, ChangedRows, Feed, Names, Slice};

use super::Index;

/// Applies changes to an index, and compares it with all rows as they come by.
pub(crate) struct Follower {
    index: Arc<Index>,
    /// What the comparison that is under way has found so far.
    differences: usize,
}

impl Follower {
    /// Of this index.
    pub(crate) fn new(index: Arc<Index>) -> Self {
        Self { index, differences: 0 }
    }

    /// Takes over a change of this feed. At the end of a comparison it returns how many entries and agents were gone, or
    /// otherwise than the index had them.
    pub(crate) fn take(&mut self, change: Change, feed: &mut Feed) -> Option<usize> {
        match change {
            Change::Rows(rows) => {
                self.index.apply(rows);
                None
            }
            Change::Slice(slice) => self.compare(slice, feed),
        }
    }

    fn compare(&mut self, slice: Slice, feed: &mut Feed) -> Option<usize> {
        let is_last = slice.is_last;
        if slice.is_first {
            self.differences = 0;
            self.index.begin_comparison();
        }
        let changed = self.index.differences(slice);
        self.differences += changed.nodes.len() + changed.entries.len();
        if !changed.nodes.is_empty() || !changed.entries.is_empty() {
            self.index.apply(changed);
        }
        if !is_last {
            return None;
        }
        let Names { entries, nodes } = self.index.unseen();
        self.differences += entries.len() + nodes.len();
        feed.look_again(Names { entries, nodes });
        Some(self.differences)
    }
}

impl Index {
    pub(super) fn begin_comparison(&self) {
        self.write(|tables| tables.round = tables.round.wrapping_add(1));
    }

    /// Marks what is known as it stands there, and returns the rest.
    pub(super) fn differences(&self, slice: Slice) -> ChangedRows {
        let Slice { nodes, entries, is_first: _, is_last: _ } = slice;
        let mut changed = ChangedRows::default();
        for node in nodes {
            let is_known = self.read(|tables| {
                let known = tables.agents.get(&*node.spiffe_id).filter(|known| known.is_of(&node));
                known.inspect(|known| known.seen.mark(tables.round)).is_some()
            });
            if !is_known {
                changed.nodes.push((node.spiffe_id.clone(), Some(node)));
            }
        }
        for entry in entries {
            let is_known = self.read(|tables| {
                let known = tables.entries.get(&*entry.entry_id).filter(|known| known.is_of(&entry));
                known.inspect(|known| known.seen.mark(tables.round)).is_some() || !tables.takes(&entry)
            });
            if !is_known {
                changed.entries.push((entry.entry_id.clone(), Some(entry)));
            }
        }
        changed
    }

    /// What has neither come by nor changed since the comparison began.
    pub(super) fn unseen(&self) -> Names {
        self.read(|tables| {
            let entries = tables.entries.values().filter(|entry| !entry.seen.is_marked(tables.round));
            let agents = tables.agents.iter().filter(|(_, agent)| !agent.seen.is_marked(tables.round));
            Names {
                entries: entries.map(|entry| entry.id.to_string()).collect(),
                nodes: agents.map(|(id, _)| id.to_string()).collect(),
            }
        })
    }
}
