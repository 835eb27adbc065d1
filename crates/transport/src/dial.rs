//! Channels to a server's API over TLS, and to a daemon's Unix socket.

mod proxy;
mod servers;
mod traced;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use steeple_runtime::Clock;
use steeple_runtime::os::reason;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub use proxy::Proxy;
pub use servers::{NoPlace, Place, Servers};
pub use traced::Traced;

/// A peer that vanished without a word is noticed within this and the next figure.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(300);
pub(crate) const KEEPALIVE_LIMIT: Duration = Duration::from_secs(20);

/// Nobody could be reached: where a channel led, and why it did not get there.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {}", self.reason())]
pub struct DialError {
    place: String,
    #[source]
    cause: io::Error,
}

impl DialError {
    /// Why a call failed, if nobody could be reached; None if somebody answered.
    pub fn of(status: &Status) -> Option<&Self> {
        causes(status).find_map(|cause| cause.downcast_ref())
    }

    /// What the system said.
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }

    /// Why, without where.
    pub fn reason(&self) -> String {
        match self.cause.get_ref().and_then(|cause| cause.downcast_ref()) {
            // What comes first of a peer is a record of TLS, or the peer speaks something else.
            Some(rustls::Error::InvalidMessage(_)) => format!("no TLS is spoken there: {}", self.cause),
            Some(_) => self.cause.to_string(),
            None => reason(&self.cause),
        }
    }
}

/// A channel to a server's API that connects when first used, and again after it broke. `host` is a name or an IP. Who
/// cannot be reached, or not within 20 seconds of `clock`, is told by a [`DialError`].
///
/// TLS names nobody: the peer is known by its SPIFFE ID, which `tls` checks.
pub fn server(host: &str, port: u16, tls: Arc<ClientConfig>, proxy: Proxy, clock: Clock) -> Channel {
    servers(Servers::new(Place { host: host.to_owned(), port }, []), tls, proxy, clock)
}

/// A channel to one of several servers, as [`server`]; each connection may lead to another one.
pub fn servers(servers: Servers, tls: Arc<ClientConfig>, proxy: Proxy, clock: Clock) -> Channel {
    let (origin, connector) = (format!("http://{}", servers.authority()), TlsConnector::from(tls));
    let connect = service_fn(move |_: Uri| {
        let (servers, connector, proxy, clock) = (servers.clone(), connector.clone(), proxy.clone(), clock.clone());
        async move { servers.connect(&connector, &proxy, &clock).await.map(TokioIo::new) }
    });
    endpoint(&origin)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .connect_with_connector_lazy(connect)
}

/// A channel to the process that listens on a Unix socket; connects when first used. Who cannot be reached is told by a
/// [`DialError`].
pub fn local(socket: impl Into<PathBuf>) -> Channel {
    let socket = socket.into();
    let connect = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move {
            // A socket of this host answers at once, or its queue is full and the system says so.
            let connected = UnixStream::connect(&socket).await.map(TokioIo::new);
            connected.map_err(|cause| DialError { place: format!("unix://{}", socket.display()), cause })
        }
    });
    endpoint("http://localhost").connect_with_connector_lazy(connect)
}

/// An error with its causes, for those whose own text says only that something failed.
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The origin only fills `:authority`; a host that cannot stand in a URI fails when it is dialled, with its own error.
fn endpoint(origin: &str) -> Endpoint {
    Endpoint::from_shared(origin.to_owned()).unwrap_or_else(|_| Endpoint::from_static("http://localhost"))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}
