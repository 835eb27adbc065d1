//! Unix sockets, whose peers the kernel identifies.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use steeple_runtime::os::peer::{Peer, PeerError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Sleep;
use tonic::transport::server::Connected;
use tracing::warn;

use super::authority::Authorities;
use super::{ListenError, connections};
use crate::connection::{Connection, Local};
use crate::shares::{Share, Shares};

/// Where a socket is made and who may reach it.
#[derive(Clone, Debug)]
pub struct UnixSocket {
    /// Its path.
    pub path: PathBuf,
    /// Mode of its directory, if it must be made (reduced by the umask).
    pub directory_mode: u32,
    /// Mode of the socket.
    pub mode: u32,
    /// Whether each connection's process is looked up.
    pub tracking: Tracking,
}

/// Whether a listener asks the kernel for the process at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// Whoever can open the socket may call.
    Off,
    /// A connection lives as long as the process that made it.
    On,
}

/// A listening Unix socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct UnixListener {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    tracking: Tracking,
    connections: Arc<Shares>,
    /// After a failure, until the next try.
    pause: Option<Pin<Box<Sleep>>>,
}

impl UnixListener {
    /// Makes the directory if needed, removes a socket that nobody answers on, and listens.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(socket: UnixSocket) -> Result<Self, ListenError> {
        let UnixSocket { path, directory_mode, mode, tracking } = socket;
        let failed = |error: io::Error| ListenError::System { what: path.display().to_string(), error };
        // sun_path holds 108 bytes with the final zero.
        const LIMIT: usize = 107;
        let length = path.as_os_str().len();
        if length > LIMIT {
            return Err(ListenError::PathTooLong { path, length, limit: LIMIT });
        }
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(directory_mode).create(directory).map_err(failed)?;
        }
        remove_stale(&path).await?;
        let listener = tokio::net::UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed)?;
        // A process that is tracked is held open as well.
        let connections = connections(2);
        Ok(Self { listener, path, tracking, connections, pause: None })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        // It may be gone, or the directory with it; nothing depends on it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Refuses a path on which another process answers, before anything is done that would be in that process's way.
///
/// # Errors
/// [`ListenError::SocketInUse`]
pub async fn refuse_used(path: &Path) -> Result<(), ListenError> {
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::SocketInUse(path.to_owned())),
        Err(_) => Ok(()),
    }
}

async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |error: io::Error| ListenError::System { what: path.display().to_string(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::SocketInUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

impl Stream for UnixListener {
    type Item = io::Result<LocalStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let (stream, _) = match ready!(self.listener.poll_accept(context)) {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: trying again at once would only burn a core.
                    warn!(target: "endpoints", error = %error, "Connection failed during accept");
                    self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(50))));
                    continue;
                }
            };
            match LocalStream::new(stream, self.tracking, &self.connections) {
                Ok(None) => {}
                Ok(Some(stream)) => return Poll::Ready(Some(Ok(stream))),
                Err(error) => warn!(target: "endpoints", error = %error, "Connection failed during accept"),
            }
        }
    }
}

/// A connection from a process of this host. When it is tracked and that process ends, reading fails, whoever else holds
/// the descriptor; so hyper drops the connection and every stream on it.
pub struct LocalStream {
    stream: UnixStream,
    connection: Arc<Connection>,
    peer_ended: Option<BoxFuture<'static, ()>>,
    authorities: Authorities,
    _held: Share,
}

impl LocalStream {
    /// None when the process's user has too many already; it is closed then.
    fn new(stream: UnixStream, tracking: Tracking, connections: &Arc<Shares>) -> Result<Option<Self>, PeerError> {
        let peer = match tracking {
            Tracking::Off => None,
            Tracking::On => Some(Arc::new(Peer::of(&stream)?)),
        };
        let peer_ended =
            peer.clone().map(|peer| -> BoxFuture<'static, ()> { Box::pin(async move { peer.ended().await }) });
        let connection = Arc::new(Connection::Local(Local { peer }));
        let held = connections.take(connection.holder(), 1);
        Ok(held.map(|held| Self { stream, connection, peer_ended, authorities: Authorities::default(), _held: held }))
    }
}

impl Connected for LocalStream {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.connection)
    }
}

impl AsyncRead for LocalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ended) = &mut self.peer_ended
            && ended.as_mut().poll(context).is_ready()
        {
            // Not polled again after it completed.
            self.peer_ended = Some(Box::pin(std::future::ready(())));
            return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionReset, "the calling process has ended")));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.authorities.pass(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
