//! Answers of several lookups: none is made of what was before something left its place and of what came after it. What is
//! only added may or may not be in an answer that is under way; the next one has it.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Readers look without a lock, and again where something has left meanwhile.
#[derive(Default)]
pub(super) struct Turns {
    /// Grows before something leaves and after it; odd in between.
    departures: AtomicU64,
    /// Held while something leaves, and by a reader that has looked in vain.
    turn: Mutex<()>,
}

/// Where entries go by the thousand, a reader would look for ever.
const LOOKS: usize = 3;

impl Turns {
    /// What `look` finds, which it does again where it has to.
    pub(super) fn steady<T>(&self, look: impl Fn() -> T) -> T {
        for _ in 0..LOOKS {
            let before = self.departures.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let found = look();
                // What was looked at is read before the number.
                fence(Ordering::Acquire);
                if self.departures.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
        }
        let _turn = self.turn();
        look()
    }

    /// Has something leave, all at once for those who look.
    pub(super) fn leave(&self, leave: impl FnOnce()) {
        let _turn = self.turn();
        self.departures.fetch_add(1, Ordering::Relaxed);
        // The number is odd before anything leaves.
        fence(Ordering::Release);
        leave();
        self.departures.fetch_add(1, Ordering::Release);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn who_looks_while_something_moves_looks_again() {
        let (turns, here, there, looks) = (Turns::default(), Cell::new(false), Cell::new(true), Cell::new(0));
        let found = turns.steady(|| {
            let is_here = here.get();
            if looks.replace(looks.get() + 1) == 0 {
                turns.leave(|| {
                    here.set(true);
                    there.set(false);
                });
            }
            is_here || there.get()
        });
        assert!(found, "it was neither here nor there");
        assert_eq!(looks.get(), 2);
    }

    #[test]
    fn who_looks_in_vain_has_others_wait() {
        let (turns, looks) = (Turns::default(), Cell::new(0));
        let has_waited = turns.steady(|| {
            looks.set(looks.get() + 1);
            if looks.get() <= LOOKS {
                turns.leave(|| ());
            }
            turns.turn.try_lock().is_err()
        });
        assert!(has_waited);
        assert_eq!(looks.get(), LOOKS + 1);
    }
}
