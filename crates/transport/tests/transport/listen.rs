//! Sockets: whose they are, what stands in their way, and who cannot hold up others.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use steeple_testkit::{Ca, ManualClock};
use steeple_transport::connection::Connection;
use steeple_transport::listen::{ListenError, Port, Proxies, TlsListener, Tracking, UnixListener, UnixSocket};
use steeple_transport::tls::{Expect, client_config, server_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use crate::{HOUR, Members, world};

/// What is left of a connection when it is accepted.
const LONGEST: Duration = Duration::from_secs(480);

fn socket(path: &Path) -> UnixSocket {
    UnixSocket { path: path.to_owned(), directory_mode: 0o750, mode: 0o770, tracking: Tracking::On }
}

#[tokio::test]
async fn makes_the_directory_and_the_socket_with_their_modes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("public/api.sock");
    let listener = UnixListener::bind(socket(&path)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o770);
    // Reduced by whatever umask the tests run under.
    assert_eq!(mode(path.parent().unwrap()) & !0o750, 0);
    assert_eq!(listener.path(), path);
    drop(listener);
    assert!(!path.exists(), "the socket stays behind");
}

#[tokio::test]
async fn a_socket_that_somebody_answers_on_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let _first = UnixListener::bind(socket(&path)).await.unwrap();
    let error = UnixListener::bind(socket(&path)).await.unwrap_err();
    assert!(matches!(&error, ListenError::SocketInUse(named) if *named == path), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_a_dead_process_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    // The standard library's listener leaves its file behind, as a process does that is killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut listener = UnixListener::bind(socket(&path)).await.unwrap();
    let client = UnixStream::connect(&path).await.unwrap();
    let accepted = listener.next().await.unwrap().unwrap();
    let peer = accepted.connect_info();
    assert_eq!(peer.peer().unwrap().pid, i32::try_from(std::process::id()).unwrap());
    drop(client);
}

#[tokio::test]
async fn what_is_no_socket_is_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "keep me").unwrap();
    let error = UnixListener::bind(socket(&path)).await.unwrap_err();
    assert!(matches!(error, ListenError::NotASocket(named) if named == path));
    assert_eq!(fs::read_to_string(&path).unwrap(), "keep me");
    // Nor is a link to a socket ours to remove.
    let link = dir.path().join("link.sock");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
    assert!(matches!(UnixListener::bind(socket(&link)).await, Err(ListenError::NotASocket(_))));
    assert!(fs::symlink_metadata(&link).is_ok());
}

#[tokio::test]
async fn a_path_longer_than_the_system_allows_is_told_with_both_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().as_os_str().len() + 1;
    let longest = dir.path().join("s".repeat(107 - prefix));
    drop(UnixListener::bind(socket(&longest)).await.unwrap());
    let too_long = dir.path().join("s".repeat(108 - prefix));
    let error = UnixListener::bind(socket(&too_long)).await.unwrap_err();
    assert!(matches!(error, ListenError::PathTooLong { length: 108, limit: 107, .. }), "{error}");
    assert!(error.to_string().contains("has 108 bytes, the system allows 107"), "{error}");
}

#[tokio::test]
async fn an_untracked_connection_says_nothing_about_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let mut listener = UnixListener::bind(UnixSocket { tracking: Tracking::Off, ..socket(&path) }).await.unwrap();
    let _client = UnixStream::connect(&path).await.unwrap();
    let connection = listener.next().await.unwrap().unwrap().connect_info();
    assert!(matches!(&*connection, Connection::Local(local) if local.peer.is_none()));
}

