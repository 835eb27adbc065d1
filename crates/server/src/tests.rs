//! What the tests of several modules need.

use std::time::{Duration, SystemTime};

use steeple_datastore::{DataStore, Options};
use steeple_testkit::ManualClock;
use tempfile::TempDir;

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = HOUR.saturating_mul(24);

/// A clock that stands still somewhere in 2020.
pub(crate) fn manual() -> ManualClock {
    ManualClock::new(SystemTime::UNIX_EPOCH + DAY * 365 * 50)
}

/// A datastore of its own, and the directory that it is in.
pub(crate) async fn store(manual: &ManualClock) -> (DataStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::sqlite(dir.path().join("datastore.sqlite3"));
    (DataStore::open(options, manual.clock()).await.unwrap(), dir)
}
