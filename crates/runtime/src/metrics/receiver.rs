//! Who takes packets: statsd, DogStatsD and M3 daemons, which never answer.

use std::io;
use std::net::SocketAddr;

use tokio::net::{UdpSocket, UnixDatagram, lookup_host};
use tracing::warn;

/// One who takes packets, and the socket to them, if there is one.
pub(super) struct Receiver {
    address: Address,
    socket: Option<Socket>,
    is_failing: bool,
}

impl Receiver {
    pub(super) fn at(address: Address) -> Self {
        Self { address, socket: None, is_failing: false }
    }

    /// Sends packets, and returns whether all went out. That they do not is told once, until it is over.
    pub(super) async fn send(&mut self, packets: impl Iterator<Item = impl AsRef<[u8]>>) -> bool {
        let Err(error) = self.try_to_send(packets).await else {
            self.is_failing = false;
            return true;
        };
        self.socket = None;
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(target: "telemetry", address = %self.address, error = %error, "Measurements were not sent");
        }
        false
    }

    async fn try_to_send(&mut self, packets: impl Iterator<Item = impl AsRef<[u8]>>) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(self.address.connect().await?),
        };
        for packet in packets {
            socket.send(packet.as_ref()).await?;
        }
        Ok(())
    }
}

/// Where packets are sent.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// Found anew at each connection.
    Name(String),
    /// Found once.
    Found(SocketAddr),
    /// `unix:///path`, for DogStatsD.
    Socket(String),
}

impl Address {
    /// Finds the receiver now, as the reference does for DogStatsD and M3.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) async fn find(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Socket(path.to_owned()));
        }
        let missing = || format!("address {text}: missing port in address");
        let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
        let port: u16 = port.parse().map_err(|_| format!("address {port}: invalid port"))?;
        resolved(host, port).await.map(Self::Found).map_err(|_| format!("lookup {host}: no such host"))
    }

    async fn connect(&self) -> io::Result<Socket> {
        let to = match self {
            Self::Found(to) => *to,
            Self::Name(name) => {
                let not_one = |_| io::Error::new(io::ErrorKind::InvalidInput, "not HOST:PORT");
                let (host, port) = name.rsplit_once(':').unwrap_or((name, ""));
                resolved(host, port.parse().map_err(not_one)?).await?
            }
            Self::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                return Ok(Socket::Unix(socket));
            }
        };
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(to).await?;
        Ok(Socket::Udp(socket))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(text) | Self::Socket(text) => f.write_str(text),
            Self::Found(address) => address.fmt(f),
        }
    }
}

/// Where a host is, at its first address of version 4 if it has one, as Go does: `localhost` may have both, and receivers
/// listen on that one. No host is this one.
async fn resolved(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = if host.is_empty() { "localhost" } else { host };
    let found: Vec<_> = lookup_host((host.trim_matches(['[', ']']), port)).await?.collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
}

/// A way to a receiver of packets.
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(packet).await,
            Self::Unix(socket) => socket.send(packet).await,
        }
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_refused_in_gos_words() {
        for (text, error) in
            [("nowhere", "address nowhere: missing port in address"), ("127.0.0.1:x", "address x: invalid port")]
        {
            assert_eq!(Address::find(text).await.unwrap_err(), error);
        }
    }

    #[tokio::test]
    async fn no_host_is_this_one_and_version_4_of_it_comes_first() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = receiver.local_addr().unwrap().port();
        for address in [format!(":{port}"), format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
            let found = Address::find(&address).await.unwrap();
            for at in [found, Address::Name(address.clone())] {
                assert!(Receiver::at(at).send(["x"].into_iter()).await);
                let mut packet = [0; 2];
                assert_eq!(receiver.recv(&mut packet).await.unwrap(), 1, "{address}");
            }
        }
        // An address of version 6 is one all the same.
        assert_eq!(Address::find("[::1]:9").await.unwrap().to_string(), "[::1]:9");
    }
}
