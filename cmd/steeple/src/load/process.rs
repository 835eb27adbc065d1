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

/// The process under load, and those whose work is told beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Processes {
    pub(super) under_load: Process,
    pub(super) others: Vec<Process>,
}

/// What they have used up to some moment.
#[derive(Debug, Clone)]
pub(super) struct Usages {
    pub(super) under_load: Usage,
    /// CPU time of the others in their order, each with its children.
    pub(super) others: Vec<Duration>,
}

impl Processes {
    /// What they have used up to now.
    ///
    /// # Errors
    /// One of them has ended, or the kernel does not tell.
    pub(super) fn usages(&self) -> Result<Usages> {
        let others = self.others.iter().map(Process::cpu_with_children).collect::<Result<_>>()?;
        Ok(Usages { under_load: self.under_load.usage()?, others })
    }
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
        let cpu = cpu(*pid).with_context(ended)?;
        let bytes = |key| bytes_of(&status, key).with_context(|| format!("{name} (pid {pid}) has no {key}"));
        Ok(Usage { cpu, resident: bytes("VmRSS")?, peak: bytes("VmHWM")? })
    }

    /// CPU time with that of all who descend from it; of those that have ended, in hundredths of a second.
    fn cpu_with_children(&self) -> Result<Duration> {
        let Self { pid, name } = self;
        let mut sum = Duration::ZERO;
        let mut family = vec![*pid];
        while let Some(member) = family.pop() {
            // A child may end between two looks, and is with its parent's then.
            match cpu(member) {
                Ok(used) => sum += used + reaped(member).unwrap_or_default(),
                Err(error) if member == *pid => {
                    return Err(error).with_context(|| format!("{name} (pid {pid}) has ended"));
                }
                Err(_) => {}
            }
            family.extend(children(member));
        }
        Ok(sum)
    }
}

fn cpu(pid: i32) -> nix::Result<Duration> {
    Ok(clock_gettime(clock_getcpuclockid(Pid::from_raw(pid))?)?.into())
}

/// Those that live. Each thread has a list of those that it has made.
fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>()).collect()
}

/// CPU time of children that have ended: `cutime` and `cstime` of `/proc/PID/stat`.
fn reaped(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have spaces and parentheses in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = rest.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 10))
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
    fn the_work_of_children_is_counted_with_their_parent_while_they_live_and_after() {
        let this = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let before = this.cpu_with_children().unwrap();
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let its = || cpu(i32::try_from(child.id()).unwrap()).unwrap();
        while its() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        let living = this.cpu_with_children().unwrap();
        let used = its();
        child.kill().unwrap();
        child.wait().unwrap();
        // Its own count may round down.
        let ended = this.cpu_with_children().unwrap();
        assert!(living - before >= Duration::from_millis(50), "{living:?} after {before:?}");
        assert!(ended - before + Duration::from_millis(20) >= used, "{ended:?} after {before:?}, {used:?}");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tVmRSS\nVmHWM:\t   2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!((bytes_of(status, "VmRSS"), bytes_of(status, "VmHWM")), (Some(12 << 10), Some(2 << 20)));
        assert_eq!(bytes_of(status, "VmSwap"), None);
    }
}
