//! Lines that a reader of the run must see even when all is well.

use std::env;
use std::io::{Write, stderr};
use std::sync::atomic::{AtomicU32, Ordering};

/// Says `line` at once. The test harness holds back what passing tests print through macros; this goes past it, so that
/// figures, seeds and what did not run stand in the log of every run.
pub fn say(line: &str) {
    // One write, so that lines of parallel tests do not mix. A closed stderr is no reason to fail a test.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says that `name` needs something that this machine lacks, with a running count. Nothing is skipped silently.
///
/// # Errors
/// Under `CI=true` everything must run.
pub fn cannot_run_here(name: &str, reason: &str) -> Result<(), String> {
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(format!("cannot run here: {name}: {reason}"));
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    say_counted(&COUNT, "cannot run here", name, reason);
    Ok(())
}

/// Says that the reference does not do what `name` asks for, with a running count.
pub fn skipped_on_the_reference(name: &str, reason: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    say_counted(&COUNT, "skipped on the reference", name, reason);
}

fn say_counted(count: &AtomicU32, what: &str, name: &str, reason: &str) {
    let count = count.fetch_add(1, Ordering::Relaxed) + 1;
    say(&format!("{what} ({count} so far): {name}: {reason}"));
}
