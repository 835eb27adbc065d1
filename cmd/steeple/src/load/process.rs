//! The process under load, as the kernel accounts for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use tokio::net::UnixStream;

use super::advice;

/// A process that answers the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// The name of its program.
    pub(super) name: String,
}

/// What it has used up to some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// On a processor, as user and in the kernel, all its threads since it began: what `/proc/PID/stat` has as `utime`
    /// and `stime`, but in nanoseconds instead of hundredths of a second.
    pub(super) cpu: Duration,
    /// `VmRSS`, bytes.
    pub(super) resident: u64,
    /// `VmHWM`, bytes: the most that was ever resident.
    pub(super) peak: u64,
}

impl Process {
    /// The process with this number, or the one that listens on the socket.
    ///
    /// # Errors
    /// Nobody listens there, or there is no such process; the text says what to do.
    pub(super) async fn find(pid: Option<i32>, socket: &Path, daemon: advice::Daemon) -> Result<Self> {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.map_err(|error| advice::cannot_connect(&error, socket, daemon))?;
        let pid = match pid {
            Some(pid) => pid,
            None => listener(&stream).with_context(|| {
                format!("cannot tell which process listens on {}; say it with -pid", socket.display())
            })?,
        };
        Self::of(pid)
    }

    /// The process with this number.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of(pid: i32) -> Result<Self> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        let name = name.with_context(|| format!("there is no process {pid} on this host"))?.trim_end().to_owned();
        let process = Self { pid, name };
        process.usage()?;
        Ok(process)
    }

    /// What it has used up to now.
    ///
    /// # Errors
    /// It has ended, or the kernel does not tell.
    pub(super) fn usage(&self) -> Result<Usage> {
        let Self { pid, name } = self;
        let ended = || format!("{name} (pid {pid}), the process under load, has ended; its log says why");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(ended)?;
        let clock = clock_getcpuclockid(Pid::from_raw(*pid)).with_context(ended)?;
        let cpu = Duration::from(clock_gettime(clock).with_context(ended)?);
        let bytes = |key| bytes_of(&status, key).with_context(|| format!("{name} (pid {pid}) has no {key}"));
        Ok(Usage { cpu, resident: bytes("VmRSS")?, peak: bytes("VmHWM")? })
    }
}

/// Who called `listen`, as this process's namespace counts.
fn listener(stream: &UnixStream) -> Result<i32> {
    match stream.peer_cred()?.pid() {
        Some(pid) if pid > 0 => Ok(pid),
        _ => bail!("it runs in another PID namespace"),
    }
}

/// A line of `/proc/PID/status`, which counts in kibibytes.
fn bytes_of(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn the_process_behind_a_socket_is_the_one_that_listens() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let process = Process::find(None, &socket, advice::Daemon::Agent).await.unwrap();
        assert_eq!(process.pid, i32::try_from(std::process::id()).unwrap());
        let usage = process.usage().unwrap();
        assert!(usage.resident > 1 << 20 && usage.peak >= usage.resident, "{usage:?}");
    }

    #[tokio::test]
    async fn cpu_time_grows_with_what_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let process = Process::find(None, &socket, advice::Daemon::Agent).await.unwrap();
        let before = process.usage().unwrap();
        let mut sum = 0_u64;
        while process.usage().unwrap().cpu < before.cpu + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    }

    #[tokio::test]
    async fn a_process_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        // Above every `pid_max`.
        let error = Process::find(Some(1 << 30), &socket, advice::Daemon::Agent).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no process 1073741824 on this host");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tVmRSS\nVmHWM:\t   2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!((bytes_of(status, "VmRSS"), bytes_of(status, "VmHWM")), (Some(12 << 10), Some(2 << 20)));
        assert_eq!(bytes_of(status, "VmSwap"), None);
    }
}
