//! Signals other than those that stop a daemon.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use steeple_tests::{Domain, Installation, case, until};

/// As logrotate does it: the file is moved away, and the daemon told to open its log anew.
#[test]
fn a_log_that_is_moved_away_is_opened_anew_and_no_signal_ends_a_daemon() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        let (of_server, of_agent) = (scratch.path().join("server.out"), scratch.path().join("agent.out"));
        logging_to(&domain.server, "server", &of_server)?;
        logging_to(&agent, "agent", &of_agent)?;
        domain.server.start().await?;
        agent.start().await?;
        has(&of_server, "Starting Server APIs").await?;
        has(&of_agent, "Starting agent APIs").await?;

        for (daemon, log) in [(&mut *domain.server, &of_server), (&mut *agent, &of_agent)] {
            let moved = moved(log);
            fs::rename(log, &moved)?;
            daemon.process()?.signal(Signal::SIGUSR1)?;
            // Until it is told, it writes on where it wrote.
            has(&moved, "Reconfigure signal received").await?;
            ensure!(!log.exists(), "{} is there already", log.display());
            daemon.process()?.signal(Signal::SIGUSR2)?;
            until("the new file", async || log.exists().then_some(())).await?;
            daemon.process()?.signal(Signal::SIGUSR1)?;
            has(log, "Reconfigure signal received").await?;
            ensure!(daemon.process()?.exited()?.is_none(), "a signal has ended it");
            daemon.healthy().await?;
        }
        Ok(())
    })
}

fn logging_to(daemon: &Installation, section: &str, file: &Path) -> Result<()> {
    let (head, key) = (format!("{section} {{\n"), format!("    log_file = \"{}\"\n", file.display()));
    daemon.reconfigure(|text| text.replacen(&head, &format!("{head}{key}"), 1)).map(drop)
}

fn moved(log: &Path) -> PathBuf {
    log.with_extension("1")
}

async fn has(log: &Path, text: &str) -> Result<()> {
    let there = async || fs::read_to_string(log).is_ok_and(|log| log.contains(text)).then_some(());
    until(&format!("{text:?} in {}", log.display()), there).await
}
