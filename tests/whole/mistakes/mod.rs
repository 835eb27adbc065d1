//! Wrong input: each gives an error that names the thing, and nothing is lost by it.

mod configuration;
mod ids;
mod listening;
mod requests;
mod tokens;
mod unreachable;

use anyhow::{Result, ensure};
use steeple_tests::Daemon;

/// Waits until a daemon has ended with exit code 1 and a log that has all of these words.
pub(crate) async fn ends_with(process: &mut Daemon, words: &[&str]) -> Result<()> {
    let code = process.exit().await?.code();
    let log = process.log()?;
    ensure!(code == Some(1), "exit code {code:?}: {log}");
    for word in words {
        ensure!(log.contains(word), "no {word:?} in {log}");
    }
    Ok(())
}
