//! Something of which there is only so much (connections, calls, memory), divided among those who want it.
//!
//! Whoever has nothing gets what he asks for; whoever has something gets more only while he has, with it, no more than
//! [`GENEROUS`] times what is left for others. So one who wants all gets three quarters, two get three sevenths each, and a
//! newcomer always finds something: no figure has to be chosen for what one peer may have, and nobody is starved by others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use crate::connection::Holder;

/// The larger, the more one peer may have, and the less the next one finds.
const GENEROUS: usize = 3;

/// What there is of one thing.
#[derive(Debug)]
pub struct Shares {
    /// What it is, for the log.
    what: &'static str,
    capacity: usize,
    /// No holder gets more than this, whatever is left.
    most: usize,
    held: Mutex<Held>,
    refusals: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by: HashMap<Holder, usize>,
}

/// What one holder has of it for one purpose; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Shares>,
    holder: Holder,
    amount: AtomicUsize,
}

impl Shares {
    /// So much of `what`, of which one holder may have all that the rule gives him.
    pub fn new(what: &'static str, capacity: usize) -> Arc<Self> {
        Self::limited(what, capacity, capacity)
    }

    /// As [`Shares::new`], with a figure for what one holder may have.
    pub fn limited(what: &'static str, capacity: usize, most: usize) -> Arc<Self> {
        Arc::new(Self { what, capacity, most, held: Mutex::default(), refusals: AtomicU64::new(0) })
    }

    /// An empty share.
    pub fn share(self: &Arc<Self>, holder: Holder) -> Share {
        Share { of: Arc::clone(self), holder, amount: AtomicUsize::new(0) }
    }

    /// A share with something in it; None when the holder has too much already.
    pub fn take(self: &Arc<Self>, holder: Holder, amount: usize) -> Option<Share> {
        let share = self.share(holder);
        share.set(amount).then_some(share)
    }

    fn change(&self, holder: &Holder, less: usize, more: usize) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { all, by } = &mut *held;
        let before = by.get(holder).copied().unwrap_or_default();
        let (after, all_after) = (before - less + more, *all - less + more);
        let left = self.capacity.saturating_sub(all_after);
        if after > before && before > 0 && after > left.saturating_mul(GENEROUS).min(self.most) {
            return false;
        }
        *all = all_after;
        match by.entry(holder.clone()) {
            Entry::Occupied(entry) if after == 0 => drop(entry.remove()),
            Entry::Occupied(mut entry) => *entry.get_mut() = after,
            Entry::Vacant(_) if after == 0 => {}
            Entry::Vacant(entry) => drop(entry.insert(after)),
        }
        true
    }

    /// Told ever more seldom: who fills the log is no better than who fills the memory.
    fn tell(&self, holder: &Holder) {
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if refusals.is_power_of_two() {
            warn!(target: "endpoints", peer = ?holder, refusals, "A peer has too many {}", self.what);
        }
    }
}

impl Share {
    /// Makes it smaller, or larger if the holder may have more; returns whether it is so large now.
    pub fn set(&self, amount: usize) -> bool {
        let before = self.amount.load(Ordering::Relaxed);
        if amount == before {
            return true;
        }
        let changed = self.of.change(&self.holder, before, amount);
        if changed {
            self.amount.store(amount, Ordering::Relaxed);
        } else {
            self.of.tell(&self.holder);
        }
        changed
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one after the other until no more is given.
    fn all(shares: &Arc<Shares>, user: u32) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(Holder::User(user), 1)).take(1000).collect()
    }

    #[test]
    fn who_wants_all_gets_three_quarters_and_who_comes_later_as_much_of_the_rest() {
        let shares = Shares::new("things", 64);
        let first = all(&shares, 1);
        assert_eq!(first.len(), 48);
        let second = all(&shares, 2);
        assert_eq!(second.len(), 12);
        assert_eq!(all(&shares, 3).len(), 3);
        drop((first, second));
        assert_eq!(all(&shares, 3).len(), 48);
    }

    #[test]
    fn a_newcomer_gets_something_though_there_is_nothing_left() {
        let shares = Shares::new("things", 4);
        // More than there is: each of them had nothing.
        let crowd: Vec<_> = (0..10).map(|user| shares.take(Holder::User(user), 1).unwrap()).collect();
        assert!(shares.take(Holder::User(3), 1).is_none());
        assert!(shares.take(Holder::User(10), 1).is_some());
        drop(crowd);
        assert_eq!(all(&shares, 3).len(), 3);
    }

    #[test]
    fn a_figure_for_one_holder_counts_before_the_rule() {
        let shares = Shares::limited("things", 90, 3);
        let first = all(&shares, 1);
        assert_eq!((first.len(), all(&shares, 2).len()), (3, 3));
    }

    #[test]
    fn a_share_that_could_not_grow_is_as_large_as_before() {
        let shares = Shares::new("bytes", 100);
        let share = shares.take(Holder::Host, 30).unwrap();
        assert!(share.set(75) && !share.set(76));
        assert!(shares.take(Holder::Host, 1).is_none());
        assert!(share.set(10));
        assert!(shares.take(Holder::Host, 65).is_some());
        drop(share);
        assert!(shares.held.lock().unwrap().by.is_empty());
        assert_eq!(shares.held.lock().unwrap().all, 0);
    }
}
