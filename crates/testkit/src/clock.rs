//! A clock that stands still until a test advances it.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use steeple_runtime::Clock;
use steeple_runtime::clock::Source;
use tokio::sync::{oneshot, watch};

/// A clock of its own time, with its own timer queue. Cheap to clone: all clones are the same clock.
#[derive(Clone)]
pub struct ManualClock(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    /// Changes whenever somebody begins or ceases to sleep.
    changes: watch::Sender<()>,
    /// Changes whenever the clock is set.
    jumps: watch::Sender<()>,
}

struct State {
    wall: SystemTime,
    /// How long the clock has run; a clock that is set does not change it.
    run: Duration,
    last_id: u64,
    /// Who sleeps, by the moment of waking, then by when they fell asleep.
    sleepers: BTreeMap<Key, oneshot::Sender<()>>,
}

type Key = (Duration, u64);

impl State {
    /// How long the first sleeper still has to go, of those who have `left`.
    fn first_with(&self, left: &impl RangeBounds<Duration>) -> Option<Duration> {
        self.sleepers.keys().map(|(due, _)| *due - self.run).find(|length| left.contains(length))
    }
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: SystemTime) -> Self {
        let state = State { wall: start, run: Duration::ZERO, last_id: 0, sleepers: BTreeMap::new() };
        let (changes, jumps) = (watch::Sender::new(()), watch::Sender::new(()));
        Self(Arc::new(Queue { state: Mutex::new(state), changes, jumps }))
    }

    /// The clock as the system takes it.
    pub fn clock(&self) -> Clock {
        Clock::new(Arc::new(self.clone()))
    }

    /// What it shows.
    pub fn now(&self) -> SystemTime {
        self.0.state().wall
    }

    /// Lets `length` pass. Those whose time has come are woken, the earliest first. A sleeper that would sleep again
    /// before `length` is over does not wake twice: who watches something that repeats advances step by step.
    pub fn advance(&self, length: Duration) {
        let mut state = self.0.state();
        state.wall += length;
        state.run += length;
        let first_later = (state.run + Duration::from_nanos(1), 0);
        let later = state.sleepers.split_off(&first_later);
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        for (_, sleeper) in due {
            // A sleeper that was dropped is gone already.
            let _ = sleeper.send(());
        }
        self.0.changes.send_replace(());
    }

    /// Sets the wall clock, forward or back, without time passing, as a machine that slept finds it too: who sleeps for a
    /// length sleeps on, who waits for a moment looks again.
    pub fn set(&self, now: SystemTime) {
        self.0.state().wall = now;
        self.0.jumps.send_replace(());
    }

    /// How many sleep.
    pub fn sleepers(&self) -> usize {
        self.0.state().sleepers.len()
    }

    /// How long each of them still has to go, the first one first.
    pub fn left(&self) -> Vec<Duration> {
        let state = self.0.state();
        state.sleepers.keys().map(|(due, _)| *due - state.run).collect()
    }

    /// Waits until somebody sleeps who has still `left` to go.
    pub async fn until_somebody_sleeps(&self, left: impl RangeBounds<Duration>) {
        self.until(|state| state.first_with(&left)).await;
    }

    /// Waits until somebody sleeps who has still `left` to go, and advances until the first of those wakes.
    pub async fn wake(&self, left: impl RangeBounds<Duration>) {
        self.advance(self.until(|state| state.first_with(&left)).await);
    }

    /// As [`ManualClock::wake`], once nobody else sleeps: a connection that failed leaves the limit of another attempt
    /// behind for a moment.
    pub async fn wake_the_only(&self, left: impl RangeBounds<Duration>) {
        let only = |state: &State| state.first_with(&left).filter(|_| state.sleepers.len() == 1);
        self.advance(self.until(only).await);
    }

    async fn until<T>(&self, find: impl Fn(&State) -> Option<T>) -> T {
        let mut changes = self.0.changes.subscribe();
        loop {
            if let Some(found) = find(&self.0.state()) {
                return found;
            }
            // The sender lives as long as the clock.
            let _ = changes.changed().await;
        }
    }
}

