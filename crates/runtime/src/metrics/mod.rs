//! What daemons measure of themselves, under the reference's names. Every call to a CA, a datastore, a plugin or an RPC
//! passes [`measure`] (or [`measure_success`]): a counter and a timer. Where the file asks for no sink ([`Telemetry`]), nothing
//! is kept; where it does, a measurement of a series that is known allocates nothing, unless it has a label of its own.

mod in_memory;
mod m3;
mod naming;
mod process;
mod prometheus;
pub mod pushed;
mod receiver;
mod recorder;
mod statsd;
mod telemetry;

use std::future::Future;
use std::time::Instant;

use metrics::{Key, Label, Level, Metadata, with_recorder};

use crate::trace::within;
pub use telemetry::{Measured, Scraped, Telemetry, TelemetryError};

/// The facade wants to know where a measurement comes from, and nobody here asks it.
static HERE: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// An error that knows the gRPC name of its code (`NotFound`), which is the value of the label `status`.
pub trait Coded {
    /// The gRPC code's name.
    fn code(&self) -> &'static str;
}

/// Runs `call` and counts it under `key`, a dotted name such as `datastore.bundle.fetch`: counter `key` and timer
/// `key.elapsed_time` in milliseconds, both with the label `status`. In a [trace](crate::trace) it is a span of that name.
pub async fn measure<T, E: Coded>(key: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = Instant::now();
    let result = within(key, call, Coded::code).await;
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
    let result = within(key, call, Coded::code).await;
    let status = result.as_ref().err().map_or("OK", Coded::code);
    let labels = vec![Label::new(label, value.to_owned()), Label::new("status", status)];
    counted(&Key::from_parts(key, labels.clone()), &Key::from_parts(elapsed_time_of(key), labels), started);
    result
}

/// As [`measure`], for calls that the reference only counts, without labels, and only when they succeed.
pub async fn measure_success<T, E>(key: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let result = within(key, call, |_| "Unknown").await;
    if result.is_ok() {
        count(key);
    }
    result
}

/// Counts one call that has ended with `status`, a gRPC code's name.
pub fn called(key: &'static str, status: &'static str, started: Instant) {
    let timer = elapsed_time_of(key);
    let (key, timer) = match STATUSES.iter().find(|[label]| label.value() == status) {
        Some(labels) => (Key::from_static_parts(key, labels), Key::from_static_parts(timer, labels)),
        None => {
            let labels = || vec![Label::new("status", status)];
            (Key::from_parts(key, labels()), Key::from_parts(timer, labels()))
        }
    };
    counted(&key, &timer, started);
}

fn counted(key: &Key, timer: &Key, started: Instant) {
    with_recorder(|recorder| {
        recorder.register_counter(key, &HERE).increment(1);
        recorder.register_histogram(timer, &HERE).record(started.elapsed().as_secs_f64() * 1000.0);
    });
}

/// Adds one to a counter.
pub fn count(key: &'static str) {
    count_many(key, 1);
}

/// Adds to a counter; nothing makes it known too.
pub fn count_many(key: &'static str, times: u64) {
    with_recorder(|recorder| recorder.register_counter(&Key::from_static_name(key), &HERE).increment(times));
}

/// Adds one to a counter with a label.
pub fn count_of(key: &'static str, label: &'static str, value: &'static str) {
    let key = Key::from_parts(key, vec![Label::new(label, value)]);
    with_recorder(|recorder| recorder.register_counter(&key, &HERE).increment(1));
}

/// Sets a gauge.
pub fn gauge(key: &'static str, value: f64) {
    with_recorder(|recorder| recorder.register_gauge(&Key::from_static_name(key), &HERE).set(value));
}

/// Sets a gauge with labels.
pub fn gauge_of(key: &'static str, labels: &[(&'static str, &str)], value: f64) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    with_recorder(|recorder| recorder.register_gauge(&Key::from_parts(key, labels), &HERE).set(value));
}

/// One more or one less of what a gauge counts, such as connections.
pub fn move_gauge(key: &'static str, by: f64) {
    with_recorder(|recorder| recorder.register_gauge(&Key::from_static_name(key), &HERE).increment(by));
}

/// Takes a sample.
pub fn sample(key: &'static str, value: f64) {
    with_recorder(|recorder| recorder.register_histogram(&Key::from_static_name(key), &HERE).record(value));
}

/// The label of each gRPC code, ready for use; success first.
static STATUSES: [[Label; 1]; 17] = [
    status("OK"),
    status("Canceled"),
    status("Unknown"),
    status("InvalidArgument"),
    status("DeadlineExceeded"),
    status("NotFound"),
    status("AlreadyExists"),
    status("PermissionDenied"),
    status("ResourceExhausted"),
    status("FailedPrecondition"),
    status("Aborted"),
    status("OutOfRange"),
    status("Unimplemented"),
    status("Internal"),
    status("Unavailable"),
    status("DataLoss"),
    status("Unauthenticated"),
];

const fn status(name: &'static str) -> [Label; 1] {
    [Label::from_static_parts("status", name)]
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
