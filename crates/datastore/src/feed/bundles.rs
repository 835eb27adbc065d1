//! What a feed remembers to notice changes that have no event: those of bundles.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use steeple_proto::spire::common::Bundle;

use crate::{Entry, Error};

/// A row of the bundles' table.
pub(super) struct BundleRow {
    pub(super) id: i64,
    pub(super) trust_domain: String,
    pub(super) data: Vec<u8>,
    /// Or why it cannot be decoded.
    pub(super) bundle: Result<Bundle, Error>,
}

/// The bundles that have been handed out.
#[derive(Default)]
pub(super) struct Bundles {
    /// By trust domain.
    bundles: HashMap<String, Fingerprint>,
    /// The trust domains that each entry federates with; entries without any are left out. The reference deletes a bundle
    /// without telling which entries lose it.
    federated: HashMap<String, Vec<String>>,
    /// Keyed anew in each feed, so that nobody can make two bundles look the same.
    hasher: RandomState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    /// Entries refer to it: a bundle that was deleted and created again has lost them.
    id: i64,
    data: u64,
}

type Changed = Vec<(String, Option<Bundle>)>;

impl Bundles {
    pub(super) fn new(bundles: &[BundleRow]) -> Self {
        let mut known = Self::default();
        known.remember(bundles);
        known
    }

    /// The bundles that differ from what is known, and the entries that federated with one that is gone.
    pub(super) fn compare(&self, rows: &[BundleRow]) -> (Changed, Vec<String>) {
        let now: HashMap<&str, Fingerprint> =
            rows.iter().map(|row| (row.trust_domain.as_str(), self.fingerprint(row))).collect();
        let mut changed: Changed = rows
            .iter()
            .filter(|row| self.bundles.get(&row.trust_domain) != now.get(row.trust_domain.as_str()))
            // What was known of one that cannot be decoded stays.
            .filter_map(|row| Some((row.trust_domain.clone(), Some(row.bundle.as_ref().ok()?.clone()))))
            .collect();
        changed.extend(
            self.bundles.keys().filter(|known| !now.contains_key(known.as_str())).map(|gone| (gone.clone(), None)),
        );

        // Also with one that has come and gone since the last look at bundles: entries are read in between.
        let lost = |trust_domain: &String| {
            let known = self.bundles.get(trust_domain).map(|known| known.id);
            now.get(trust_domain.as_str()).is_none_or(|now| Some(now.id) != known)
        };
        let unfederated =
            self.federated.iter().filter(|(_, with)| with.iter().any(lost)).map(|(entry_id, _)| entry_id.clone());
        (changed, unfederated.collect())
    }

    pub(super) fn remember(&mut self, rows: &[BundleRow]) {
        self.bundles = rows.iter().map(|row| (row.trust_domain.clone(), self.fingerprint(row))).collect();
    }

    pub(super) fn remember_entry(&mut self, entry_id: &str, entry: Option<&Entry>) {
        match entry.filter(|entry| !entry.federates_with.is_empty()) {
            Some(entry) => self.federated.insert(entry_id.to_owned(), entry.federates_with.clone()),
            None => self.federated.remove(entry_id),
        };
    }

    fn fingerprint(&self, row: &BundleRow) -> Fingerprint {
        Fingerprint { id: row.id, data: self.hasher.hash_one(&row.data) }
    }
}
