//! What a connection from the network passes before it is one: whose it is, what its owner has already, and TLS.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use futures::FutureExt;
use rustls::ServerConfig;
use steeple_runtime::Clock;
use steeple_spiffe::x509::Certificate;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::connections;
use super::proxied::{self, Proxies};
use super::tcp::TlsStream;
use crate::connection::{Connection, Holder, PeerSvid, Remote};
use crate::shares::{Share, Shares};

/// Handshakes in flight. Addresses share them; when more addresses come than there are handshakes, the others wait.
const HANDSHAKES: usize = 1024;
/// From the first byte to the last of a handshake, waiting included.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// Why a connection was closed before it was one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Turned {
    /// Its owner has as many of these as he may have; TLS has not begun.
    #[error("the address has too many {0}")]
    HasTooMany(&'static str),
    /// What it said was no handshake of TLS, or not one that is accepted.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// The door of one listener.
pub(super) struct Entrance {
    proxies: Proxies,
    connections: Arc<Shares>,
    handshakes: Arc<Shares>,
    /// A share is for whoever has none, however many those are. What handshakes take is bounded here: who waits has neither
    /// state nor work of TLS, so that those before him come to their end.
    room: Semaphore,
    /// For a step of a handshake, between two waits for its peer. They have half of the threads at most: a storm of agents
    /// would otherwise stand in front of every call of those that are there.
    steps: Semaphore,
    longest: Option<Duration>,
    clock: Clock,
}

impl Entrance {
    /// Must be called on a tokio runtime.
    pub(super) fn new(proxies: Proxies, longest: Option<Duration>, clock: Clock) -> Self {
        let (connections, handshakes) = (connections(1), Shares::new("handshakes at a time", HANDSHAKES));
        let threads = Handle::current().metrics().num_workers();
        let (room, steps) = (Semaphore::new(HANDSHAKES), Semaphore::new((threads / 2).max(1)));
        Self { proxies, connections, handshakes, room, steps, longest, clock }
    }

    /// The connection once its handshake is done.
    ///
    /// # Errors
    /// It is closed: see [`Turned`].
    pub(super) async fn admit(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        config: Arc<ServerConfig>,
    ) -> Result<TlsStream, Turned> {
        // A proxy's, until it has said whose.
        let (mut owner, mut held) = (address, self.connection(address)?);
        if self.proxies.has(address.ip()) {
            owner = proxied::owner(&mut stream, address).await?;
            held = self.connection(owner)?;
        }
        let shaking = self.handshakes.take(Holder::at(owner), 1);
        let _shaking = shaking.ok_or(Turned::HasTooMany("handshakes"))?;
        // Who says nothing takes no room from those who do.
        stream.peek(&mut [0]).await?;
        let _room = self.room.acquire().await.map_err(io::Error::other)?;
        stream.set_nodelay(true)?;
        let stream = self.in_steps(TlsAcceptor::from(config).accept(stream)).await?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        // Both were checked in the handshake.
        let svid = leaf
            .map(|leaf| Certificate::from_der(leaf).and_then(PeerSvid::of))
            .transpose()
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let connection = Arc::new(Connection::Remote(Remote { address: owner, svid }));
        let (clock, longest) = (self.clock.clone(), self.longest);
        let end = async move {
            match longest {
                Some(longest) => clock.sleep(longest).await,
                None => std::future::pending().await,
            }
        };
        Ok(TlsStream::new(stream, connection, Box::pin(end), held))
    }

    /// A handshake, each step of which waits for its turn. Whoever waits for his peer has none.
    async fn in_steps<T>(&self, mut shaking: impl Future<Output = io::Result<T>> + Unpin) -> io::Result<T> {
        let mut turn = None;
        poll_fn(|context| {
            let step = ready!(turn.get_or_insert_with(|| self.steps.acquire().boxed()).poll_unpin(context));
            turn = None;
            // Given back at the end of this step, whether or not it was the last one.
            let _step = step.map_err(io::Error::other)?;
            shaking.poll_unpin(context)
        })
        .await
    }

    fn connection(&self, address: SocketAddr) -> Result<Share, Turned> {
        self.connections.take(Holder::at(address), 1).ok_or(Turned::HasTooMany("connections"))
    }
}
