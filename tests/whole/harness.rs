//! What the cases rely on without saying so.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use steeple_tests::{Daemon, case, until};

#[test]
fn ends_what_a_daemon_started_together_with_it() -> Result<()> {
    case(async |scratch| {
        let log = scratch.path().join("parent.log");
        let mut parent =
            Daemon::start("parent", Path::new("/bin/sh"), &["-c", "sleep 1000 & echo child $!; wait"], &log)?;
        let line = parent.line("child ").await?;
        // A process that is no more, reaped or not, has no executable.
        let executable = Path::new("/proc").join(line.trim().trim_start_matches("child ")).join("exe");
        ensure!(fs::read_link(&executable).is_ok());
        drop(parent);
        until("the end of the child", async || fs::read_link(&executable).is_err().then_some(())).await
    })
}

#[test]
fn says_so_when_a_daemon_ends_without_what_is_waited_for() -> Result<()> {
    case(async |scratch| {
        let log = scratch.path().join("short.log");
        let mut short = Daemon::start("short", Path::new("/bin/sh"), &["-c", "echo ready; exit 3"], &log)?;
        short.line("ready").await?;
        let error = short.line("never").await.err().context("it waited in vain")?;
        assert_eq!(error.to_string(), "short ended (exit status: 3) without a line with \"never\"");
        assert_eq!(short.exit().await?.code(), Some(3));
        Ok(())
    })
}
