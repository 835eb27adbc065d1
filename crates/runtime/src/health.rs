//! Whether a daemon can do its work: what was found by the last look at each of its checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::{Clock, jitter};

/// The pause between two looks while something fails, or before everything has been well once.
const SOON: Duration = Duration::from_secs(1);
/// And while all is well. The reference takes a minute.
const LATER: Duration = Duration::from_secs(5);

/// One thing that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What answers and the log call it.
    pub name: &'static str,
    /// What answers call the reason why it fails.
    pub field: &'static str,
}

/// Why a check fails, in either of two ways; None where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Starting the daemon again may help.
    pub dead: Option<String>,
    /// The daemon should be asked for nothing now.
    pub unready: Option<String>,
    /// What whoever asks whether it is ready should know, though it is.
    pub remark: Option<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the daemon should go on running.
    Live,
    /// Whether it can do all that it is for.
    Ready,
}

/// What the checks of a daemon found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    checks: Mutex<BTreeMap<&'static str, Last>>,
}

/// The last look at a check.
#[derive(Debug)]
struct Last {
    field: &'static str,
    /// None before the first look.
    found: Option<Found>,
    failing: Option<Failing>,
}

/// A failure that goes on.
#[derive(Clone, Debug)]
struct Failing {
    since: SystemTime,
    looks: u32,
    error: &'static str,
}

impl Found {
    /// All is well.
    pub fn well() -> Self {
        Self::default()
    }

    /// It cannot do all that it is for, and starting it again would not help.
    pub fn unready(reason: impl ToString) -> Self {
        Self { unready: Some(reason.to_string()), ..Self::default() }
    }

    /// All that it is for goes on, and something waits for the operator.
    pub fn remark(reason: impl ToString) -> Self {
        Self { remark: Some(reason.to_string()), ..Self::default() }
    }

    /// It cannot go on.
    pub fn dead(reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self { dead: Some(reason.clone()), unready: Some(reason), remark: None }
    }

    fn answer(&self, question: Question) -> Option<&String> {
        match question {
            Question::Live => self.dead.as_ref(),
            Question::Ready => self.unready.as_ref(),
        }
    }

    /// In the reference's words; None where all is well.
    fn error(&self) -> Option<&'static str> {
        match (&self.dead, &self.unready) {
            (None, None) => None,
            (None, Some(_)) => Some("subsystem is not ready"),
            (Some(_), None) => Some("subsystem is not live"),
            (Some(_), Some(_)) => Some("subsystem is not live or ready"),
        }
    }
}

impl Health {
    /// Of a daemon with these checks, none of which has been looked at.
    pub fn new(checks: &[Check], clock: Clock) -> Self {
        let last = |&Check { name, field }| (name, Last { field, found: None, failing: None });
        Self(Arc::new(Inner { clock, checks: Mutex::new(checks.iter().map(last).collect()) }))
    }

    /// What a look at a check found. The log tells when that changes.
    pub fn report(&self, check: Check, found: Found) {
        let now = self.0.clock.now();
        let mut checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let last = checks.entry(check.name).or_insert(Last { field: check.field, found: None, failing: None });
        let before = last.failing.take();
        if let Some(error) = found.error() {
            let Failing { since, looks, .. } = before.clone().unwrap_or(Failing { since: now, looks: 0, error });
            last.failing = Some(Failing { since, looks: looks + 1, error });
        }
        match (before, &last.failing) {
            (None, Some(Failing { error, .. })) => {
                let details = found.unready.as_ref().or(found.dead.as_ref());
                error!(target: "health", check = check.name, error, "Health check has failed");
                warn!(target: "health", check = check.name, details, error, "Health check failed");
            }
            (Some(Failing { since, looks, error }), None) => {
                let duration = now.duration_since(since).unwrap_or_default().as_secs_f64();
                info!(target: "health", check = check.name, duration, error, failures = looks, "Health check recovered");
            }
            _ => {}
        }
        last.found = Some(found);
    }

    /// Whether the answer is yes, and as JSON what each check found; null before its first look.
    pub fn answer(&self, question: Question) -> (bool, Value) {
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_yes = true;
        let told = checks.iter().map(|(name, Last { field, found, .. })| {
            let Some(found) = found else { return ((*name).to_owned(), Value::Null) };
            let reason = found.answer(question);
            is_yes &= reason.is_none();
            let reason = reason.or(found.remark.as_ref().filter(|_| question == Question::Ready));
            ((*name).to_owned(), reason.map_or_else(|| json!({}), |reason| json!({ *field: reason })))
        });
        let told = Value::Object(told.collect());
        // Nobody knows before each has been looked at.
        is_yes &= question == Question::Live || checks.values().all(|last| last.found.is_some());
        (is_yes, told)
    }

    /// Waits until it is time to look again: soon, until all is well.
    pub async fn next_look(&self) {
        let (is_ready, _) = self.answer(Question::Ready);
        self.0.clock.sleep_or_jump(jitter(if is_ready { LATER } else { SOON })).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Check = Check { name: "store", field: "store_err" };
    const SIGNER: Check = Check { name: "signer", field: "sign_err" };

    fn answers(health: &Health) -> [(bool, String); 2] {
        [Question::Live, Question::Ready].map(|question| {
            let (is_yes, told) = health.answer(question);
            (is_yes, told.to_string())
        })
    }

    fn both(is_yes: bool, told: &str) -> [(bool, String); 2] {
        [(is_yes, told.to_owned()), (is_yes, told.to_owned())]
    }

    #[test]
    fn who_has_not_been_looked_at_is_alive_and_not_ready() {
        let health = Health::new(&[STORE, SIGNER], Clock::system());
        let nothing = r#"{"signer":null,"store":null}"#.to_owned();
        assert_eq!(answers(&health), [(true, nothing.clone()), (false, nothing)]);
        health.report(STORE, Found::well());
        health.report(SIGNER, Found::well());
        assert_eq!(answers(&health), both(true, r#"{"signer":{},"store":{}}"#));
    }

    #[test]
    fn a_failure_is_told_with_its_reason_until_it_is_over() {
        let health = Health::new(&[STORE, SIGNER], Clock::system());
        health.report(SIGNER, Found::well());
        health.report(STORE, Found::unready("gone"));
        let told = r#"{"signer":{},"store":{"store_err":"gone"}}"#.to_owned();
        assert_eq!(answers(&health), [(true, r#"{"signer":{},"store":{}}"#.to_owned()), (false, told)]);
        health.report(STORE, Found::dead("gone"));
        assert_eq!(answers(&health), both(false, r#"{"signer":{},"store":{"store_err":"gone"}}"#));
        health.report(STORE, Found::well());
        assert_eq!(answers(&health), both(true, r#"{"signer":{},"store":{}}"#));
    }

    #[test]
    fn a_remark_is_told_to_who_asks_for_readiness_and_changes_no_answer() {
        let health = Health::new(&[STORE], Clock::system());
        health.report(STORE, Found::remark("old"));
        let told = r#"{"store":{"store_err":"old"}}"#.to_owned();
        assert_eq!(answers(&health), [(true, r#"{"store":{}}"#.to_owned()), (true, told)]);
    }
}
