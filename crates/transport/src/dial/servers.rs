//! Which of several servers a connection leads to.
//!
//! Each new connection takes one at random, of all addresses that all names have at that moment, so that clients spread
//! over servers as their connections age. One that did not work lately is tried after the others.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::join_all;
use rustls::pki_types::ServerName;
use steeple_runtime::{Clock, jitter};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::info;

use super::{DialError, Proxy, bracketed};
use crate::tls::in_words;

/// All attempts of one connection together, from the first packet to the end of a TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// One of several attempts: a server that says nothing must leave time for another one.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// For so long a server is tried after the others when it has failed; twice as long with each failure that follows, up to
/// the second figure.
const AVOIDED: Duration = Duration::from_secs(1);
const AVOIDED_AT_MOST: Duration = Duration::from_secs(60);
/// The most addresses that are taken of one name.
const ADDRESSES: usize = 64;

/// Where a server listens, as a person writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// A name or an IP.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A text that is no [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be host:port, with an IPv6 address in brackets")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    /// `host:port`, or `[::1]:port`.
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (host, port) = text.rsplit_once(':').ok_or(NoPlace)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(address)) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
            None => host,
            Some(_) => return Err(NoPlace),
        };
        let is_whole = |byte: u8| byte.is_ascii_graphic() && !b"[]/@?#".contains(&byte);
        let has_colon = text.starts_with('[') == host.contains(':');
        if host.is_empty() || !host.bytes().all(is_whole) || !has_colon {
            return Err(NoPlace);
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(NoPlace)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// The servers of one trust domain, with what their clients have found out about them. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Servers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Vec<Place>,
    /// The address at our own end; None: the system's choice.
    from: Option<IpAddr>,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    /// Where the newest connection leads.
    last: Option<Way>,
    failed: HashMap<Way, Failed>,
}

/// A place, and the one of its addresses; None where a proxy finds the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Way {
    place: usize,
    address: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    avoided_until: SystemTime,
}

impl Servers {
    /// Those at these places, which all have the same standing.
    pub fn new(first: Place, others: impl IntoIterator<Item = Place>) -> Self {
        let places = std::iter::once(first).chain(others).collect();
        Self(Arc::new(Inner { places, from: None, learnt: Mutex::default() }))
    }

    /// The same, for connections that come from this address of the host, unless they lead through a proxy.
    #[must_use]
    pub fn reached_from(self, address: IpAddr) -> Self {
        Self(Arc::new(Inner { places: self.0.places.clone(), from: Some(address), learnt: Mutex::default() }))
    }

    /// Whether one place is all that is known. It may be a name with several addresses.
    pub fn is_one(&self) -> bool {
        self.0.places.len() == 1
    }

    /// What stands in requests for them: the first place.
    pub(super) fn authority(&self) -> String {
        self.0.places.first().map_or_else(String::new, Place::to_string)
    }

    /// The server that the newest connection leads to answers, but cannot do its work. The next connection leads to
    /// another one, if there is one.
    pub fn avoid_last(&self, clock: &Clock) {
        let mut learnt = self.learnt();
        if let Some(way) = learnt.last {
            learnt.failed(way, clock.now());
        }
    }

    /// A connection to one of them.
    pub(super) async fn connect(
        &self,
        tls: &TlsConnector,
        proxy: &Proxy,
        clock: &Clock,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let mut failure = None;
        let attempts = async {
            let (ways, unresolved) = self.ways(proxy, clock).await;
            failure = unresolved;
            let several = ways.len() > 1;
            let mut ways = ways.into_iter().peekable();
            while let Some(way) = ways.next() {
                let attempt = self.attempt(way, tls, proxy);
                // The last one may use what is left.
                let attempted = if ways.peek().is_some() {
                    clock.within(ATTEMPT_LIMIT, attempt).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
                } else {
                    attempt.await
                };
                match attempted {
                    Ok(stream) => {
                        self.learnt().last = Some(way);
                        return Some(stream);
                    }
                    Err(cause) => {
                        self.learnt().failed(way, clock.now());
                        let error = self.failure(way.place, cause);
                        if several {
                            info!(target: "dial", error = %error, "Server was not reached");
                        }
                        failure = Some(error);
                    }
                }
            }
            None
        };
        match clock.within(CONNECT_LIMIT, attempts).await {
            Some(Some(stream)) => Ok(stream),
            Some(None) => Err(failure.unwrap_or_else(|| self.failure(0, io::ErrorKind::NotFound.into()))),
            None => Err(self.failure(0, io::ErrorKind::TimedOut.into())),
        }
    }

