//! What changes the index. There is one, so that it never waits for another in the middle of a change.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use steeple_datastore::{ChangedRows, Entry, Node, Part};
use tracing::warn;

use super::entry::{IndexedEntry, Surroundings};
use super::streams::Streams;
use super::tables::Tables;
use super::{AgentState, concerned, encode};

#[derive(Default)]
pub(super) struct Writer {
    /// The place of the next entry.
    next_place: u64,
    /// The number of the comparison that is under way, or was the last.
    pub(super) round: u32,
}

impl Writer {
    /// Takes over a part of everything.
    pub(super) fn add(&mut self, tables: &Tables, part: Part) {
        match part {
            Part::Bundles(bundles) => {
                for bundle in bundles {
                    tables.put_bundle(&bundle.trust_domain_id, Some(&bundle));
                }
            }
            Part::Nodes(nodes) => nodes.into_iter().for_each(|node| self.put_agent(tables, node)),
            Part::Entries(entries) => {
                for row in entries {
                    if let Some(entry) = self.entry(tables, &row, None) {
                        tables.replace_entry(None, Some(&entry));
                    }
                }
            }
        }
    }

    /// Applies rows, and returns which of the connected agents they concern.
    pub(super) fn apply<'a>(
        &mut self,
        tables: &Tables,
        rows: ChangedRows,
        connected: impl Fn() -> MutexGuard<'a, Streams>,
    ) -> HashSet<Arc<str>> {
        let ChangedRows { entries, nodes, bundles } = rows;
        // Streams are held from before a row changes until it has: one that opens meanwhile would see what was, and not be
        // told. But not from row to row, as there may be thousands.
        let mut concerned = HashSet::new();
        // Bundles first: a reader never sees an entry without the bundle that came before it.
        if !bundles.is_empty() {
            let connected = connected();
            for (trust_domain, bundle) in bundles {
                tables.put_bundle(&trust_domain, bundle.as_ref());
            }
            concerned.extend(connected.agents().cloned());
        }
        for (id, node) in nodes {
            let connected = connected();
            concerned.extend(concerned::above(tables, &id, &connected));
            match node {
                Some(node) => self.put_agent(tables, node),
                None => tables.remove_agent(&id),
            }
        }
        for (id, row) in entries {
            let old = tables.entry(&id);
            let new = row.and_then(|row| self.entry(tables, &row, old.as_deref()));
            let connected = connected();
            // Who loses it is found before, who gains it after.
            if let Some(old) = &old {
                concerned.extend(concerned::by(tables, old, &connected));
            }
            tables.replace_entry(old.as_deref(), new.as_ref());
            if let Some(new) = &new {
                concerned.extend(concerned::by(tables, new, &connected));
            }
        }
        concerned
    }

    /// An entry for its old place, or for one behind all others; none of a row that is left out.
    fn entry(&mut self, tables: &Tables, row: &Entry, old: Option<&IndexedEntry>) -> Option<Arc<IndexedEntry>> {
        if !tables.takes(row) {
            let Entry { entry_id, parent_id, spiffe_id, .. } = row;
            warn!(target: "feed", entry_id, parent_id, spiffe_id, "Entry of another trust domain; it is left out");
            return None;
        }
        let Some(whole) = encode::entry(row) else {
            warn!(target: "feed", entry_id = row.entry_id, "Entry cannot be encoded; it is left out");
            return None;
        };
        let place = old.map(|old| old.place).unwrap_or_else(|| {
            self.next_place += 1;
            self.next_place
        });
        let is_alias = row.parent_id == tables.server_id;
        let selectors = row.selectors.iter().filter(|_| is_alias);
        let surroundings = Surroundings {
            parent_id: tables.shared(&row.parent_id),
            spiffe_id: tables.shared(&row.spiffe_id),
            federates_with: whole.federates_with.iter().map(|name| tables.shared_bundle_name(name)).collect(),
            alias_of: selectors.map(|selector| (selector.kind.clone(), selector.value.clone())).collect(),
            place,
            round: self.round,
        };
        Some(Arc::new(IndexedEntry::new(whole, surroundings)))
    }

    fn put_agent(&self, tables: &Tables, node: Node) {
        let id = node.spiffe_id.clone();
        tables.put_agent(&id, AgentState::new(node, self.round));
    }
}
