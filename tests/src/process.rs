//! Daemons and commands as processes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::{env, fmt};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{wait, warden};

/// A process that stays, in a group of its own, with its output in a log file. Dropped, it is killed with all that it
/// started.
pub struct Daemon {
    name: String,
    child: Child,
    log: Log,
}

/// A log file from where one run began to write: a restarted daemon appends to the log of its last run.
#[derive(Clone)]
struct Log {
    path: PathBuf,
    start: u64,
}

impl Daemon {
    /// Starts `program` in the directory of `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, program: &Path, args: &[&str], log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let log = Log { path: log.to_owned(), start: output.metadata()?.len() };
        let mut command = hermetic(program, args);
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.current_dir(log.path.parent().unwrap_or(Path::new("/")));
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        warden::watch_group(child.id())?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not.
    pub async fn exit(&mut self) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, async || self.child.try_wait().transpose()).await?.context("cannot wait for a child")
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// It does not end, or has ended before.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.exit().await
    }

    /// Sends it a signal, and does not wait.
    ///
    /// # Errors
    /// It has ended before.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// What this run has written up to now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.log.read()
    }

    /// Waits for a line with `text` and returns the first one.
    ///
    /// # Errors
    /// It does not come, or the daemon ended without it.
    pub async fn line(&mut self, text: &str) -> Result<String> {
        let log = self.log.clone();
        self.until(&format!("a line with {text:?}"), async || {
            let written = log.read().ok()?;
            let mut whole_lines = written.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole_lines.find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// The first `Some` that `look` gives.
    ///
    /// # Errors
    /// It never does, or the daemon ended without it.
    pub async fn until<T>(&mut self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
        let (name, child) = (&self.name, &mut self.child);
        wait::until(&format!("{what} of {name}"), async || {
            // Looked up first: what it did before it ended counts.
            let ended = child.try_wait();
            match (look().await, ended) {
                (Some(seen), _) => Some(Ok(seen)),
                (None, Ok(Some(status))) => Some(Err(anyhow::anyhow!("{name} ended ({status}) without {what}"))),
                (None, _) => None,
            }
        })
        .await?
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Log {
    fn read(&self) -> Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The group, also when its leader has ended: what the leader started may live on. Nothing to tell when all are
        // gone.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = warden::release_group(self.child.id());
    }
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command as one types it.
    pub command: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
}

impl Output {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub async fn of(program: &Path, args: &[&str]) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let command = format!("{name} {}", args.join(" "));
        let mut process = tokio::process::Command::from(hermetic(program, args));
        process.stdin(Stdio::null()).kill_on_drop(true);
        let output = wait::within(&command, process.output())
            .await?
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            command,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        })
    }

    /// The standard output of a command that succeeded.
    ///
    /// # Errors
    /// It failed.
    pub fn ok(self) -> Result<String> {
        if self.code == 0 { Ok(self.stdout) } else { bail!("failed: {self}") }
    }

    /// The standard output of a command that succeeded, read as JSON.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn json(self) -> Result<Value> {
        let command = self.command.clone();
        serde_json::from_str(&self.ok()?).with_context(|| format!("no JSON from {command}"))
    }

    /// All that a command printed that refused with exit code 1.
    ///
    /// # Errors
    /// It ended with another code.
    pub fn refused(self) -> Result<String> {
        if self.code == 1 { Ok(format!("{}{}", self.stdout, self.stderr)) } else { bail!("should refuse: {self}") }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, stdout, stderr, code } = self;
        write!(f, "{command}\nexit code {code}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// A command that does not see the variables by which the caller's shell could redirect a daemon or its command line.
fn hermetic(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    for (name, _) in env::vars_os() {
        if ["SPIRE_", "SPIFFE_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}
