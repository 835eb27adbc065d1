//! An allocator that counts what it is asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The system's allocator, counted. A program takes it by `#[global_allocator]`.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

/// What was counted since the start: 0 where a program has another allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Pieces of memory that were given out.
    pub given: u64,
    /// Those that came back.
    pub returned: u64,
}

/// On a line of the cache of their own, so that threads do not wait for each other.
#[repr(align(128))]
struct Counters {
    given: AtomicU64,
    returned: AtomicU64,
}

/// Threads share them in turns.
static COUNTERS: [Counters; 16] = [const { Counters { given: AtomicU64::new(0), returned: AtomicU64::new(0) } }; 16];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which of the counters are this thread's. Neither made nor dropped by code that allocates.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

fn counters() -> &'static Counters {
    let own = OWN.try_with(|own| {
        own.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            own.set(Some(next));
            next
        })
    });
    &COUNTERS[own.unwrap_or_default() % COUNTERS.len()]
}

/// What was counted so far. Other threads go on meanwhile.
pub fn counted() -> Counted {
    // Returned ones first, so that never more of them are seen than were given.
    let returned = COUNTERS.iter().map(|counters| counters.returned.load(Ordering::Acquire)).sum();
    let given = COUNTERS.iter().map(|counters| counters.given.load(Ordering::Acquire)).sum();
    Counted { given, returned }
}

#[allow(unsafe_code, reason = "an allocator is")]
// SAFETY: all is done by the system's allocator, with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        counters().given.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        counters().given.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        counters().returned.fetch_add(1, Ordering::Release);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_counted_on_every_thread() {
        let before = counted();
        let layout = Layout::new::<[u64; 4]>();
        let threads: Vec<_> = (0..20)
            .map(|_| {
                std::thread::spawn(move || {
                    #[allow(unsafe_code, reason = "an allocator is")]
                    // SAFETY: each piece is of this layout, which is not empty, and goes back once.
                    unsafe {
                        for grow in [false, true] {
                            let piece = if grow { Counting.alloc_zeroed(layout) } else { Counting.alloc(layout) };
                            let piece = Counting.realloc(piece, layout, layout.size());
                            Counting.dealloc(piece, layout);
                        }
                        Counting.alloc(layout) as usize
                    }
                })
            })
            .collect();
        let held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let now = counted();
        assert_eq!((now.given - before.given, now.returned - before.returned), (60, 40));
        for piece in held {
            #[allow(unsafe_code, reason = "an allocator is")]
            // SAFETY: it is the piece of a thread, of this layout.
            unsafe {
                Counting.dealloc(piece as *mut u8, layout);
            }
        }
        assert_eq!(counted().returned - before.returned, 60);
    }
}
