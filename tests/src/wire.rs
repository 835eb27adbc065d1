//! The wire between a server and its database, which a case can cut, or make swallow what is sent over it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A port that leads to another one. It ends with the runtime of the case.
pub struct Wire {
    /// To be reached instead of the other one.
    pub port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Whoever connects is thrown out.
    Cut,
    /// Connections on which the client has said this stay open, and nothing comes through any more.
    Swallows(Vec<u8>),
}

impl Wire {
    /// A good one.
    ///
    /// # Errors
    /// There is no port.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let state = watch::Sender::new(State::Good);
        let this = Self { port: listener.local_addr()?.port(), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut changes, looked_at) = (state.subscribe(), state.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = changes.wait_for(|state| *state == State::Cut) => {}
                        _ = carry(client, port, looked_at) => {}
                    }
                });
            }
        });
        Ok(this)
    }

    /// Breaks what is open, and lets nobody through.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// From now on nothing comes through, either way, on connections whose client says or has said `word`. Nobody
    /// is told.
    pub fn swallow(&self, word: &str) {
        self.state.send_replace(State::Swallows(word.as_bytes().to_vec()));
    }

    /// Is a good one again. What was swallowed stays so, and its connection with it.
    pub fn mend(&self) {
        self.state.send_replace(State::Good);
    }
}

async fn carry(client: TcpStream, port: u16, state: watch::Receiver<State>) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let said = Arc::new(watch::Sender::new(Vec::new()));
    let (upwards, downwards) =
        (pass(from_client, to_server, &said, true, state.clone()), pass(from_server, to_client, &said, false, state));
    tokio::select! {
        result = upwards => result,
        result = downwards => result,
    }
}

/// What a client has said is remembered up to here; whole statements are far shorter.
const REMEMBERED: usize = 64 << 10;

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    said: &watch::Sender<Vec<u8>>,
    is_client: bool,
    state: watch::Receiver<State>,
) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut is_deaf = false;
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 && !is_deaf {
            return Ok(());
        }
        if length == 0 {
            // The end is swallowed as well.
            std::future::pending::<()>().await;
        }
        if is_client {
            said.send_modify(|said| {
                said.extend_from_slice(&buffer[..length]);
                let surplus = said.len().saturating_sub(REMEMBERED);
                said.drain(..surplus);
            });
        }
        is_deaf |= match &*state.borrow() {
            State::Swallows(word) => said.borrow().windows(word.len()).any(|window| window == word.as_slice()),
            State::Good | State::Cut => false,
        };
        if !is_deaf {
            to.write_all(&buffer[..length]).await?;
        }
    }
}
