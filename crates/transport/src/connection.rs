//! Who is at the other end of a connection, found once when it is accepted.

use std::net::SocketAddr;
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

    /// The process at the other end, if it is known.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Local(local) => local.peer.as_ref(),
            Self::Remote(_) => None,
        }
    }
}
