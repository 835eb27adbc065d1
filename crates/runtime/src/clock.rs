//! One clock value, passed down: expiry, timers and TLS all read it, so that a test can advance the whole system.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;

/// A clock that can also wake its holder. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

/// Where a [`Clock`] takes its time from: the system, or a test that advances it step by step.
pub trait Source: Send + Sync {
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// Completes after `length` of this source's time.
    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()>;
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// A clock that reads `source`.
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self(source)
    }

    /// The present moment.
    pub fn now(&self) -> SystemTime {
        self.0.now()
    }

    /// Whole seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        unix_seconds(self.now())
    }

    /// Sleeps for `length`, whatever the wall clock does meanwhile.
    pub async fn sleep(&self, length: Duration) {
        self.0.sleep(length).await;
    }

    /// Sleeps until the wall clock shows `when`. A clock that was set forward or back is noticed within a minute.
    pub async fn sleep_until(&self, when: SystemTime) {
        const LOOK_AGAIN: Duration = Duration::from_secs(60);
        while let Ok(left) = when.duration_since(self.now()) {
            if left.is_zero() {
                return;
            }
            self.sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    /// The result of `work`, or None when it takes longer than `limit`.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep(limit) => None,
        }
    }
}

/// Whole seconds since 1970, negative before it.
pub fn unix_seconds(at: SystemTime) -> i64 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -seconds - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// The moment that lies `seconds` after the start of 1970.
pub fn from_unix_seconds(seconds: i64) -> SystemTime {
    let length = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    if seconds >= 0 { epoch.checked_add(length) } else { epoch.checked_sub(length) }.unwrap_or(epoch)
}

impl steeple_spiffe::Clock for Clock {
    fn now(&self) -> SystemTime {
        Clock::now(self)
    }
}

impl steeple_spiffe::Timer for Clock {
    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(length)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

struct System;

impl Source for System {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_cut_towards_the_past_on_both_sides_of_1970() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(unix_seconds(epoch + Duration::from_millis(1500)), 1);
        assert_eq!(unix_seconds(epoch - Duration::from_millis(1500)), -2);
        assert_eq!(from_unix_seconds(-2), epoch - Duration::from_secs(2));
    }
}
