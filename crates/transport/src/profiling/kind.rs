//! What there is a profile of.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use steeple_runtime::os::allocator::{Counted, counted};
use steeple_runtime::os::sampling::{HERTZ, Sampling};
use steeple_runtime::{Clock, os};

use super::pprof::Builder;

/// How often what was sampled is collected; the room for it is for longer than that.
const COLLECT_EVERY: Duration = Duration::from_millis(100);
/// Different stacks that are kept of one profile; the rest of it is one sample without a place.
const STACKS: usize = 20_000;

/// Profiles of the reference that this program can make as well, by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Where the processors' time goes.
    Cpu,
    /// Tasks, which are what the reference's goroutines are; how many, and not where they wait.
    Goroutine,
    /// Memory that is in use; how much, and not whose.
    Heap,
    /// Threads of the system, by name.
    ThreadCreate,
}

impl Kind {
    /// All, as the reference lists them.
    pub(super) const ALL: [Self; 4] = [Self::Cpu, Self::Goroutine, Self::Heap, Self::ThreadCreate];

    /// As files and keys have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Goroutine => "goroutine",
            Self::Heap => "heap",
            Self::ThreadCreate => "threadcreate",
        }
    }

    /// The one of that name, if this program makes it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Makes it. That of the processors takes so long; the others are of a moment.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) async fn make(self, length: Duration, clock: &Clock) -> Result<Vec<u8>, String> {
        match self {
            Self::Cpu => cpu(length, clock).await,
            Self::Goroutine => {
                let mut profile = Builder::new(&[("goroutine", "count")], clock.now());
                profile.named("tasks", vec![tokio::runtime::Handle::current().metrics().num_alive_tasks() as i64]);
                Ok(profile.file())
            }
            Self::Heap => {
                let heap = os::heap().ok_or("the allocator of this program does not count")?;
                let Counted { given, returned } = counted();
                let kept = heap.from_system.saturating_sub(heap.allocated);
                let values = [("inuse_objects", "count"), ("inuse_space", "bytes")];
                let mut profile = Builder::new(&values, clock.now());
                profile.named("in use", vec![given.saturating_sub(returned) as i64, heap.allocated as i64]);
                profile.named("kept for later", vec![0, kept as i64]);
                Ok(profile.file())
            }
            Self::ThreadCreate => {
                let mut profile = Builder::new(&[("threadcreate", "count")], clock.now());
                for (name, count) in threads() {
                    profile.named(&name, vec![count]);
                }
                Ok(profile.file())
            }
        }
    }
}

async fn cpu(length: Duration, clock: &Clock) -> Result<Vec<u8>, String> {
    let sampling = Sampling::start().map_err(|error| error.to_string())?;
    let (began, mut left) = (clock.now(), length);
    let (mut stacks, mut others) = (HashMap::<Vec<u64>, i64>::new(), 0_i64);
    while !left.is_zero() {
        let step = left.min(COLLECT_EVERY);
        clock.sleep(step).await;
        left -= step;
        sampling.take(|addresses| {
            let has_room = stacks.len() < STACKS;
            match stacks.get_mut(addresses) {
                Some(count) => *count += 1,
                None if has_room => drop(stacks.insert(addresses.to_vec(), 1)),
                None => others += 1,
            }
        });
    }
    others += i64::try_from(sampling.lost()).unwrap_or(i64::MAX);
    drop(sampling);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let period = 1_000_000_000 / i64::from(HERTZ);
    let mut profile = Builder::new(&[("samples", "count"), ("cpu", "nanoseconds")], began);
    // A sleep may be longer than was asked for, and a clock may have been set meanwhile.
    let took = clock.now().duration_since(began).unwrap_or(length).max(length);
    profile.sampled(took, ("cpu", "nanoseconds"), period);
    profile.mapped(&maps);
    for (addresses, count) in stacks {
        profile.stack(&addresses, vec![count, count * period]);
    }
    if others > 0 {
        profile.named("not kept", vec![others, others * period]);
    }
    Ok(profile.file())
}

/// How many threads have each name.
fn threads() -> BTreeMap<String, i64> {
    let mut threads = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        // One that has ended meanwhile has none.
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        *threads.entry(name.trim_end().to_owned()).or_default() += 1;
    }
    threads
}

#[cfg(test)]
mod tests {
    use super::super::pprof::tests::read;
    use super::*;

    async fn made(kind: Kind) -> (String, i64) {
        let file = kind.make(COLLECT_EVERY * 3, &Clock::system()).await.unwrap();
        let profile = read(&file);
        let name = profile.string_table[profile.sample_type.last().unwrap().r#type as usize].clone();
        (name, profile.sample.iter().map(|sample| sample.value.last().unwrap()).sum())
    }

    #[tokio::test]
    async fn each_profile_has_something_in_it() {
        let idle = tokio::spawn(std::future::pending::<()>());
        assert_eq!(made(Kind::Goroutine).await, ("goroutine".to_owned(), 1));
        idle.abort();
        let (name, bytes) = made(Kind::Heap).await;
        assert!(name == "inuse_space" && bytes > 10_000, "{bytes}");
        let (name, threads) = made(Kind::ThreadCreate).await;
        assert!(name == "threadcreate" && threads >= 2, "{threads}");
        assert_eq!(Kind::named("mutex"), None);
    }

    #[tokio::test]
    async fn the_profile_of_the_processors_has_what_was_run() {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let busy = std::thread::spawn(move || while !stopped.load(std::sync::atomic::Ordering::Relaxed) {});
        let file = Kind::Cpu.make(COLLECT_EVERY * 5, &Clock::system()).await.unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        busy.join().unwrap();
        assert!(!read(&file).sample.is_empty());
    }
}
