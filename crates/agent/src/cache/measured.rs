//! What the cache measures, under the names of the reference's. Its gauges of a sync (`sync_entries_*`) tell what the last
//! one brought; here that is what the readers were shown last.

use std::time::{Instant, SystemTime};

use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::{called, count_many, gauge, sample};

/// What happened to entries since the readers were last shown something.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: u64,
    pub(super) updated: u64,
    pub(super) removed: u64,
}

/// How much there is.
pub(super) struct Sizes {
    pub(super) entries: usize,
    pub(super) svids: usize,
    pub(super) bundles: usize,
    /// When the first SVID ends.
    pub(super) first_end: Option<SystemTime>,
}

impl Changes {
    /// Tells, and begins anew.
    pub(super) fn tell(&mut self, sizes: &Sizes) {
        let Self { added, updated, removed } = std::mem::take(self);
        let Sizes { entries, svids, bundles, first_end } = sizes;
        count_many("lru_cache_entry_add", added);
        count_many("lru_cache_entry_update", updated);
        count_many("lru_cache_entry_remove", removed);
        gauge("lru_cache_record_map_size", *entries as f64);
        gauge("lru_cache_svid_map_size", *svids as f64);
        gauge("sync_bundles_total", *bundles as f64);
        gauge("sync_entries_total", *entries as f64);
        gauge("sync_entries_missing", added as f64);
        gauge("sync_entries_stale", updated as f64);
        gauge("sync_entries_dropped", removed as f64);
        gauge("steeple.workload_svid.soonest_expiration", first_end.map_or(0, unix_seconds) as f64);
    }
}

/// SVIDs that are to be made anew: those whose time has come, and those whose entry has changed.
pub(super) fn due(expiring: usize, outdated: usize) {
    for (key, svids) in [("cache_manager.expiring_svids", expiring), ("cache_manager.outdated_svids", outdated)] {
        if svids > 0 {
            sample(key, svids as f64);
        }
    }
}

/// SVIDs below authorities that have been tainted.
pub(super) fn tainted(svids: usize, began: Instant) {
    called("cache_manager.workload.process_tainted_x509_svids", "OK", began);
    sample("cache_manager.tainted_x509_svids.workload", svids as f64);
}
