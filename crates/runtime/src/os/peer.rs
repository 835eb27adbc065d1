//! Who is at the other end of a Unix socket, as the kernel says it.
//!
//! A connection's identity is that of the process that made it. The process is held by a pidfd, which no later process
//! can take over: a reused pid never inherits an identity.

#![allow(unsafe_code, reason = "neither SO_PEERPIDFD nor waiting on a foreign descriptor has a safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

/// The process that made a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its process id, as this process's namespace counts.
    pub pid: i32,
    /// Its effective user id when it connected.
    pub uid: u32,
    /// Its effective group id when it connected.
    pub gid: u32,
    process: AsyncFd<OwnedFd>,
}

/// Why a peer is not (or no longer) known.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The process lives in a pid namespace that this one cannot see into.
    #[error("unable to resolve caller PID: it runs in another PID namespace")]
    OtherNamespace,
    /// The process that made the connection has ended.
    #[error("caller exit detected: the process that made the connection has ended")]
    Ended,
    /// The process now runs under another user or group than when it connected.
    #[error("caller exit suspected: the process's user or group has changed since it connected")]
    OwnerChanged,
    /// The system refused to tell.
    #[error("unable to look up the caller: {0}")]
    System(#[from] io::Error),
}

impl Peer {
    /// Asks the kernel who made this connection.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn of(stream: &UnixStream) -> Result<Self, PeerError> {
        Self::held(stream, |stream, pid| given_or_opened(peer_pidfd(stream), pid))
    }

    /// With what gets hold of the process.
    fn held(
        stream: &UnixStream,
        hold: impl FnOnce(&UnixStream, i32) -> Result<OwnedFd, PeerError>,
    ) -> Result<Self, PeerError> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().filter(|pid| *pid > 0).ok_or(PeerError::OtherNamespace)?;
        let process = hold(stream, pid)?;
        // SAFETY: an OwnedFd names one descriptor and keeps it open; the AsyncFd owns it and gives it to nobody.
        let process = unsafe { AsyncFd::register(process) }.map_err(io::Error::from)?;
        let peer = Self { pid, uid: credentials.uid(), gid: credentials.gid(), process };
        peer.check()?;
        Ok(peer)
    }

    /// Whether the process still runs, under the user and group that it connected with. To be called after reading
    /// anything from /proc: what was read belongs to this process only if it still runs afterwards.
    ///
    /// # Errors
    /// [`PeerError::Ended`] or [`PeerError::OwnerChanged`].
    pub fn check(&self) -> Result<(), PeerError> {
        let owner = owner_of(self.pid);
        if has_ended(self.process.get_ref())? {
            return Err(PeerError::Ended);
        }
        match owner {
            Ok(owner) if owner == (self.uid, self.gid) => Ok(()),
            Ok(_) => Err(PeerError::OwnerChanged),
            Err(error) => Err(error.into()),
        }
    }

    /// The program that the process runs.
    ///
    /// # Errors
    /// It may not be read, or the process has ended.
    pub fn executable(&self) -> Result<PathBuf, PeerError> {
        let path = std::fs::read_link(proc_dir().join(self.pid.to_string()).join("exe"))?;
        self.check()?;
        Ok(path)
    }

    /// Completes when the process has ended.
    pub async fn ended(&self) {
        // A pidfd turns readable when its process ends and stays so. An error of the reactor means that it shuts down.
        let _ = self.process.readable().await;
    }
}

/// The directory under which processes are described: `HOST_PROC`, else `/proc`.
pub fn proc_dir() -> PathBuf {
    std::env::var_os("HOST_PROC").filter(|dir| !dir.is_empty()).map_or_else(|| PathBuf::from("/proc"), PathBuf::from)
}

/// The user and group that own `/proc/PID`. The directory itself belongs to the effective ones also when the process hides
/// its memory (is not dumpable) and what is in it belongs to root.
fn owner_of(pid: i32) -> io::Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(format!("/proc/{pid}"))?;
    Ok((meta.uid(), meta.gid()))
}

fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut fds, Some(&now))? > 0)
}

/// The kernel's own handle of the peer, from Linux 6.5 on: free of any race.
fn peer_pidfd(stream: &UnixStream) -> io::Result<OwnedFd> {
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the length of the borrow, `fd` is writable for `length` bytes, and the kernel
    // writes at most that many.
    let result = unsafe {
        libc::getsockopt(
            stream.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the kernel has installed a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel gave, or what the number opens where the kernel cannot give it. A kernel that can, and says that there
/// is no process any more (ESRCH, before 6.16 EINVAL), is believed: the number may be another's by now.
fn given_or_opened(given: io::Result<OwnedFd>, pid: i32) -> Result<OwnedFd, PeerError> {
    match given {
        Ok(process) => Ok(process),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOPROTOOPT) => open_pidfd(pid, start_time),
            Some(libc::ESRCH | libc::EINVAL) => Err(PeerError::Ended),
            _ => Err(error.into()),
        },
    }
}

/// For kernels without SO_PEERPIDFD. The pid may have been reused between the connection and now; a process that has
/// started in between shows by a start time that differs before and after the pidfd was opened.
fn open_pidfd(pid: i32, mut start_time: impl FnMut(i32) -> io::Result<u64>) -> Result<OwnedFd, PeerError> {
    let before = start_time(pid).map_err(gone)?;
    let raw = Pid::from_raw(pid).ok_or(PeerError::OtherNamespace)?;
    let process = pidfd_open(raw, PidfdFlags::empty()).map_err(|error| gone(error.into()))?;
    if start_time(pid).map_err(gone)? != before {
        return Err(PeerError::Ended);
    }
    Ok(process)
}

/// A process that is not there has ended: it has been.
fn gone(error: io::Error) -> PeerError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => PeerError::Ended,
        _ => PeerError::System(error),
    }
}

/// Field 22 of /proc/PID/stat, in clock ticks since boot. The second field may hold spaces and parentheses.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
    after_name
        .and_then(|rest| rest.split_ascii_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed /proc/PID/stat"))
}

#[cfg(test)]
mod tests;
