//! What the cases rely on without saying so.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

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

#[test]
fn fails_a_case_that_has_not_noticed_a_daemons_panic() {
    let unnoticed = |said: &str| {
        case(async |scratch| Ok(fs::write(scratch.folder()?.join("server.log"), format!("started\n{said}\nended\n"))?))
    };
    assert!(unnoticed("all is well").is_ok());
    let error = unnoticed("thread 'main' panicked at src/main.rs:1:1:").unwrap_err().to_string();
    assert!(error.ends_with("server.log: thread 'main' panicked at src/main.rs:1:1:"), "{error}");
}

/// `make test` must not find out after a quarter of an hour that it cannot have Go.
#[test]
fn says_at_once_that_go_is_missing_and_cannot_be_installed() -> Result<()> {
    case(async |scratch| {
        let bin = scratch.path().join("bin");
        fs::create_dir(&bin)?;
        let path = env::var_os("PATH").context("no PATH")?;
        for name in ["bash", "cut", "dirname", "head", "sed", "sort"] {
            let mut found = env::split_paths(&path).map(|dir| dir.join(name));
            symlink(found.find(|path| path.is_file()).context(name)?, bin.join(name))?;
        }
        let script = |name: &str, text: &str| {
            fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n"))?;
            fs::set_permissions(bin.join(name), Permissions::from_mode(0o755))
        };
        script("cargo", "")?;
        script("cc", "")?;
        script("rustc", "echo rustc 99.0.0")?;
        script("id", "echo 1000")?;
        let told = || -> Result<_> {
            let mut tools = Command::new(bin.join("bash"));
            tools.args([concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/tools"), "test"]);
            let output = tools.env_clear().env("PATH", &bin).env("HOME", scratch.path()).output()?;
            Ok((output.status.code(), String::from_utf8(output.stderr)?))
        };

        let (code, text) = told()?;
        let by_hand = "Missing: golang-go. Install it by hand; this machine has no apt-get.\n";
        ensure!(code == Some(1) && text.ends_with(by_hand), "{code:?}: {text}");
        script("apt-get", "")?;
        let (code, text) = told()?;
        let by_root = "Missing: golang-go. As root: apt-get install golang-go\n";
        ensure!(code == Some(1) && text.ends_with(by_root), "{code:?}: {text}");
        // With somebody to ask for root, it will be installed.
        script("sudo", "")?;
        let (code, text) = told()?;
        ensure!(code == Some(0) && text.contains("This will install"), "{code:?}: {text}");
        Ok(())
    })
}
