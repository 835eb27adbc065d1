//! TCP with TLS. Handshakes run beside the accept loop, bounded in time, and in number for each address: whoever opens
//! many connections and says nothing loses those, and nobody else waits for him.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use rustls::ServerConfig;
use steeple_runtime::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::ListenError;
use super::entrance::{Entrance, HANDSHAKE_LIMIT, Turned};
use super::proxied::Proxies;
use crate::connection::Connection;
use crate::shares::Share;

/// Connections that wait to be accepted: what Linux allows at most if it is not told otherwise.
const BACKLOG: u32 = 4096;

/// A TCP port that nobody else can listen on. Whoever connects to it is refused until a [`TlsListener`] is made of it.
#[derive(Debug)]
pub struct Port {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Port {
    /// Takes the port of this address.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn claim(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Connections of the process before may linger; whoever listens there is found out all the same.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Self { address: socket.local_addr()?, socket })
        };
        bound().map_err(|error| refused(address, error))
    }

    /// Its address, with the number that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn refused(address: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        ErrorKind::AddrInUse => ListenError::PortInUse(address),
        _ => ListenError::System { what: address.to_string(), error },
    }
}

/// A listening TCP port whose connections have finished their TLS handshake.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<TlsStream>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Listens on a port; each handshake asks for the configuration of TLS. Connections of `proxies` are those of whoever
    /// they name. After `longest`, if there is one, a connection is closed, whatever is under way. Must be called on
    /// a tokio runtime.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn on(
        port: Port,
        config: impl Fn() -> Arc<ServerConfig> + Send + 'static,
        proxies: Proxies,
        longest: Option<Duration>,
        clock: Clock,
    ) -> Result<Self, ListenError> {
        let Port { socket, address } = port;
        let listener = socket.listen(BACKLOG).map_err(|error| refused(address, error))?;
        let (sender, accepted) = mpsc::channel(64);
        let entrance = Arc::new(Entrance::new(proxies, longest, clock.clone()));
        let accepting = tokio::spawn(accept(listener, config, entrance, sender, clock));
        Ok(Self { address, accepted, accepting })
    }

    /// [`Port::address`]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stream for TlsListener {
    type Item = io::Result<TlsStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(context).map(|stream| stream.map(Ok))
    }
}

async fn accept(
    listener: TcpListener,
    config: impl Fn() -> Arc<ServerConfig>,
    entrance: Arc<Entrance>,
    accepted: mpsc::Sender<TlsStream>,
    clock: Clock,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Out of descriptors, most likely: trying again at once would only burn a core.
                warn!(target: "endpoints", error = %error, "Connection failed during accept");
                clock.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (entrance, config, accepted, clock) = (Arc::clone(&entrance), config(), accepted.clone(), clock.clone());
        tokio::spawn(async move {
            match clock.within(HANDSHAKE_LIMIT, entrance.admit(stream, address, config)).await {
                // The receiver is gone when the listener stops.
                Some(Ok(stream)) => drop(accepted.send(stream).await),
                Some(Err(error @ Turned::HasTooMany(_))) => {
                    debug!(target: "endpoints", caller_addr = %address, error = %error, "Connection refused")
                }
                Some(Err(Turned::Failed(error))) => {
                    debug!(target: "endpoints", caller_addr = %address, error = %error, "TLS handshake failed")
                }
                None => debug!(target: "endpoints", caller_addr = %address, "TLS handshake took too long"),
            }
        });
    }
}

/// A TLS connection from the network.
pub struct TlsStream {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    connection: Arc<Connection>,
    /// When it is over, reading fails, and with that the connection ends.
    end: BoxFuture<'static, ()>,
    _held: Share,
}

impl TlsStream {
    /// One that holds this share and is closed at `end`.
    pub(super) fn new(
        stream: tokio_rustls::server::TlsStream<TcpStream>,
        connection: Arc<Connection>,
        end: BoxFuture<'static, ()>,
        held: Share,
    ) -> Self {
        Self { stream, connection, end, _held: held }
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Connected for TlsStream {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.connection)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // Whoever serves it reads on as long as there is something, and waits here sooner or later.
        if read.is_pending() && self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
