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
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().filter(|pid| *pid > 0).ok_or(PeerError::OtherNamespace)?;
        let process = match peer_pidfd(stream) {
            Ok(process) => process,
            Err(error) if is_unsupported(&error) => open_pidfd(pid)?,
            // The peer has gone before it was asked for.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(PeerError::Ended),
            Err(error) => return Err(error.into()),
        };
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

/// The user and group that own `/proc/PID`: the effective ones, or root's when the process hides its memory.
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

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EINVAL))
}

/// For kernels without SO_PEERPIDFD. The pid may have been reused between the connection and now; a process that has
/// started in between shows by a start time that differs before and after the pidfd was opened.
fn open_pidfd(pid: i32) -> Result<OwnedFd, PeerError> {
    let before = start_time(pid)?;
    let raw = Pid::from_raw(pid).ok_or(PeerError::OtherNamespace)?;
    let process = pidfd_open(raw, PidfdFlags::empty()).map_err(io::Error::from)?;
    if start_time(pid)? != before {
        return Err(PeerError::Ended);
    }
    Ok(process)
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
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_is_this_process_and_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let peer = Peer::of(&stream).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        peer.check().unwrap();
    }

    /// Not a test of its own: the process that the next test starts, by the name of this function.
    #[test]
    #[allow(clippy::zombie_processes, reason = "the child is to outlive this process")]
    fn connects_and_leaves_its_socket_to_a_child() {
        let Some(path) = std::env::var_os("STEEPLE_TEST_CONNECT_TO") else { return };
        let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        // As its standard input, the child inherits the socket and outlives this process.
        std::process::Command::new("sleep").arg("20").stdin(OwnedFd::from(stream)).spawn().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_ends_is_noticed_though_its_socket_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "os::peer::tests::connects_and_leaves_its_socket_to_a_child"])
            .env("STEEPLE_TEST_CONNECT_TO", &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        match Peer::of(&stream) {
            Ok(peer) => {
                peer.ended().await;
                assert!(matches!(peer.check(), Err(PeerError::Ended)));
            }
            Err(error) => assert!(matches!(error, PeerError::Ended | PeerError::System(_)), "{error}"),
        }
        child.wait().unwrap();
    }

    #[test]
    fn the_start_time_of_this_process_is_stable() {
        let pid = std::process::id() as i32;
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
        assert!(open_pidfd(pid).is_ok());
    }
}
