//! With real processes. Each is this program again, started to play a part ([`plays_a_part`]): it connects, says so, and
//! does what it is there for when it is told to.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use steeple_testkit::report::{cannot_run_here, say};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

/// Both ways to get hold of a process, so far as this kernel has them.
type Hold = fn(&UnixStream, i32) -> Result<OwnedFd, PeerError>;

async fn ways() -> Vec<(&'static str, Hold)> {
    let (one, _other) = UnixStream::pair().unwrap();
    let by_number: Hold = |_, pid| open_pidfd(pid, start_time);
    let mut ways = vec![("pidfd_open", by_number)];
    match peer_pidfd(&one) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            say("tried in one way alone: peers of a socket: this kernel has no SO_PEERPIDFD");
        }
        _ => ways.push(("SO_PEERPIDFD", |stream, _| Ok(peer_pidfd(stream)?))),
    }
    ways
}

/// Not a test of its own, but what the processes do that the tests start.
#[test]
fn plays_a_part() {
    let Some(part) = std::env::var_os("STEEPLE_TEST_PART") else { return };
    let path = std::env::var_os("STEEPLE_TEST_CONNECT_TO").unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    match part.to_str().unwrap() {
        "leave" => {
            // As its standard input and output, the child inherits the socket and outlives this process; it ends when the
            // test closes the other end.
            let input = OwnedFd::from(stream.try_clone().unwrap());
            drop(Command::new("cat").stdin(input).stdout(OwnedFd::from(stream)).spawn().unwrap());
        }
        // SAFETY: the fork calls the system alone, and ends without having come back here.
        "fork" => match unsafe { libc::fork() } {
            0 => {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                // SAFETY: as above.
                unsafe { libc::_exit(0) }
            }
            child => assert!(child > 0),
        },
        "execute" => {
            let input = OwnedFd::from(stream.try_clone().unwrap());
            let error = Command::new("cat").stdin(input).stdout(OwnedFd::from(stream)).exec();
            panic!("{error}");
        }
        "change user" => {
            nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
            stream.write_all(b"!").unwrap();
            std::io::stdin().read_exact(&mut [0]).unwrap();
        }
        part => panic!("there is no part {part}"),
    }
}

/// A process that has connected, and our end of its connection.
struct Actor {
    child: Child,
    stream: UnixStream,
    _dir: TempDir,
}

impl Actor {
    async fn new(part: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "os::peer::tests::plays_a_part"])
            .env("STEEPLE_TEST_PART", part)
            .env("STEEPLE_TEST_CONNECT_TO", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        Self { child, stream, _dir: dir }
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// What somebody at the other end sends back.
    async fn echo(&mut self) -> bool {
        let mut byte = [0];
        self.stream.write_all(b"?").await.is_ok() && self.stream.read_exact(&mut byte).await.is_ok()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_peer_is_this_process_and_lives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    for (way, hold) in ways().await {
        let peer = Peer::held(&stream, hold).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32, "{way}");
        peer.check().unwrap();
    }
    assert_eq!(Peer::of(&stream).unwrap().pid, std::process::id() as i32);
}

/// Open in a process that it has started, or in a fork of its own, which is the same program.
#[tokio::test]
async fn a_peer_that_ends_is_noticed_though_its_socket_stays_open() {
    let ways = ways().await.into_iter();
    for (way, hold, part) in ways.flat_map(|(way, hold)| [(way, hold, "leave"), (way, hold, "fork")]) {
        let mut actor = Actor::new(part).await;
        let peer = Peer::held(&actor.stream, hold).unwrap();
        peer.check().unwrap();
        actor.go_on();
        peer.ended().await;
        assert!(matches!(peer.check(), Err(PeerError::Ended)), "{way}, {part}");
        assert!(actor.echo().await, "{way}, {part}: somebody else holds the socket, and answers");
        assert!(matches!(peer.check(), Err(PeerError::Ended)), "{way}, {part}");
        // Nor does a later look give whoever holds it the identity of the one that is gone.
        actor.child.wait().unwrap();
        assert!(
            matches!(Peer::held(&actor.stream, hold), Err(PeerError::Ended | PeerError::System(_))),
            "{way}, {part}"
        );
        assert!(matches!(Peer::of(&actor.stream), Err(PeerError::Ended)), "{way}, {part}");
    }
}

#[tokio::test]
async fn a_peer_that_executes_another_program_stays_the_same_process() {
    for (way, hold) in ways().await {
        let mut actor = Actor::new("execute").await;
        let peer = Peer::held(&actor.stream, hold).unwrap();
        let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let before = program(peer.pid);
        actor.go_on();
        assert!(actor.echo().await);
        assert_ne!(program(peer.pid), before, "{way}");
        peer.check().unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_changes_its_user_is_refused_from_then_on() {
    if !nix::unistd::Uid::effective().is_root() {
        return cannot_run_here("a peer that changes its user", "only root can").unwrap();
    }
    for (way, hold) in ways().await {
        let mut actor = Actor::new("change user").await;
        let peer = Peer::held(&actor.stream, hold).unwrap();
        assert_eq!(peer.uid, 0);
        peer.check().unwrap();
        actor.go_on();
        let mut byte = [0];
        actor.stream.read_exact(&mut byte).await.unwrap();
        assert!(matches!(peer.check(), Err(PeerError::OwnerChanged)), "{way}");
        // The connection was made by another user than the process has now, whenever that is looked at.
        assert!(matches!(Peer::held(&actor.stream, hold), Err(PeerError::OwnerChanged)), "{way}");
    }
}

/// The number of a process that has ended, in the hands of another one that lives, under the same user: this one.
#[tokio::test]
async fn a_number_that_is_used_again_inherits_nothing() {
    let mut child = Command::new("true").spawn().unwrap();
    let process = open_pidfd(child.id() as i32, start_time).unwrap();
    child.wait().unwrap();
    let (uid, gid) = owner_of(std::process::id() as i32).unwrap();
    // SAFETY: as in `Peer::held`.
    let process = unsafe { AsyncFd::register(process) }.unwrap();
    let peer = Peer { pid: std::process::id() as i32, uid, gid, process };
    peer.ended().await;
    assert!(matches!(peer.check(), Err(PeerError::Ended)));
}

#[test]
fn a_kernel_that_knows_the_peer_to_be_gone_is_believed() {
    let own = std::process::id() as i32;
    for code in [libc::ESRCH, libc::EINVAL] {
        let said = given_or_opened(Err(io::Error::from_raw_os_error(code)), own);
        assert!(matches!(said, Err(PeerError::Ended)), "{code}");
    }
    let said = given_or_opened(Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT)), own);
    assert!(said.is_ok(), "an older kernel");
    let said = given_or_opened(Err(io::Error::from_raw_os_error(libc::EMFILE)), own);
    assert!(matches!(said, Err(PeerError::System(_))));
}

#[test]
fn a_process_that_started_while_it_was_opened_is_another() {
    let own = std::process::id() as i32;
    let mut times = [1, 2].into_iter();
    let opened = open_pidfd(own, |_| Ok(times.next().unwrap()));
    assert!(matches!(opened, Err(PeerError::Ended)));
    assert!(open_pidfd(own, |_| Ok(1)).is_ok());
    assert!(matches!(open_pidfd(i32::MAX, start_time), Err(PeerError::Ended)));
}

#[test]
fn the_start_time_of_this_process_is_stable() {
    let pid = std::process::id() as i32;
    assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
    assert!(start_time(pid).unwrap() > 0);
}
