//! One clock value, passed down: expiry, timers and TLS all read it, so that a test can advance the whole system.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use tokio::sync::watch;

/// How often the system's clock is looked at, whether it went on as time did.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A wall clock that is this far from where it should be was set, or the machine slept. What keeps clocks right by
/// speeding them up or slowing them down stays far below it.
const JUMP: Duration = Duration::from_millis(500);

/// A clock that can also wake its holder. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

/// Where a [`Clock`] takes its time from: the system, or a test that advances it step by step.
pub trait Source: Send + Sync {
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// Completes after `length` of this source's time, which a machine that sleeps does not count.
    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()>;
    /// Changes whenever the wall clock did not go on as time did: somebody set it, or the machine slept.
    fn jumps(&self) -> watch::Receiver<()>;
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Self(Arc::new(System::default()))
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

    /// Sleeps for `length`, or until the wall clock jumps: for those who look every now and then whether it is time.
    pub async fn sleep_or_jump(&self, length: Duration) {
        let mut jumps = self.jumps();
        tokio::select! {
            () = self.sleep(length) => {}
            // The clock has the sender.
            Ok(()) = jumps.changed() => {}
        }
    }

    /// Sleeps until the wall clock shows `when`. A clock that was set forward or back, or a machine that slept, is noticed
    /// within a second or two.
    pub async fn sleep_until(&self, when: SystemTime) {
        // Before the first look at the clock, so that no jump falls between the two.
        let mut jumps = self.jumps();
        while let Ok(left) = when.duration_since(self.now()) {
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.sleep(left) => {}
                Ok(()) = jumps.changed() => {}
            }
        }
    }

    /// Changes whenever the wall clock was set or the machine slept: what hung on the moment, or on a connection, is not to
    /// be relied upon any more.
    pub fn jumps(&self) -> watch::Receiver<()> {
        self.0.jumps()
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

/// For people and the log: RFC 3339 in UTC, with as much of a fraction as there is.
pub fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap_or_default().to_string()
}

/// For names of files: `2026-11-30_222500`, in the zone of this host, to which the reference keeps as well.
pub fn stamp(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
    at.strftime("%Y-%m-%d_%H%M%S").to_string()
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

/// The system's clock. One task looks for jumps on behalf of all who wait for a moment; it begins with the first of them.
#[derive(Default)]
struct System {
    jumps: OnceLock<Arc<watch::Sender<()>>>,
}

impl Source for System {
    fn now(&self) -> SystemTime {
        shown()
    }

    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(length))
    }

    fn jumps(&self) -> watch::Receiver<()> {
        let jumps = self.jumps.get_or_init(|| {
            let jumps = Arc::new(watch::Sender::new(()));
            tokio::spawn(look_for_jumps(Arc::downgrade(&jumps)));
            jumps
        });
        jumps.subscribe()
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
fn shown() -> SystemTime {
    SystemTime::now()
}

/// Until the clock is gone.
async fn look_for_jumps(jumps: Weak<watch::Sender<()>>) {
    let mut last = (shown(), Instant::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(jumps) = jumps.upgrade() else { return };
        let now = (shown(), Instant::now());
        if is_jump(last.0 + now.1.saturating_duration_since(last.1), now.0) {
            jumps.send_replace(());
        }
        last = now;
    }
}

/// Whether a clock that should show `expected` shows something else.
fn is_jump(expected: SystemTime, shown: SystemTime) -> bool {
    let off = shown.duration_since(expected).unwrap_or_else(|behind| behind.duration());
    off >= JUMP
}

/// A clock that tests of this crate move, where those of others have one with a queue of sleepers.
#[cfg(test)]
pub(crate) mod by_hand {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone)]
    pub(crate) struct Hand(Arc<Mutex<SystemTime>>);

    impl Hand {
        pub(crate) fn at(seconds: i64) -> Self {
            Self(Arc::new(Mutex::new(from_unix_seconds(seconds))))
        }

        pub(crate) fn clock(&self) -> Clock {
            Clock::new(Arc::new(self.clone()))
        }

        pub(crate) fn pass(&self, length: Duration) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += length;
        }
    }

    impl Source for Hand {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn jumps(&self) -> watch::Receiver<()> {
            watch::Sender::new(()).subscribe()
        }
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
    #[test]
    fn a_clock_that_was_set_or_slept_jumped_and_one_that_is_kept_right_did_not() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for off in [JUMP, Duration::from_secs(3600)] {
            assert!(is_jump(expected, expected + off) && is_jump(expected, expected - off));
        }
        for off in [Duration::ZERO, Duration::from_millis(100)] {
            assert!(!is_jump(expected, expected + off) && !is_jump(expected, expected - off));
        }
    }
}