/// Not a test of its own, but what the process does that the next test starts: connects, waits for a word, and leaves the
/// connection to another process.
#[test]
#[allow(clippy::zombie_processes, reason = "the child is to outlive this process; it ends with the connection")]
fn leaves_its_connection_to_another() {
    use std::os::fd::OwnedFd;
    let Some(path) = std::env::var_os("STEEPLE_TEST_CONNECT_TO") else { return };
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    std::io::Read::read_exact(&mut std::io::stdin(), &mut [0]).unwrap();
    let input = OwnedFd::from(stream.try_clone().unwrap());
    std::process::Command::new("cat").stdin(input).stdout(OwnedFd::from(stream)).spawn().unwrap();
}

#[tokio::test]
async fn a_connection_ends_with_its_process_whoever_else_holds_it() {
    use tokio::io::AsyncWriteExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let mut listener = UnixListener::bind(socket(&path)).await.unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "listen::leaves_its_connection_to_another"])
        .env("STEEPLE_TEST_CONNECT_TO", &path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stream = listener.next().await.unwrap().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    // Reading waits, as a stream does on which nothing is due, until the process ends.
    let mut byte = [0];
    let error = stream.read(&mut byte).await.unwrap_err();
    assert_eq!(error.to_string(), "the calling process has ended");
    child.wait().unwrap();
    // The heir is there and would answer; it is not heard.
    stream.write_all(b"?").await.unwrap();
    assert!(stream.read(&mut byte).await.is_err());
}

pub(crate) struct Network {
    pub(crate) manual: ManualClock,
    pub(crate) ca: Ca,
    pub(crate) listener: TlsListener,
}

pub(crate) async fn network() -> Network {
    listening(Port::claim(([127, 0, 0, 1], 0).into()).unwrap()).unwrap()
}

/// Must be called on a runtime.
fn listening(port: Port) -> Result<Network, ListenError> {
    listening_behind(port, Proxies::default())
}

fn listening_behind(port: Port, proxies: Proxies) -> Result<Network, ListenError> {
    let (manual, ca) = world();
    let now = manual.now();
    let svid = ca.svid("/spire/server", now..now + HOUR);
    let (_, shown) = watch::channel(Some(svid.credential()));
    let members = Members { cas: vec![ca.clone()], admitted: Vec::new() };
    let tls = Arc::new(server_config(shown, Arc::new(members), manual.clock()).unwrap());
    let listener = TlsListener::on(port, move || Arc::clone(&tls), proxies, Some(LONGEST), manual.clock())?;
    Ok(Network { manual, ca, listener })
}

