//! Every call to a CA, a datastore, a plugin or an RPC passes [`measure`] (or [`measure_success`]): a counter and a timer
//! under the reference's name. Which sinks read them is decided elsewhere; without one a measurement costs a few nanoseconds.

use std::future::Future;
use std::time::Instant;

use metrics::Label;

/// An error that knows the gRPC name of its code (`NotFound`), which is the value of the label `status`.
pub trait Coded {
    /// The gRPC code's name.
    fn code(&self) -> &'static str;
}

/// Runs `call` and counts it under `key`, a dotted name such as `datastore.bundle.fetch`: counter `key` and timer
/// `key.elapsed_time` in milliseconds, both with the label `status`.
pub async fn measure<T, E: Coded>(key: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = Instant::now();
    let result = call.await;
    let status = result.as_ref().err().map_or("OK", Coded::code);
    called(key, status, started);
    result
}

/// As [`measure`], with one more label.
pub async fn measure_of<T, E: Coded>(
    key: &'static str,
    (label, value): (&'static str, &str),
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let started = Instant::now();
    let result = call.await;
    let status = result.as_ref().err().map_or("OK", Coded::code);
    counted(key, vec![Label::new("status", status), Label::new(label, value.to_owned())], started);
    result
}

/// As [`measure`], for calls that the reference only counts, without labels, and only when they succeed.
pub async fn measure_success<T, E>(key: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let result = call.await;
    if result.is_ok() {
        count(key);
    }
    result
}

/// Counts one call that has ended with `status`, a gRPC code's name.
pub fn called(key: &'static str, status: &'static str, started: Instant) {
    counted(key, vec![Label::new("status", status)], started);
}

fn counted(key: &'static str, labels: Vec<Label>, started: Instant) {
    metrics::counter!(key, labels.clone()).increment(1);
    metrics::histogram!(elapsed_time_of(key), labels).record(started.elapsed().as_secs_f64() * 1000.0);
}

/// Adds one to a counter.
pub fn count(key: &'static str) {
    metrics::counter!(key).increment(1);
}

/// Adds one to a counter with a label.
pub fn count_of(key: &'static str, label: &'static str, value: &'static str) {
    metrics::counter!(key, label => value).increment(1);
}

/// Sets a gauge.
pub fn gauge(key: &'static str, value: f64) {
    metrics::gauge!(key).set(value);
}

/// Names are few and fixed, so that each timer's name is made once and kept.
fn elapsed_time_of(key: &'static str) -> &'static str {
    use std::collections::HashMap;
    use std::sync::{OnceLock, PoisonError, RwLock};
    static NAMES: OnceLock<RwLock<HashMap<&'static str, &'static str>>> = OnceLock::new();
    let names = NAMES.get_or_init(RwLock::default);
    if let Some(name) = names.read().unwrap_or_else(PoisonError::into_inner).get(key) {
        return name;
    }
    let mut names = names.write().unwrap_or_else(PoisonError::into_inner);
    names.entry(key).or_insert_with(|| Box::leak(format!("{key}.elapsed_time").into_boxed_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timers_name_is_made_once() {
        let first = elapsed_time_of("rpc.entry.v1.entry.get_entry");
        assert_eq!(first, "rpc.entry.v1.entry.get_entry.elapsed_time");
        assert!(std::ptr::eq(first, elapsed_time_of("rpc.entry.v1.entry.get_entry")));
    }
}
