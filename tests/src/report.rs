use anyhow::{Error, Result};
use steeple_testkit::report;

/// [`report::cannot_run_here`]
///
/// # Errors
/// Under `CI=true` everything must run.
pub fn cannot_run_here(name: &str, reason: &str) -> Result<()> {
    report::cannot_run_here(name, reason).map_err(Error::msg)
}