impl Network {
    fn connector(&self, client: Option<&steeple_testkit::ca::Svid>) -> TlsConnector {
        let expect =
            Expect::Verified { id: self.ca.id("/spire/server"), authorities: watch::channel(self.ca.authorities()).1 };
        let credential = client.map(|svid| watch::channel(Some(svid.credential())).1);
        TlsConnector::from(Arc::new(client_config(credential, expect, self.manual.clock()).unwrap()))
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let network = network().await;
    let address = network.listener.address();
    let error = Port::claim(address).unwrap_err();
    assert!(matches!(error, ListenError::PortInUse(named) if named == address), "{error}");
}

#[tokio::test]
async fn nobody_waits_at_a_port_that_is_claimed_and_one_alone_listens_on_it() {
    let claimed = Port::claim(([127, 0, 0, 1], 0).into()).unwrap();
    let address = claimed.address();
    // Two daemons that start at the same moment may both get this far.
    let late = Port::claim(address).unwrap();
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let _network = listening(claimed).unwrap();
    TcpStream::connect(address).await.unwrap();
    assert!(matches!(listening(late), Err(ListenError::PortInUse(named)) if named == address));
}

#[tokio::test]
async fn a_connection_carries_the_svid_that_its_client_showed() {
    let mut network = network().await;
    let now = network.manual.now();
    let svid = network.ca.svid("/web", now..now + HOUR);
    let stream = TcpStream::connect(network.listener.address()).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let connected = network.connector(Some(&svid)).connect(name, stream);
    let (client, accepted) = tokio::join!(connected, network.listener.next());
    client.unwrap();
    let connection = accepted.unwrap().unwrap().connect_info();
    assert_eq!(connection.svid().unwrap().id, network.ca.id("/web"));
    assert_eq!(connection.svid().unwrap().certificate.der(), svid.leaf().der());
    assert!(connection.peer().is_none());
}

#[tokio::test]
async fn a_connection_of_a_trusted_proxy_is_that_of_whoever_it_names_and_nobody_else_may_name_anybody() {
    for (trusted, owner) in [(Some("127.0.0.0/8"), Some("198.51.100.7:4660")), (Some("10.0.0.0/8"), None), (None, None)]
    {
        let networks = trusted.map(|network| network.parse().unwrap()).into_iter().collect();
        let port = Port::claim(([127, 0, 0, 1], 0).into()).unwrap();
        let mut network = listening_behind(port, Proxies::new(networks)).unwrap();
        let mut stream = TcpStream::connect(network.listener.address()).await.unwrap();
        stream.write_all(b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 8081\r\n").await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
        let connected = network.connector(None).connect(name, stream);
        let Some(owner) = owner else {
            connected.await.unwrap_err();
            continue;
        };
        let (client, accepted) = tokio::join!(connected, network.listener.next());
        client.unwrap();
        let connection = accepted.unwrap().unwrap().connect_info();
        let Connection::Remote(remote) = &*connection else { panic!("{connection:?}") };
        assert_eq!(remote.address.to_string(), owner);
    }
}

/// Connects as a proxy that speaks for this host, and says what the host says first.
async fn through_proxy(network: &Network, host: u16, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(network.listener.address()).await.unwrap();
    let [third, fourth] = host.to_be_bytes();
    let header = format!("PROXY TCP4 198.18.{third}.{fourth} 192.0.2.1 4660 8081\r\n");
    stream.write_all(&[header.as_bytes(), said].concat()).await.unwrap();
    stream
}

/// A listener that believes this host, and room for many connections.
fn listening_behind_this_host() -> Network {
    steeple_runtime::os::raise_open_files();
    let port = Port::claim(([127, 0, 0, 1], 0).into()).unwrap();
    listening_behind(port, Proxies::new(vec!["127.0.0.0/8".parse().unwrap()])).unwrap()
}

/// The first bytes of a handshake, which is not going on.
const HALF_A_HELLO: [u8; 2] = [0x16, 3];
/// Handshakes at a time.
const HANDSHAKES: u16 = 1024;

async fn is_closed(stream: &mut TcpStream) {
    // The end, or a reset.
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn behind_a_proxy_each_host_has_its_own_share_of_handshakes() {
    let mut network = listening_behind_this_host();
    let mut greedy = Vec::new();
    for _ in 0..HANDSHAKES / 4 * 3 {
        greedy.push(through_proxy(&network, 7, &HALF_A_HELLO).await);
    }
    // One more is one too many.
    is_closed(&mut through_proxy(&network, 7, &HALF_A_HELLO).await).await;
    let other = through_proxy(&network, 8, &[]).await;
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let connected = network.connector(None).connect(name, other);
    let (client, accepted) = tokio::join!(connected, network.listener.next());
    assert!(client.is_ok() && accepted.unwrap().is_ok());
}

#[tokio::test]
async fn handshakes_of_ever_more_hosts_wait_and_who_says_nothing_is_not_waited_for() {
    let mut network = listening_behind_this_host();
    let mut silent = Vec::new();
    for host in 0..HANDSHAKES {
        silent.push(through_proxy(&network, host, &[]).await);
    }
    let name = || rustls::pki_types::ServerName::try_from("anything").unwrap();
    let early = through_proxy(&network, HANDSHAKES, &[]).await;
    let connected = network.connector(None).connect(name(), early);
    let (client, accepted) = tokio::join!(connected, network.listener.next());
    assert!(client.is_ok() && accepted.unwrap().is_ok());

    for stream in &mut silent {
        stream.write_all(&HALF_A_HELLO).await.unwrap();
    }
    let late = through_proxy(&network, HANDSHAKES + 1, &[]).await;
    let mut late = Box::pin(network.connector(None).connect(name(), late));
    // Time enough for a handshake that does not wait: connections that come after it are closed.
    let others_pass = async {
        for _ in 0..8 {
            is_closed(&mut through_proxy(&network, 0, &[]).await).await;
        }
    };
    tokio::select! {
        _ = &mut late => panic!("it has not waited"),
        () = others_pass => {}
    }
    silent.pop();
    let (client, accepted) = tokio::join!(late, network.listener.next());
    assert!(client.is_ok() && accepted.unwrap().is_ok());
}

#[tokio::test]
async fn a_connection_is_closed_after_its_longest_life_however_much_its_peer_says() {
    let mut network = network().await;
    let stream = TcpStream::connect(network.listener.address()).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let connected = network.connector(None).connect(name, stream);
    let (client, accepted) = tokio::join!(connected, network.listener.next());
    let (mut client, mut server) = (client.unwrap(), accepted.unwrap().unwrap());
    for passed in [LONGEST / 2, LONGEST / 4] {
        network.manual.advance(passed);
        client.write_all(b"more").await.unwrap();
        let mut said = [0; 4];
        server.read_exact(&mut said).await.unwrap();
    }
    let mut said = [0; 4];
    let reading = server.read(&mut said);
    let (read, ()) = tokio::join!(reading, async { network.manual.wake(..LONGEST).await });
    assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_handshake_that_never_ends_holds_up_nobody_and_is_given_up() {
    let mut network = network().await;
    let address = network.listener.address();
    let mut silent = TcpStream::connect(address).await.unwrap();
    network.manual.until_somebody_sleeps(..).await;

    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let connected = network.connector(None).connect(name, stream);
    let (client, accepted) = tokio::join!(connected, network.listener.next());
    client.unwrap();
    assert!(accepted.unwrap().unwrap().connect_info().svid().is_none());

    network.manual.advance(Duration::from_secs(20));
    let mut byte = [0];
    // Closed by the listener: the end, or a reset.
    assert!(matches!(silent.read(&mut byte).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_dropped_and_others_are_served() {
    use tokio::io::AsyncWriteExt;
    let mut network = network().await;
    let address = network.listener.address();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // An alert at most, then the end.
    let _ = plain.read_to_end(&mut rest).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("anything").unwrap();
    let connected = network.connector(None).connect(name, stream);
    let (client, accepted) = tokio::join!(connected, network.listener.next());
    assert!(client.is_ok() && accepted.unwrap().is_ok());
}

/// What grpc-java and gRPC's C core (Python, C++, Ruby) send over a Unix socket: its path as the host, plain or with
/// percent signs. The rest is what every request has.
#[tokio::test]
async fn requests_whose_host_is_the_path_of_the_socket_are_answered() {
    for host in ["/run/a.sock", "run%2Fa.sock", "localhost"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let listener = UnixListener::bind(socket(&path)).await.unwrap();
        tokio::spawn(tonic::transport::Server::builder().add_routes(Routes::default()).serve_with_incoming(listener));

        let mut block = vec![0x41, u8::try_from(host.len()).unwrap()];
        block.extend_from_slice(host.as_bytes());
        block.extend_from_slice(b"D\x02/x\x83\x86_\x10application/grpc@\x02te\x08trailers");
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        client.write_all(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]).await.unwrap();
        client.write_all(&block).await.unwrap();

        // The first frame of the request's own stream: HEADERS, with the status, and not RST_STREAM.
        let kind = loop {
            let mut header = [0; 9];
            client.read_exact(&mut header).await.unwrap();
            let [a, b, c, kind, _, _, _, _, stream] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            client.read_exact(&mut payload).await.unwrap();
            if stream == 1 {
                break kind;
            }
        };
        assert_eq!(kind, 1, "{host}");
    }
}
