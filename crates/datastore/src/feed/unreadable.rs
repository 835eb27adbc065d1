//! Rows that cannot be decoded. They are left out of what is handed out, so that what was known of them stays, and told once:
//! who asked again for one of them in each look would keep all other changes back, and with them every host.

use std::collections::HashMap;
use std::sync::Arc;

use super::Slice;
use crate::{Entry, Error};

/// Those that were so when they were read last.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// By entry id.
    entries: HashMap<String, Row>,
    /// By trust domain.
    bundles: HashMap<String, String>,
}

#[derive(Debug)]
struct Row {
    reason: String,
    /// Whether the comparison under way, or the last one, came by.
    is_seen: bool,
}

/// So many rows of each table are told of and remembered. Where there are more, the table is lost, which the first ones tell.
const MOST: usize = 1_000;

impl Unreadable {
    /// Takes over what one look has read: the entries that it could not read, those that it could, and a slice likewise.
    pub(super) fn are_entries(
        &mut self,
        unreadable: Vec<(String, Error)>,
        rows: &[(String, Option<Arc<Entry>>)],
        (in_slice, slice): (Vec<(String, Error)>, Option<&Slice>),
    ) {
        if !self.entries.is_empty() {
            let in_slice = slice.iter().flat_map(|slice| &slice.entries).map(|entry| entry.entry_id.as_str());
            for name in rows.iter().map(|(name, _)| name.as_str()).chain(in_slice) {
                self.entries.remove(name);
            }
        }
        if slice.is_some_and(|slice| slice.is_first) {
            self.entries.values_mut().for_each(|row| row.is_seen = false);
        }
        for (name, error) in unreadable.into_iter().chain(in_slice) {
            let reason = error.to_string();
            let is_full = self.entries.len() >= MOST;
            match self.entries.get_mut(&name) {
                Some(row) if row.reason == reason => {
                    row.is_seen = true;
                    continue;
                }
                None if is_full => continue,
                _ => {}
            }
            tell("registered_entries", &name, &reason);
            self.entries.insert(name, Row { reason, is_seen: true });
        }
        if slice.is_some_and(|slice| slice.is_last) {
            // Nobody knows of one that went before it could be read.
            self.entries.retain(|_, row| row.is_seen);
        }
    }

    /// Takes over what a look at all bundles could not read.
    pub(super) fn are_bundles(&mut self, unreadable: Vec<(String, Error)>) {
        let reasons = unreadable.into_iter().take(MOST).map(|(name, error)| (name, error.to_string()));
        let before = std::mem::replace(&mut self.bundles, reasons.collect());
        for (name, reason) in self.bundles.iter().filter(|(name, reason)| before.get(*name) != Some(reason)) {
            tell("bundles", name, reason);
        }
    }
}

fn tell(table: &str, name: &str, reason: &str) {
    tracing::error!(
        target: "feed", table, id = name, error = reason,
        "A row of the database cannot be read; what was known of it stays"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(names: &[&str]) -> Vec<(String, Error)> {
        names.iter().map(|name| ((*name).to_owned(), Error::Corrupt(format!("bad {name}")))).collect()
    }

    fn slice(is_first: bool, is_last: bool) -> Slice {
        Slice { nodes: Vec::new(), entries: Vec::new(), is_first, is_last }
    }

    #[test]
    fn what_is_gone_is_forgotten_at_the_end_of_a_comparison_that_did_not_come_by() {
        let mut known = Unreadable::default();
        known.are_entries(unreadable(&["a", "b", "c"]), &[], (Vec::new(), None));
        known.are_entries(Vec::new(), &[("a".to_owned(), None)], (Vec::new(), None));
        known.are_entries(Vec::new(), &[], (Vec::new(), Some(&slice(true, false))));
        assert_eq!(known.entries.len(), 2, "a is known to be gone");
        known.are_entries(Vec::new(), &[], (unreadable(&["c"]), Some(&slice(false, true))));
        assert_eq!(known.entries.keys().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut known = Unreadable::default();
        let names: Vec<_> = (0..=MOST).map(|i| i.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        known.are_entries(unreadable(&names), &[], (Vec::new(), None));
        known.are_bundles(unreadable(&names));
        assert_eq!((known.entries.len(), known.bundles.len()), (MOST, MOST));
    }
}
