//! Waiting for events. Nothing here sleeps for a fixed time: it looks until it sees, and gives up late.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use steeple_runtime::Clock;

/// How long any one event may take. Generous, because the machine may be busy; a case that passes never waits it out.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Between two looks.
pub const POLL: Duration = Duration::from_millis(15);

/// The first `Some` that `look` gives.
///
/// # Errors
/// [`DEADLINE`] passed; the error names `what`.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(seen) = look().await {
            return Ok(seen);
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("waited {} s in vain for {what}", DEADLINE.as_secs())
}

/// What `work` gives.
///
/// # Errors
/// It takes longer than [`DEADLINE`]; the error names `what`.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    let waited = || format!("waited {} s in vain for {what}", DEADLINE.as_secs());
    tokio::time::timeout(DEADLINE, work).await.with_context(waited)
}

/// Waits until the wall clock, by which things end, has passed a moment.
///
/// # Errors
/// [`DEADLINE`] passed; the error names `what`.
pub async fn passed(what: &str, end: SystemTime) -> Result<()> {
    until(what, async || (Clock::system().now() > end).then_some(())).await
}
