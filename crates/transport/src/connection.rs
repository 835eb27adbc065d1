//! Who is at the other end of a connection, found once when it is accepted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use steeple_runtime::os::peer::Peer;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::{Certificate, X509Error};

/// The far end of one connection. Every request on it carries the same one in its extensions.
#[derive(Debug)]
pub enum Connection {
    /// A process of this host, through a Unix socket.
    Local(Local),
    /// A network peer, through TLS.
    Remote(Remote),
}

/// See [`Connection::Local`].
#[derive(Debug)]
pub struct Local {
    /// The process, where the listener asked for it.
    pub peer: Option<Arc<Peer>>,
}

/// See [`Connection::Remote`].
#[derive(Debug)]
pub struct Remote {
    /// Its address, port included.
    pub address: SocketAddr,
    /// The client certificate, which has been verified; None when it showed none.
    pub svid: Option<PeerSvid>,
}

/// The verified client certificate of a [`Remote`] and the SPIFFE ID in it.
#[derive(Debug)]
pub struct PeerSvid {
    /// The leaf.
    pub certificate: Certificate,
    /// Its one URI SAN.
    pub id: SpiffeId,
}

impl PeerSvid {
    /// Reads the SPIFFE ID of a leaf.
    ///
    /// # Errors
    /// When it has not exactly one well-formed one.
    pub fn of(certificate: Certificate) -> Result<Self, X509Error> {
        let id = certificate.spiffe_id()?;
        Ok(Self { certificate, id })
    }
}

impl Connection {
    /// The verified client certificate, if there is one.
    pub fn svid(&self) -> Option<&PeerSvid> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) => remote.svid.as_ref(),
        }
    }

    /// To whose account it is put what this connection takes: an agent's or a host's, and on this host a user's.
    pub fn holder(&self) -> Holder {
        match self {
            Self::Local(Local { peer: None }) => Holder::Host,
            Self::Local(Local { peer: Some(peer) }) => Holder::User(peer.uid),
            Self::Remote(Remote { svid: Some(svid), .. }) => Holder::Member(svid.id.clone()),
            Self::Remote(Remote { svid: None, address }) => Holder::at(*address),
        }
    }

    /// The process at the other end, if it is known.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Local(local) => local.peer.as_ref(),
            Self::Remote(_) => None,
        }
    }
}

/// Whom one account is kept for, of what peers share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// All processes of this host together, where they are not told apart.
    Host,
    /// A user of this host.
    User(u32),
    /// A network peer that has shown an SVID.
    Member(SpiffeId),
    /// A network peer that has shown none: an address, or the network of 64 bits that one host has in IPv6.
    Network(IpAddr),
}

impl Holder {
    /// Of a peer that is known by its address alone.
    pub fn at(address: SocketAddr) -> Self {
        Self::Network(match address.ip().to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_account_in_either_version_of_ip() {
        let at = |text: &str| Holder::at(text.parse().unwrap());
        assert_eq!(at("[2001:db8::1]:1"), at("[2001:db8:0:0:ffff::2]:2"));
        assert_ne!(at("[2001:db8::1]:1"), at("[2001:db8:0:1::1]:1"));
        assert_eq!(at("192.0.2.1:1"), at("[::ffff:192.0.2.1]:2"));
        assert_ne!(at("192.0.2.1:1"), at("192.0.2.2:1"));
    }
}
