use std::sync::atomic::{AtomicU32, Ordering};

/// The comparison in which something came by last, or in which it was made. Readers of the index do not look at it, so that
/// marking keeps nobody from reading.
#[derive(Debug)]
pub(super) struct Seen(AtomicU32);

impl Seen {
    pub(super) fn new(round: u32) -> Self {
        Self(AtomicU32::new(round))
    }

    pub(super) fn mark(&self, round: u32) {
        self.0.store(round, Ordering::Relaxed);
    }

    pub(super) fn is_marked(&self, round: u32) -> bool {
        self.0.load(Ordering::Relaxed) == round
    }
}
