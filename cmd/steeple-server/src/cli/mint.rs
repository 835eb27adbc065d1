//! What `x509 mint` and `jwt mint` have in common: how long an SVID is asked for and lives, and
//! where it is written.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use anyhow::anyhow;
use jiff::Timestamp;
use steeple_config::duration::Duration;
use steeple_runtime::Clock;
use steeple_runtime::clock::from_unix_seconds;
use steeple_runtime::os::reason;

use super::console;

const SECOND: i64 = 1_000_000_000;

/// `-ttl` in whole seconds, rounded up. What is not above zero is left to the server.
///
/// # Errors
/// The wire has 32 bits for it. The text is the reference's, which takes the number of seconds for a number of nanoseconds.
pub(super) fn seconds(ttl: Duration) -> anyhow::Result<i32> {
    let nanos = ttl.as_nanos();
    let seconds = nanos / SECOND + i64::from(nanos % SECOND > 0);
    let overflow = || Duration::from_nanos(seconds);
    i32::try_from(seconds)
        .map_err(|_| anyhow!("invalid value for TTL: overflow converting time.Duration({}) to int32", overflow()))
}

/// Warns when an SVID ends sooner than was asked for. As in the reference, it does so nearly always when whole seconds were
/// asked for, because the moment of its end is a whole second and so lies a fraction too early.
pub(super) fn warn_if_cut(what: &str, ttl: Duration, expires_at: i64) {
    if is_cut(ttl, expires_at, Clock::system().now()) {
        let expires_at = Timestamp::from_second(expires_at).unwrap_or_default();
        console::err(&format!("{what} lifetime was capped shorter than specified ttl; expires \"{expires_at}\"\n"));
    }
}

/// Tells where something was written, or why not.
///
/// # Errors
/// It was not.
pub(super) fn told(name: &str, what: &str, path: &Path, written: io::Result<()>) -> anyhow::Result<()> {
    let path = path.display();
    written.map_err(|error| anyhow!("unable to write {what}: open {path}: {}", reason(&error)))?;
    console::out(&format!("{name} written to {path}\n"));
    Ok(())
}

fn is_cut(ttl: Duration, expires_at: i64, now: SystemTime) -> bool {
    match ttl.to_std() {
        Some(ttl) if !ttl.is_zero() => now.checked_add(ttl).is_none_or(|asked| from_unix_seconds(expires_at) < asked),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_is_asked_for_as_a_whole_one() {
        for (nanos, expected) in [(0, 0), (1, 1), (SECOND, 1), (SECOND + 1, 2), (-1, 0), (-5 * SECOND, -5)] {
            assert_eq!(seconds(Duration::from_nanos(nanos)).unwrap(), expected, "{nanos}");
        }
        let error = seconds(Duration::from_secs(3_599_996_400)).unwrap_err();
        assert_eq!(error.to_string(), "invalid value for TTL: overflow converting time.Duration(3.5999964s) to int32");
    }

    #[test]
    fn an_svid_is_cut_when_it_ends_before_what_was_asked_for() {
        let now = from_unix_seconds(100) + std::time::Duration::from_millis(300);
        let half = Duration::from_nanos(3 * SECOND / 2);
        assert!(is_cut(Duration::from_secs(2), 102, now));
        assert!(!is_cut(half, 102, now));
        assert!(is_cut(half, 101, now));
        assert!(!is_cut(Duration::ZERO, 50, now) && !is_cut(Duration::from_secs(-5), 50, now));
    }
}
