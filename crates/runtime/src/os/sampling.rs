//! Where this process spends its time. The kernel's clock of it sends SIGPROF a hundred times for each second of CPU time,
//! and the handler writes down what was interrupted, and what had called it.

#![allow(unsafe_code, reason = "a signal handler, and the C compiler's unwinder, have no safe wrapper")]

use std::ffi::{c_int, c_void};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How often, for each second of CPU time.
pub const HERTZ: u32 = 100;
/// How many callers are written down of each place.
const FRAMES: usize = 64;
/// Places that wait to be taken: two seconds of four processors.
const SLOTS: usize = 1024;
/// The handler itself, and what the kernel calls it through.
const OWN_FRAMES: usize = 2;

/// While this lives, the process is looked at. There is one at a time.
#[derive(Debug)]
pub struct Sampling(());

/// One place that waits, or room for one. Only the handler that has made it WRITING writes it, and only who takes samples
/// makes it FREE again.
struct Slot {
    state: AtomicU8,
    length: AtomicUsize,
    addresses: [AtomicUsize; FRAMES],
}

const FREE: u8 = 0;
const WRITING: u8 = 1;
const WRITTEN: u8 = 2;

/// Made once and never freed: a handler may still be running when sampling is over.
static SLOTS_OF_HANDLERS: OnceLock<Box<[Slot]>> = OnceLock::new();
static NEXT: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

impl Sampling {
    /// Begins.
    ///
    /// # Errors
    /// It has begun already, or a handler of signals cannot ask for callers on this host.
    pub fn start() -> io::Result<Self> {
        if !can_unwind_in_handlers() {
            let why = "the C library of this host cannot tell the callers of what a signal has interrupted";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        if IS_RUNNING.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "somebody else is profiling this process"));
        }
        SLOTS_OF_HANDLERS.get_or_init(|| (0..SLOTS).map(|_| Slot::new()).collect());
        let this = Self(());
        // What was left over is another profile's.
        this.take(|_| {});
        LOST.store(0, Ordering::Relaxed);
        // The first call of the unwinder finds its tables, which is nothing for a handler.
        Slot::new().fill();
        handle(interrupted as *const () as usize)?;
        every(HERTZ)?;
        Ok(this)
    }

    /// Gives each place that has been written down since the last time: addresses in the code, the innermost first, each
    /// of them in the instruction that was interrupted or has called.
    pub fn take(&self, mut sample: impl FnMut(&[u64])) {
        let mut addresses = Vec::with_capacity(FRAMES);
        for slot in SLOTS_OF_HANDLERS.get().into_iter().flatten() {
            if slot.state.load(Ordering::Acquire) != WRITTEN {
                continue;
            }
            let length = slot.length.load(Ordering::Relaxed);
            let written =
                slot.addresses.iter().take(length).skip(OWN_FRAMES).map(|it| it.load(Ordering::Relaxed) as u64);
            addresses.clear();
            // A caller's address is the one that it will return to.
            addresses.extend(written.enumerate().map(|(depth, address)| address - u64::from(depth > 0 && address > 0)));
            slot.state.store(FREE, Ordering::Release);
            sample(&addresses);
        }
    }

    /// How many places found no room.
    pub fn lost(&self) -> u64 {
        LOST.load(Ordering::Relaxed)
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // Neither fails: both have been done before. A signal that is still on its way is ignored.
        let _ = every(0);
        let _ = handle(libc::SIG_IGN);
        IS_RUNNING.store(false, Ordering::Release);
    }
}

impl Slot {
    fn new() -> Self {
        let (state, length) = (AtomicU8::new(FREE), AtomicUsize::new(0));
        Self { state, length, addresses: [const { AtomicUsize::new(0) }; FRAMES] }
    }

    /// Writes down who has called this. It is a part of its caller, which is what [`OWN_FRAMES`] counts on.
    #[inline(always)]
    fn fill(&self) {
        self.length.store(0, Ordering::Relaxed);
        // SAFETY: the callback is given this slot, which outlives the call, and a context that it only reads.
        unsafe { _Unwind_Backtrace(caller, std::ptr::from_ref(self).cast_mut().cast()) };
    }
}

