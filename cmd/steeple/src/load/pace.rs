//! How operations follow each other: so many at once, each lane beginning its next one as soon as the last has ended (a
//! closed loop), or at fixed times (an open loop).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use steeple_runtime::Shutdown;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use super::samples::Samples;

/// One kind of operation, done again and again.
pub(super) trait Work {
    /// Does it once. `number` differs from operation to operation of a run.
    async fn once(&self, number: u64) -> Result<(), Status>;
}

/// How often, how many at once, for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Operations under way at once, at most.
    pub(super) concurrency: usize,
    /// Operations in all; at most [`MOST`].
    pub(super) count: u64,
    /// No operation begins later. None: all are done.
    pub(super) duration: Option<Duration>,
    /// Operations a second that begin whether or not earlier ones have ended, as long as there is a free lane. None: a
    /// closed loop.
    pub(super) rate: Option<u64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Of the operations that succeeded.
    pub(super) samples: Samples,
    /// How many failed, by the reason.
    pub(super) failed: BTreeMap<String, u64>,
    /// The first failure.
    pub(super) first_failure: Option<Status>,
    /// From the first beginning to the last end.
    pub(super) elapsed: Duration,
    /// It was stopped from outside: what was under way is not counted.
    pub(super) interrupted: bool,
    /// It ended early, because nothing succeeded any more.
    pub(super) gave_up: bool,
}

/// Does the work. Whatever happens, what was measured so far is returned.
pub(super) async fn run(work: &impl Work, pace: &Pace, stop: &Shutdown) -> Run {
    let state = State {
        begin: Instant::now(),
        next: Cell::new(0),
        failures_in_a_row: Cell::new(0),
        run: RefCell::new(Run::default()),
    };
    let lanes = join_all((0..pace.concurrency).map(|_| lane(work, pace, &state)));
    let finished = stop.unless_stopped(lanes).await;
    let State { begin, next: _, failures_in_a_row, run } = state;
    let mut run = run.into_inner();
    run.elapsed = begin.elapsed();
    run.interrupted = finished.is_none();
    run.gave_up = failures_in_a_row.get() >= GIVE_UP;
    run
}

/// What the lanes share; they all run on one thread.
struct State {
    begin: Instant,
    next: Cell<u64>,
    failures_in_a_row: Cell<u64>,
    run: RefCell<Run>,
}

async fn lane(work: &impl Work, pace: &Pace, state: &State) {
    while let Some((number, begin)) = ticket(pace, state).await {
        let done = timeout(LIMIT, work.once(number)).await;
        let took = begin.elapsed();
        let mut run = state.run.borrow_mut();
        match done.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 60 s"))) {
            Ok(()) => {
                state.failures_in_a_row.set(0);
                run.samples.add(took);
            }
            Err(status) => {
                state.failures_in_a_row.set(state.failures_in_a_row.get() + 1);
                run.failure(status);
            }
        }
    }
}

/// The next operation's number and the moment from which its time counts. None when there is none left.
async fn ticket(pace: &Pace, state: &State) -> Option<(u64, Instant)> {
    let number = state.next.get();
    let due = match pace.rate {
        Some(rate) => state.begin + Duration::from_secs(1).mul_f64(number as f64 / rate as f64),
        None => Instant::now(),
    };
    let in_time = pace.duration.is_none_or(|duration| due < state.begin + duration);
    if number >= pace.count || !in_time || state.failures_in_a_row.get() >= GIVE_UP {
        return None;
    }
    state.next.set(number + 1);
    if due > Instant::now() {
        sleep_until(due).await;
        // The timer is late by up to a millisecond, which is not the daemon's doing.
        return Some((number, Instant::now()));
    }
    // An operation that had to wait for a free lane has waited since it was due: a server that stalls is charged for all
    // that it kept waiting.
    Some((number, due))
}

impl Run {
    fn failure(&mut self, status: Status) {
        let reason = super::advice::in_short(&status);
        if self.failed.len() < REASONS || self.failed.contains_key(&reason) {
            *self.failed.entry(reason).or_default() += 1;
        } else {
            *self.failed.entry("other reasons".into()).or_default() += 1;
        }
        self.first_failure.get_or_insert(status);
    }
}

/// Operations of one run, at most.
pub(super) const MOST: u64 = 10_000_000;
/// How long one operation may take.
const LIMIT: Duration = Duration::from_secs(60);
/// So many failures in a row end the run.
const GIVE_UP: u64 = 100;
/// How many reasons of failures are told apart.
const REASONS: usize = 8;

#[cfg(test)]
mod tests;
