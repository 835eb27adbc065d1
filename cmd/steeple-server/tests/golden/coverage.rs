//! Which records are compared, and what ours answers where it is something else.

use std::collections::BTreeMap;

use steeple_testkit::commands::{self, Coverage, Difference, Record};

use crate::daemon;

/// What is expected of each record.
pub(crate) struct Expected {
    /// By the names of their records.
    differences: BTreeMap<String, Difference>,
    /// Names of records that have lines of what is not built yet.
    lacking: Vec<String>,
}

impl Expected {
    /// Of the records as they were made. Each name among the differences is that of one.
    pub(crate) fn of(records: &[Record]) -> Self {
        let differences: BTreeMap<String, Difference> =
            serde_json::from_str(include_str!("../data/cli-differences.json")).unwrap();
        commands::check_names(records, &differences.keys().map(String::as_str).collect::<Vec<_>>());
        let lacking = records.iter().filter(|record| daemon::has_federation(record));
        Self { differences, lacking: lacking.map(|record| record.name.clone()).collect() }
    }

    /// What is expected of this record.
    pub(crate) fn coverage(&self, record: &Record) -> Coverage {
        match self.differences.get(&record.name) {
            Some(difference) if difference.unbuilt => Coverage::Unbuilt(difference.clone()),
            Some(difference) => Coverage::Different(difference.clone()),
            None if self.lacking.contains(&record.name) => {
                Coverage::Lacks("lines of federation's client of bundle endpoints")
            }
            None => Coverage::Equal,
        }
    }
}
