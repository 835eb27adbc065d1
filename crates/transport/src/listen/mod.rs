//! Sockets that daemons listen on. Each connection that they yield carries its [`Connection`](crate::connection::Connection).

mod authority;
mod entrance;
mod proxied;
mod tcp;
mod unix;

pub use authority::Authorities;
pub use proxied::Proxies;
#[cfg(fuzzing)]
pub use proxied::told_owner;
pub use tcp::{Port, TlsListener, TlsStream};
pub use unix::{LocalStream, Tracking, UnixListener, UnixSocket, refuse_used};

use std::path::PathBuf;
use std::sync::Arc;

use crate::shares::Shares;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers on the socket.
    #[error("socket {0} is in use by another process; stop it, or set another socket_path")]
    SocketInUse(PathBuf),
    /// Something that is no socket stands at the path.
    #[error("{0} exists and is not a socket; remove it, or set another socket_path")]
    NotASocket(PathBuf),
    /// The path is longer than the system allows for sockets.
    #[error("socket path {path} has {length} bytes, the system allows {limit}; set a shorter socket_path")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// Another process listens on the port.
    #[error("listen tcp {0}: bind: address already in use; stop the process that has it, or set another bind_port")]
    PortInUse(std::net::SocketAddr),
    /// The system refused.
    #[error("unable to listen on {what}: {error}")]
    System {
        /// The address or path.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
}

/// What a listener's peers share of the process's open files, at so many a connection. An eighth is left for what else the
/// process opens.
fn connections(files: usize) -> Arc<Shares> {
    let open_files = usize::try_from(steeple_runtime::os::open_files()).map_or(MOST, |files| files.min(MOST));
    Shares::new("connections", (open_files - open_files / 8) / files)
}

/// Beyond this it is memory that ends first.
const MOST: usize = 128 << 10;
