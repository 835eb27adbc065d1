use std::time::Duration;

use anyhow::{Error, Result};
use steeple_testkit::report;

/// [`report::cannot_run_here`]
///
/// # Errors
/// Under `CI=true` everything must run.
pub fn cannot_run_here(name: &str, reason: &str) -> Result<()> {
    report::cannot_run_here(name, reason).map_err(Error::msg)
}

/// What a bench has to say of the times that something took.
pub fn figures(what: &str, mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    // The smallest time that so many percent of the tries do not exceed.
    let percentile = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let (p50, p99, max) = (percentile(50), percentile(99), percentile(100));
    format!("bench: {what}: {} tries, p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms", times.len())
}
