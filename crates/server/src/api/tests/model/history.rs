//! What was written, so that what is shown can be told from what never was.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use steeple_datastore::Change;
use steeple_proto::spire::api::types;
use tokio::sync::watch;

use super::*;

/// All versions of entries that there may be.
#[derive(Default)]
pub(super) struct History {
    newest: AtomicI32,
    /// Versions that were taken back before they were committed.
    never: Mutex<HashSet<i32>>,
    wrong: Mutex<Vec<String>>,
    changes: watch::Sender<u64>,
    written: AtomicU64,
    shown: AtomicU64,
}

/// Parents of entries: two agents, and what some agents are by their selectors.
const PARENTS: [&str; 4] = [
    "spiffe://example.org/spire/agent/join_token/one",
    "spiffe://example.org/spire/agent/join_token/two",
    "spiffe://example.org/cluster",
    "spiffe://example.org/spire/server",
];

/// The entry of this version: all of it follows from the number.
pub(super) fn version(id: &str, number: i32) -> Entry {
    let parent = PARENTS[number as usize % PARENTS.len()];
    // An alias is what agents with its selectors are.
    let is_alias = parent.ends_with("/server");
    let selectors = if is_alias {
        vec![Selector::new("zone", (number % 3).to_string())]
    } else {
        (0..=number % 4).map(|i| Selector::new("unix", format!("{number}-{i}"))).collect()
    };
    Entry {
        entry_id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org/{}", if is_alias { "cluster".into() } else { format!("w/{number}") }),
        parent_id: parent.to_owned(),
        selectors,
        dns_names: (0..number % 3).map(|i| format!("{i}.v{number}.test")).collect(),
        x509_svid_ttl: number,
        jwt_svid_ttl: number + 1,
        hint: format!("v{number}"),
        ..Entry::default()
    }
}

impl History {
    /// A version that nobody has written yet.
    pub(super) fn next(&self, id: &str) -> Entry {
        version(id, self.newest.fetch_add(1, Ordering::Relaxed))
    }

    /// The version is not to be seen anywhere.
    pub(super) fn never(&self, entry: &Entry) {
        self.never.lock().unwrap().insert(entry.x509_svid_ttl);
    }

    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Something is known otherwise than before.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn check_change(&self, change: &Change) {
        match change {
            Change::Rows(rows) => {
                rows.entries.iter().filter_map(|(_, entry)| entry.as_deref()).for_each(|it| self.check(it))
            }
            Change::Slice(slice) => slice.entries.iter().for_each(|entry| self.check(entry)),
        }
    }

    /// An entry was read.
    pub(super) fn check(&self, shown: &Entry) {
        self.check_with(&shown.entry_id, &shown.hint, |expected| {
            let mut selectors = shown.selectors.clone();
            selectors.sort();
            let expected = Entry {
                // Bundles come and go.
                federates_with: shown.federates_with.clone(),
                revision_number: shown.revision_number,
                created_at: shown.created_at,
                ..expected
            };
            (Entry { selectors, ..shown.clone() } == expected).then_some(()).ok_or_else(|| format!("{shown:?}"))
        });
    }

    /// An agent got an entry.
    pub(super) fn check_sent(&self, shown: &types::Entry) {
        self.check_with(&shown.id, &shown.hint, |expected| {
            let mut sent = shown.clone();
            sent.selectors.sort_by(|a, b| a.value.cmp(&b.value));
            let expected = crate::entries::api_entry(&expected).unwrap();
            let is_right = sent.spiffe_id == expected.spiffe_id && sent.selectors == expected.selectors;
            is_right.then_some(()).ok_or_else(|| format!("{shown:?}"))
        });
    }

    fn check_with(&self, id: &str, hint: &str, is_right: impl FnOnce(Entry) -> Result<(), String>) {
        self.shown.fetch_add(1, Ordering::Relaxed);
        let number = hint.strip_prefix('v').and_then(|number| number.parse().ok());
        match number.filter(|number| *number < self.newest.load(Ordering::Relaxed)) {
            None => self.wrong(format!("{id} has no version: {hint:?}")),
            Some(number) if self.never.lock().unwrap().contains(&number) => {
                self.wrong(format!("{id} was shown in version {number}, which was never committed"));
            }
            Some(number) => {
                if let Err(shown) = is_right(version(id, number)) {
                    self.wrong(format!("{id} is torn in version {number}: {shown}"));
                }
            }
        }
    }

    pub(super) fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
        self.changed();
    }

    pub(super) fn assert_right(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} wrong, the first: {}", wrong.len(), wrong[0]);
    }

    pub(super) fn counts(&self) -> String {
        let [written, shown] = [&self.written, &self.shown].map(|count| count.load(Ordering::Relaxed));
        format!("{written} writes, {shown} entries shown")
    }
}