    /// All ways, in the order in which they are tried; and why a name has none.
    async fn ways(&self, proxy: &Proxy, clock: &Clock) -> (Vec<Way>, Option<DialError>) {
        let places = &self.0.places;
        let found = (0..places.len()).map(|place| self.ways_to(place, proxy, clock).boxed());
        let (mut ways, mut unresolved) = (Vec::new(), None);
        for found in join_all(found).await {
            match found {
                Ok(found) => ways.extend(found),
                Err(error) => unresolved = Some(error),
            }
        }
        shuffle(&mut ways);
        let (mut learnt, now) = (self.learnt(), clock.now());
        // Addresses that a name has lost are forgotten.
        learnt.failed.retain(|way, _| ways.contains(way));
        ways.sort_by_key(|way| learnt.failed.get(way).map(|failed| failed.avoided_until).filter(|until| *until > now));
        (ways, unresolved)
    }

    async fn ways_to(&self, place: usize, proxy: &Proxy, clock: &Clock) -> Result<Vec<Way>, DialError> {
        let Some(Place { host, port }) = self.0.places.get(place) else { return Ok(Vec::new()) };
        if proxy.is_on_the_way_to(host, *port) {
            return Ok(vec![Way { place, address: None }]);
        }
        let looked_up = lookup_host((host.as_str(), *port));
        let found = if self.0.places.len() > 1 {
            clock.within(ATTEMPT_LIMIT, looked_up).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
        } else {
            looked_up.await
        };
        let found = found.map_err(|cause| self.failure(place, cause))?;
        Ok(found.take(ADDRESSES).map(|address| Way { place, address: Some(address) }).collect())
    }

    async fn attempt(&self, way: Way, tls: &TlsConnector, proxy: &Proxy) -> io::Result<TlsStream<TcpStream>> {
        let stream = match way.address {
            Some(address) => connect(self.0.from, address).await?,
            None => {
                let Place { host, port } = self.0.places.get(way.place).ok_or(io::ErrorKind::NotFound)?;
                proxy.connect(host, *port).await?
            }
        };
        stream.set_nodelay(true)?;
        let nobody = ServerName::try_from("spiffe").map_err(io::Error::other)?;
        tls.connect(nobody, stream).await.map_err(in_words)
    }

    fn failure(&self, place: usize, cause: io::Error) -> DialError {
        DialError { place: self.0.places.get(place).map_or_else(String::new, Place::to_string), cause }
    }

    fn learnt(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learnt {
    fn failed(&mut self, way: Way, now: SystemTime) {
        let before = self.failed.get(&way).filter(|before| now < before.avoided_until + AVOIDED_AT_MOST);
        let times = before.map_or(0, |before| before.times);
        let length = (AVOIDED * 2_u32.pow(times.min(16))).min(AVOIDED_AT_MOST);
        self.failed.insert(way, Failed { times: times + 1, avoided_until: now + jitter(length) });
    }
}

async fn connect(from: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(address).await };
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(address).await
}

/// Each order is as likely as any other.
fn shuffle<T>(items: &mut [T]) {
    for end in (1..items.len()).rev() {
        items.swap(end, steeple_runtime::below(end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_a_port_and_nothing_else() {
        for text in ["a:1", "server.example.org:8081", "192.0.2.1:65535", "[::1]:8081"] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:8081",
            "[::1]",
            "[a]:1",
            "a b:1",
            "https://a:1",
            "a:b:1",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_address_that_it_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for from in ["127.1.2.3", "127.0.0.1"] {
            let from: IpAddr = from.parse().unwrap();
            let (connected, accepted) = tokio::join!(connect(Some(from), address), listener.accept());
            assert_eq!((connected.unwrap().local_addr().unwrap().ip(), accepted.unwrap().1.ip()), (from, from));
        }
    }

    #[test]
    fn an_order_has_each_item_once_and_begins_with_any_of_them() {
        let mut first = [0; 4];
        for _ in 0..400 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items);
            first[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3]);
        }
        assert!(first.iter().all(|times| *times > 0), "{first:?}");
    }

    #[test]
    fn a_server_that_fails_again_is_avoided_for_longer_up_to_a_minute() {
        let (way, mut learnt, now) = (Way { place: 0, address: None }, Learnt::default(), SystemTime::UNIX_EPOCH);
        let mut lengths = Vec::new();
        for _ in 0..10 {
            learnt.failed(way, now);
            lengths.push(learnt.failed[&way].avoided_until.duration_since(now).unwrap().as_secs_f64());
        }
        for (length, expected) in lengths.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]) {
            assert!((length / expected - 1.0).abs() <= 0.1001, "{lengths:?}");
        }
        // What is long ago is forgotten.
        let later = now + 3 * AVOIDED_AT_MOST;
        learnt.failed(way, later);
        assert_eq!(learnt.failed[&way].times, 1);
    }
}
