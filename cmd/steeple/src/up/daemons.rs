//! The server and the agent as processes: found, started, asked, watched and stopped.
//!
//! No process outlives this command, not even when it is killed: each is started through a step of this same program
//! that asks the kernel for a SIGKILL at its parent's death and then turns into the daemon ([`run_bound_to`]). The
//! kernel counts the death of the *thread* that started a process, so everything here runs on the main thread.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use steeple_runtime::Clock;
use tokio::process::{Child, Command};

/// The two programs.
pub(super) struct Programs {
    pub(super) server: PathBuf,
    pub(super) agent: PathBuf,
}

impl Programs {
    /// Looks beside the running executable, or in the directory that `STEEPLE_BIN` names. The reference's names will do:
    /// under them the daemons answer as it.
    pub(super) fn find() -> Result<Self> {
        let dir = match std::env::var_os("STEEPLE_BIN").filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => {
                let own = std::env::current_exe().context("cannot tell where this program lies")?;
                own.parent().map(Path::to_owned).unwrap_or_default()
            }
        };
        Self::find_in(&dir)
    }

    fn find_in(dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| format!("cannot look for the daemons in {}", dir.display()))?;
        let find = |part: &str| {
            let candidates = ["steeple", "spire"].map(|family| dir.join(format!("{family}-{part}")));
            candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
                let release = if dir.ends_with("release") { " --release" } else { "" };
                let build = format!("cargo build{release} -p steeple-server-cmd -p steeple-agent-cmd");
                anyhow!("there is no steeple-{part} in {}\nBuild it: {build}", dir.display())
            })
        };
        Ok(Self { server: find("server")?, agent: find("agent")? })
    }
}

/// The daemons that run.
#[derive(Default)]
pub(super) struct Daemons {
    pub(super) server: Option<Daemon>,
    pub(super) agent: Option<Daemon>,
}

impl Daemons {
    /// The result of `work`; an error as soon as one of the daemons ends.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Self { server, agent } = self;
        tokio::select! {
            biased;
            died = death_of(server) => Err(died),
            died = death_of(agent) => Err(died),
            done = work => done,
        }
    }

    /// Kills them.
    pub(super) async fn kill(&mut self) {
        let Self { server, agent } = self;
        for daemon in [agent, server].into_iter().flatten() {
            let _ = daemon.process.kill().await;
        }
    }
}

async fn death_of(daemon: &mut Option<Daemon>) -> anyhow::Error {
    match daemon {
        Some(daemon) => daemon.death().await,
        None => std::future::pending().await,
    }
}

/// A running daemon.
pub(super) struct Daemon {
    /// `server` or `agent`.
    name: &'static str,
    log: PathBuf,
    process: Child,
}

impl Daemon {
    /// Starts `program run -config FILE`; what it prints goes to `log`.
    pub(super) fn start(name: &'static str, program: &Path, config: &Path, log: PathBuf) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let process = bound(program)
            .args([OsStr::new("run"), OsStr::new("-config"), config.as_os_str()])
            .current_dir(config.parent().unwrap_or(Path::new("/")))
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name, log, process })
    }

    /// Its process id, unless it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Completes when it has ended, with what a person needs to know.
    async fn death(&mut self) -> anyhow::Error {
        let status = self.process.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        anyhow!("the {} ended by itself ({status}); the last lines of its log:\n{}", self.name, tail_of(&self.log))
    }

    /// Asks it to stop, and kills it when it does not.
    pub(super) async fn stop(&mut self, clock: &Clock) {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended just now; until it is waited for, the number is still its own.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            if clock.within(GRACE, self.process.wait()).await.is_none() {
                let _ = self.process.kill().await;
            }
        }
    }
}

/// Waits until the daemon behind a socket says that it is well, asking it again and again. Its log tells why it is not.
pub(super) async fn healthy(program: &Path, socket: &Path, log: &Path, clock: &Clock) -> Result<()> {
    let asking = async {
        while ask(program, &["healthcheck"], socket, clock).await.is_err() {
            clock.sleep(ASK_AGAIN).await;
        }
    };
    clock.within(START_LIMIT, asking).await.with_context(|| {
        let (program, limit, tail) = (program.display(), START_LIMIT.as_secs(), tail_of(log));
        format!("{program} is not healthy after {limit} s; the last lines of its log:\n{tail}")
    })
}

/// Runs one of a daemon's client commands on its socket and returns what it printed.
pub(super) async fn ask(program: &Path, command: &[&str], socket: &Path, clock: &Clock) -> Result<String> {
    let shown = || format!("`{} {}`", program.display(), command.join(" "));
    let mut process = bound(program);
    process.args(command).arg("-socketPath").arg(socket);
    let Some(output) = clock.within(ASK_LIMIT, process.output()).await else {
        bail!("{} gave no answer within {} s", shown(), ASK_LIMIT.as_secs());
    };
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The hidden command behind which a process is started: `PARENT PROGRAM [ARGUMENT]...`.
pub(crate) const BOUND_TO: &str = "bound-to";

/// Turns this process into the given program, to be killed by the kernel when the parent ends.
pub(crate) fn run_bound_to(args: &[OsString]) -> ExitCode {
    let error = match become_bound(args) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let _ = writeln!(io::stderr(), "{error:#}");
    ExitCode::FAILURE
}

fn become_bound(args: &[OsString]) -> Result<std::convert::Infallible> {
    let [parent, program, args @ ..] = args else { bail!("nothing to run") };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // In this order: a parent that ended before the kernel was asked is noticed here.
    if parent.to_str() != Some(&getppid().to_string()) {
        bail!("the parent has ended");
    }
    let error = std::process::Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}

/// The program as a process that does not outlive this one, and that the terminal's Ctrl-C does not reach: we stop it.
fn bound(program: &Path) -> Command {
    // Not by name, so that a new build under the same name changes nothing.
    let mut command = Command::new("/proc/self/exe");
    command.arg(BOUND_TO).arg(std::process::id().to_string()).arg(program);
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// The last lines of a log, indented.
pub(super) fn tail_of(log: &Path) -> String {
    let text = read_end(log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if last.is_empty() { "    (it is empty)".into() } else { format!("    {}", last.join("\n    ")) }
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How long a daemon may take to become healthy.
const START_LIMIT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a client command may take.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// How long a daemon may take to stop.
const GRACE: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_our_own_daemons_and_takes_the_references_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["spire-server", "spire-agent", "steeple-agent"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let Programs { server, agent } = Programs::find_in(dir.path()).unwrap();
        assert!(server.ends_with("spire-server") && agent.ends_with("steeple-agent"));
    }

    #[test]
    fn says_how_to_build_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let release = dir.path().join("release");
        fs::create_dir(&release).unwrap();
        let text = Programs::find_in(&release).err().unwrap().to_string();
        assert!(text.contains("cargo build --release -p steeple-server-cmd -p steeple-agent-cmd"), "{text}");
    }

    #[test]
    fn shows_the_end_of_a_log_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        fs::write(&log, text).unwrap();
        let tail = tail_of(&log);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("    line 19999"), "{tail}");
        fs::write(&log, "").unwrap();
        assert_eq!(tail_of(&log), "    (it is empty)");
    }
}