impl Source for ManualClock {
    fn now(&self) -> SystemTime {
        ManualClock::now(self)
    }

    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        if length.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (sleeper, woken) = oneshot::channel();
        let mut state = self.0.state();
        state.last_id += 1;
        let key = (state.run.saturating_add(length), state.last_id);
        state.sleepers.insert(key, sleeper);
        drop(state);
        self.0.changes.send_replace(());
        let place = Place { queue: Arc::clone(&self.0), key };
        Box::pin(async move {
            let _place = place;
            // The sender leaves the queue only to be used.
            let _ = woken.await;
        })
    }

    fn jumps(&self) -> watch::Receiver<()> {
        self.0.jumps.subscribe()
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }
}

/// A sleeper's place in the queue; given up when the sleeper is dropped.
struct Place {
    queue: Arc<Queue>,
    key: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = self.queue.state().sleepers.remove(&self.key);
        if held.is_some() {
            self.queue.changes.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[tokio::test]
    async fn sleepers_wake_in_the_order_of_their_time() {
        let manual = ManualClock::new(SystemTime::UNIX_EPOCH);
        let (woken, mut order) = tokio::sync::mpsc::unbounded_channel();
        for seconds in [3, 1, 2, 9] {
            let (clock, woken) = (manual.clock(), woken.clone());
            tokio::spawn(async move {
                clock.sleep(SECOND * seconds).await;
                woken.send(seconds).unwrap();
            });
            manual.until_somebody_sleeps(SECOND * seconds..=SECOND * seconds).await;
        }
        manual.advance(SECOND * 8);
        assert_eq!([order.recv().await, order.recv().await, order.recv().await], [Some(1), Some(2), Some(3)]);
        assert_eq!(manual.sleepers(), 1);
        manual.wake(..).await;
        assert_eq!(order.recv().await, Some(9));
        assert_eq!(manual.now(), SystemTime::UNIX_EPOCH + SECOND * 9);
    }

    #[tokio::test]
    async fn a_sleeper_that_is_dropped_leaves_the_queue() {
        let manual = ManualClock::new(SystemTime::UNIX_EPOCH);
        let clock = manual.clock();
        assert_eq!(clock.within(SECOND, std::future::ready(7)).await, Some(7));
        assert_eq!(manual.sleepers(), 0);
        let late = tokio::spawn(async move { clock.within(SECOND, std::future::pending::<()>()).await });
        manual.wake(..=SECOND).await;
        assert_eq!(late.await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_wakes_those_who_wait_for_a_moment_and_nobody_else() {
        let manual = ManualClock::new(SystemTime::UNIX_EPOCH);
        let wait_until = |hours: u32| {
            let clock = manual.clock();
            tokio::spawn(async move { clock.sleep_until(SystemTime::UNIX_EPOCH + HOUR * hours).await })
        };
        let (first, second) = (wait_until(1), wait_until(3));
        manual.until_somebody_sleeps(HOUR * 3..).await;
        let clock = manual.clock();
        let length = tokio::spawn(async move { clock.sleep(HOUR * 2).await });
        manual.until_somebody_sleeps(HOUR * 2..=HOUR * 2).await;
        manual.set(SystemTime::UNIX_EPOCH + HOUR * 2);
        first.await.unwrap();
        // The other one has an hour to go now, and the sleeper its two.
        manual.until_somebody_sleeps(HOUR..=HOUR).await;
        assert_eq!(manual.sleepers(), 2);
        manual.advance(HOUR);
        second.await.unwrap();
        assert!(!length.is_finished());

        // Set back, it is a longer way.
        let third = wait_until(4);
        manual.until_somebody_sleeps(HOUR..=HOUR).await;
        manual.set(SystemTime::UNIX_EPOCH);
        manual.until_somebody_sleeps(HOUR * 4..=HOUR * 4).await;
        manual.advance(HOUR * 4);
        third.await.unwrap();
    }
}
