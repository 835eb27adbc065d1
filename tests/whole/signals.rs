//! Signals other than those that stop a daemon.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use steeple_tests::{Domain, Installation, case, skipped_on_the_reference, until};

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

/// A configuration that comes through a pipe holds a start up for as long as the case likes.
#[test]
fn a_signal_that_comes_before_a_daemon_has_read_its_configuration_does_not_end_it_and_is_not_lost() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        for daemon in [&mut *domain.server, &mut *agent] {
            if daemon.program.is_reference {
                skipped_on_the_reference("a signal while the configuration is read", "it ends");
                return Ok(());
            }
            let text = fs::read(&daemon.conf)?;
            fs::remove_file(&daemon.conf)?;
            mkfifo(&daemon.conf, Mode::S_IRUSR | Mode::S_IWUSR)?;
            daemon.launch(&[])?;
            // There is no writer without a reader.
            let open = || File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&daemon.conf).ok();
            let mut pipe = until("a daemon that reads its configuration", async || open()).await?;
            for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
                daemon.process()?.signal(signal)?;
            }
            pipe.write_all(&text)?;
            drop(pipe);
            daemon.process()?.line("Reconfigure signal received").await?;
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
