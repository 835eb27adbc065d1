//! Lines that a reader of the run must see even when all is well.

use std::env;
use std::io::{Write, stderr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Says `line` at once. The test harness holds back what passing cases print through macros; this goes past it, so that
/// figures, seeds and what did not run stand in the log of every run.
pub fn say(line: &str) {
    // One write, so that lines of parallel cases do not mix. A closed stderr is no reason to fail a case.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says that `name` needs something that this machine lacks. Nothing is skipped silently.
///
/// # Errors
/// Under `CI=true` everything must run.
pub fn cannot_run_here(name: &str, reason: &str) -> Result<()> {
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("cannot run here: {name}: {reason}");
    }
    say(&format!("cannot run here: {name}: {reason}"));
    Ok(())
}

/// Says that the reference does not do what `name` asks for, with a running count.
pub fn skipped_on_the_reference(name: &str, reason: &str) {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    say(&format!("skipped on the reference ({count} so far): {name}: {reason}"));
}
