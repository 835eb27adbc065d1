//! The line between an agent and its server, which a case can cut, or make lose what the server says.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The type of TLS records that belong to the handshake and are not yet encrypted (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A port that leads to a server's. It ends with the runtime of the case.
pub struct Line {
    /// To be reached instead of the server's.
    pub port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Whoever connects is thrown out.
    Cut,
    /// What the agent sends arrives; of what the server sends, the handshake alone.
    LosesAnswers,
}

impl Line {
    /// A good line.
    ///
    /// # Errors
    /// There is no port.
    pub async fn to(server_port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = watch::Sender::new(State::Good);
        let changes = state.subscribe();
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                let mut changes = changes.clone();
                let state = *changes.borrow_and_update();
                tokio::spawn(async move {
                    // Either way both ends are closed.
                    tokio::select! {
                        _ = changes.changed() => {}
                        _ = carry(agent, server_port, state) => {}
                    }
                });
            }
        });
        Ok(Self { port, state })
    }

    /// Breaks what is open, and lets nobody through.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Breaks what is open; from now on answers are lost.
    pub fn lose_answers(&self) {
        self.state.send_replace(State::LosesAnswers);
    }

    /// Breaks what is open, and is a good line again.
    pub fn mend(&self) {
        self.state.send_replace(State::Good);
    }
}

async fn carry(agent: TcpStream, server_port: u16, state: State) -> Result<()> {
    if state == State::Cut {
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await?;
    let ((from_agent, to_agent), (from_server, to_server)) = (agent.into_split(), server.into_split());
    // Whether the agent has come to the end of the handshake. What it sends then is written in one piece with its first
    // call, so that a chunk begins with a record.
    let is_over = AtomicBool::new(false);
    let upwards = pass(from_agent, to_server, |chunk| {
        is_over.fetch_or(chunk[0] != HANDSHAKE, Ordering::Relaxed);
        true
    });
    let downwards = pass(from_server, to_agent, |_| state == State::Good || !is_over.load(Ordering::Relaxed));
    tokio::select! {
        result = upwards => result,
        result = downwards => result,
    }
}

/// Hands on what `wanted` accepts, until one side ends.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if wanted(&buffer[..length]) {
            to.write_all(&buffer[..length]).await?;
        }
    }
}
