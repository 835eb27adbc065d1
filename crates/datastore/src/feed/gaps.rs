//! Ids of events that were skipped, until it is known what became of them.
//!
//! A database gives an id when a row is inserted and shows the row when its transaction commits, which may be in another
//! order or never. An id that is missing while a later one is there is asked for until it is settled: its event has
//! appeared, or nobody can write it any more.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Ranges of ids that may still appear.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    /// By the first id.
    open: BTreeMap<i64, Gap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    last: i64,
    /// When it opened.
    since: SystemTime,
    /// When there was last a sign of somebody who may fill it.
    noticed: SystemTime,
    /// PostgreSQL: transactions before this one may have taken the ids, later ones have not.
    before: Option<i64>,
}

/// What a snapshot tells of the transactions that it does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Horizon {
    /// There is one writer, and events appear in the order of their ids.
    InOrder,
    /// PostgreSQL's `xmin` and `xmax`: transactions before `oldest` have ended; those from `next` on had not begun.
    Transactions { oldest: i64, next: i64 },
    /// An id that nobody has locked for so long will not appear.
    Time { after: Duration },
}

/// A transaction gets its own number a moment after the id of its first event. By then it has it.
const NUMBERED: Duration = Duration::from_secs(1);

impl Gaps {
    /// The ids from `first` to `last` were skipped.
    pub(super) fn notice(&mut self, first: i64, last: i64, now: SystemTime) {
        if first <= last {
            self.open.insert(first, Gap { last, since: now, noticed: now, before: None });
        }
    }

    /// First and last id of each gap, in order.
    pub(super) fn ranges(&self) -> Vec<(i64, i64)> {
        self.open.iter().map(|(first, gap)| (*first, gap.last)).collect()
    }

    /// First and last id of each gap, and since when it is open, in order.
    pub(super) fn open(&self) -> impl Iterator<Item = (i64, i64, SystemTime)> {
        self.open.iter().map(|(first, gap)| (*first, gap.last, gap.since))
    }

    /// The event has appeared.
    pub(super) fn appeared(&mut self, id: i64) {
        let Some((&first, &gap)) = self.open.range(..=id).next_back().filter(|(_, gap)| id <= gap.last) else { return };
        self.open.remove(&first);
        if first < id {
            self.open.insert(first, Gap { last: id - 1, ..gap });
        }
        if id < gap.last {
            self.open.insert(id + 1, gap);
        }
    }

    /// Somebody holds a lock in the gap that begins with `first`: he may still write it.
    pub(super) fn held(&mut self, first: i64, now: SystemTime) {
        if let Some(gap) = self.open.get_mut(&first) {
            gap.noticed = now;
        }
    }

    /// Forgets the gaps that nobody can fill any more, after all of them were asked for in the snapshot of `horizon`.
    pub(super) fn settle(&mut self, horizon: Horizon, now: SystemTime) {
        self.open.retain(|_, gap| {
            // A clock that went back is no reason to wait for ever.
            let age = now.duration_since(gap.noticed).unwrap_or(Duration::MAX);
            match horizon {
                Horizon::InOrder => false,
                Horizon::Time { after } => age < after,
                Horizon::Transactions { oldest, next } => match gap.before {
                    Some(before) => oldest < before,
                    None => {
                        gap.before = (age >= NUMBERED).then_some(next);
                        true
                    }
                },
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    fn gaps(ranges: &[(i64, i64)]) -> Gaps {
        let mut gaps = Gaps::default();
        for (first, last) in ranges {
            gaps.notice(*first, *last, at(0));
        }
        gaps
    }

    #[test]
    fn an_event_that_appears_splits_its_gap() {
        let mut gaps = gaps(&[(3, 7), (10, 10)]);
        for id in [5, 2, 8, 10, 11] {
            gaps.appeared(id);
        }
        assert_eq!(gaps.ranges(), [(3, 4), (6, 7)]);
        gaps.appeared(3);
        gaps.appeared(7);
        assert_eq!(gaps.ranges(), [(4, 4), (6, 6)]);
        gaps.notice(5, 4, at(0));
        assert_eq!(gaps.ranges().len(), 2, "nothing was skipped");
    }

    #[test]
    fn a_gap_ends_when_all_transactions_that_may_fill_it_have() {
        let mut gaps = gaps(&[(3, 3)]);
        let horizon = |oldest, next| Horizon::Transactions { oldest, next };
        gaps.settle(horizon(100, 100), at(999));
        gaps.settle(horizon(100, 120), at(1_000));
        gaps.settle(horizon(119, 500), at(60_000));
        assert_eq!(gaps.ranges(), [(3, 3)], "119 may be the one");
        gaps.settle(horizon(120, 500), at(60_001));
        assert_eq!(gaps.ranges(), []);
    }

    #[test]
    fn a_gap_ends_when_nobody_has_held_it_for_long() {
        let mut gaps = gaps(&[(3, 4), (6, 6)]);
        let horizon = Horizon::Time { after: Duration::from_secs(60) };
        gaps.held(3, at(30_000));
        gaps.settle(horizon, at(59_999));
        assert_eq!(gaps.ranges().len(), 2);
        gaps.settle(horizon, at(60_000));
        assert_eq!(gaps.ranges(), [(3, 4)]);
        gaps.settle(horizon, at(90_000));
        assert_eq!(gaps.ranges(), []);
    }

    #[test]
    fn where_ids_appear_in_order_a_gap_is_none() {
        let mut gaps = gaps(&[(3, 4)]);
        gaps.settle(Horizon::InOrder, at(0));
        assert_eq!(gaps.ranges(), []);
    }
}