/// Runs wherever the process happens to be, so that it neither allocates nor locks, nor waits.
extern "C" fn interrupted(_: c_int) {
    // SAFETY: the place of this thread's error is always there; what was interrupted may be about to read it.
    let error = unsafe { *libc::__errno_location() };
    let slots = SLOTS_OF_HANDLERS.get().map_or(&[][..], |slots| slots);
    let slot = slots.get(NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS);
    let claimed =
        slot.filter(|slot| slot.state.compare_exchange(FREE, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok());
    match claimed {
        Some(slot) => {
            slot.fill();
            slot.state.store(WRITTEN, Ordering::Release);
        }
        None => {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = error };
}

extern "C" fn caller(context: *mut c_void, slot: *mut c_void) -> c_int {
    const GO_ON: c_int = 0;
    const STOP: c_int = 4;
    // SAFETY: it is the slot that `fill` has given.
    let slot = unsafe { &*slot.cast::<Slot>() };
    let at = slot.length.load(Ordering::Relaxed);
    let Some(address) = slot.addresses.get(at) else { return STOP };
    // SAFETY: the unwinder has given this context, for the time of this call.
    address.store(unsafe { _Unwind_GetIP(context) }, Ordering::Relaxed);
    slot.length.store(at + 1, Ordering::Relaxed);
    GO_ON
}

// SAFETY: these are their signatures in the ABI of C++.
unsafe extern "C" {
    /// Part of the C++ ABI, which Rust's panics use as well.
    fn _Unwind_Backtrace(each: extern "C" fn(*mut c_void, *mut c_void) -> c_int, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// The unwinder looks for the tables of a function by this one, which may be called in handlers, where it is there (glibc
/// 2.35); before, it took a lock that what was interrupted may hold.
fn can_unwind_in_handlers() -> bool {
    // SAFETY: it looks for a name, which ends with a zero.
    !unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) }.is_null()
}

fn handle(handler: usize) -> io::Result<()> {
    // SAFETY: all of it being zero is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is a whole one, and its handler may run anywhere.
    told(unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) })
}

/// So many signals for each second of CPU time; 0 for none.
fn every(hertz: u32) -> io::Result<()> {
    let interval = libc::timeval { tv_sec: 0, tv_usec: 1_000_000_u32.checked_div(hertz).unwrap_or(0).into() };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: the timer is a whole one, and nobody wants the old one.
    told(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) })
}

fn told(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something to be found at.
    #[inline(never)]
    fn busy(work: &AtomicU64) {
        for _ in 0..1_000_000 {
            work.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where the code of this program is.
    fn own_code() -> Vec<std::ops::Range<u64>> {
        let (program, maps) = (std::env::current_exe().unwrap(), std::fs::read_to_string("/proc/self/maps").unwrap());
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let own = maps.lines().filter(|line| line.contains(" r-xp ") && line.ends_with(program.to_str().unwrap()));
        own.map(|line| line.split_once(' ').unwrap().0.split_once('-').unwrap())
            .map(|(begin, end)| number(begin)..number(end))
            .collect()
    }

    #[test]
    fn what_runs_is_found_with_its_callers_and_one_alone_may_look() {
        let sampling = Sampling::start().unwrap();
        assert_eq!(Sampling::start().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let (work, mut found) = (AtomicU64::new(0), 0);
        let begin = busy as *const () as u64;
        let own = own_code();
        // As long as it takes: time of the processor is what counts.
        while found < 5 {
            busy(&work);
            sampling.take(|addresses| {
                // It is the innermost, or what it has called is, which is not made a part of it in all builds.
                let is_it = |address: &u64| (begin..begin + 4096).contains(address);
                if addresses.len() > 2 && addresses.iter().take(4).any(is_it) {
                    found += 1;
                    assert!(own.iter().any(|code| code.contains(&addresses[0])), "the innermost is none of ours");
                }
            });
        }
        drop(sampling);
        drop(Sampling::start().unwrap());
    }
}
