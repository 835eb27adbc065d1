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

    /// Whether `found`, the answer for [`Self::remembered`], is what was read before.
    pub(super) fn agrees_with(&self, found: &[Event]) -> bool {
        self.agrees_from(Some(i64::MIN), found)
    }

    /// The same but for events before `oldest`, and for all if there is none.
    pub(super) fn agrees_from(&self, oldest: Option<i64>, found: &[Event]) -> bool {
        let should_be_there = |event: &Event| oldest.is_some_and(|oldest| event.id >= oldest);
        self.recent.iter().all(|(_, event)| !should_be_there(event) || found.contains(event))
    }

    /// Events before this one have been pruned.
    pub(super) fn forget_before(&mut self, id: i64) {
        self.recent.retain(|(_, event)| event.id >= id);
    }

    fn forget(&mut self, now: SystemTime) {
        let is_old = |(read, _): &(SystemTime, Event)| now.duration_since(*read).is_ok_and(|age| age > REMEMBERED);
        while self.recent.len() > MOST || (self.recent.len() > 1 && self.recent.front().is_some_and(is_old)) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: i64, name: &str) -> Event {
        Event { id, name: name.to_owned(), created_at: None }
    }

    #[test]
    fn what_is_gone_before_the_oldest_event_agrees_and_what_is_gone_behind_it_does_not() {
        let events: Vec<_> = ["a", "b", "c"].iter().zip(5..).map(|(name, id)| event(id, name)).collect();
        let mut tail = Tail::beginning_with(events.clone(), 7, Horizon::InOrder, SystemTime::UNIX_EPOCH);
        assert!(tail.agrees_with(&events));
        assert!(!tail.agrees_with(&events[1..]));
        assert!(tail.agrees_from(Some(6), &events[1..]));
        assert!(tail.agrees_from(Some(8), &[]), "all are pruned, and there is a newer one");
        assert!(tail.agrees_from(None, &[]));
        assert!(!tail.agrees_from(Some(5), &[event(5, "a"), event(7, "c")]), "one in the middle is lost");
        assert!(!tail.agrees_from(Some(6), &[event(6, "b"), event(7, "other")]));

        tail.forget_before(6);
        assert_eq!(tail.remembered(), [6, 7]);
        assert!(tail.agrees_with(&events[1..]));
    }
}
