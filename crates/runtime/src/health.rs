//! Whether a daemon can do its work: each part reports under its own name, and whoever is asked reads the sum.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The reports of all parts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

impl Health {
    /// Nothing reported yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `part` works.
    pub fn up(&self, part: &'static str) {
        self.report(part, None);
    }

    /// `part` does not work, for the reason given.
    pub fn down(&self, part: &'static str, reason: impl ToString) {
        self.report(part, Some(reason.to_string()));
    }

    /// The parts that do not work, each with its reason.
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(|(part, reason)| reason.clone().map(|reason| (*part, reason))).collect()
    }

    fn report(&self, part: &'static str, reason: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, reason);
    }
}
