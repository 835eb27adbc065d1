//! How far a table of events was read, and what of it is remembered.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use super::gaps::{Gaps, Horizon};

/// The tail of one table of events.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// Up to this id events were read, but for the gaps.
    pub(super) last: i64,
    pub(super) gaps: Gaps,
    /// What was read last, in the order of reading: an event of these that is gone or another one now says that the
    /// database moved back. The newest one stays however old it is.
    recent: VecDeque<(SystemTime, Event)>,
}

/// A row of a table of events: its id, the name of what changed, and when. An id that is used again after commits were lost
/// may name the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) created_at: Option<SystemTime>,
}

/// Events are remembered for so long, and so many of them. A database that moved back has mostly lost the newest ones; where
/// it has not, a comparison finds out.
const REMEMBERED: Duration = Duration::from_secs(60);
const MOST: usize = 1_000;

impl Tail {
    /// A tail that begins with the state that holds `events` (ascending), of which some may be missing.
    pub(super) fn beginning_with(events: Vec<Event>, newest: i64, horizon: Horizon, now: SystemTime) -> Self {
        // Also what comes before the oldest one may be in a transaction that is open.
        let mut tail = Self::default();
        tail.advance(events, newest, horizon, now);
        tail
    }

    /// Takes over `events` (ascending), which are all that there are up to `last`, beside those that fill gaps.
    pub(super) fn advance(&mut self, events: Vec<Event>, last: i64, horizon: Horizon, now: SystemTime) {
        for event in events {
            if event.id > self.last {
                self.gaps.notice(self.last + 1, event.id - 1, now);
                self.last = event.id;
            } else {
                self.gaps.appeared(event.id);
            }
            self.recent.push_back((now, event));
        }
        self.gaps.notice(self.last + 1, last, now);
        self.last = self.last.max(last);
        self.gaps.settle(horizon, now);
        self.forget(now);
    }

    /// The ids of the events that should still be there.
    pub(super) fn remembered(&self) -> Vec<i64> {
        self.recent.iter().map(|(_, event)| event.id).collect()
    }

    /// Whether `found`, the answer for [`Self::remembered`], is what was read before. Old events may have been pruned.
    pub(super) fn agrees_with(&self, found: &[Event]) -> bool {
        self.recent.iter().all(|(_, event)| found.contains(event))
    }

    fn forget(&mut self, now: SystemTime) {
        let is_old = |(read, _): &(SystemTime, Event)| now.duration_since(*read).is_ok_and(|age| age > REMEMBERED);
        while self.recent.len() > MOST || (self.recent.len() > 1 && self.recent.front().is_some_and(is_old)) {
            self.recent.pop_front();
        }
    }
}
