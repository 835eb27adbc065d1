//! HTTP/2 by hand (RFC 9113): what no library would send.

use std::collections::HashMap;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use steeple_tests::within;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// A peer's window before it says something else, of a connection and of each stream.
const WINDOW: i64 = 65_535;
/// The largest frame that every peer takes.
const FRAME: usize = 16 << 10;

/// The headers of a call, with further ones.
pub(super) fn grpc<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    [&pseudo[..], &[("content-type", "application/grpc"), ("te", "trailers")], more].concat()
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By an answer, be it only a status.
    Answered,
    /// By RST_STREAM.
    Reset,
}

/// A connection.
pub(super) struct Wire<S> {
    stream: S,
    next: u32,
    /// What may be sent, by stream; the connection's is that of stream 0.
    windows: HashMap<u32, i64>,
    initial: i64,
    /// How streams have ended.
    pub(super) ended: HashMap<u32, Ending>,
    /// Bytes of answers.
    pub(super) answered: HashMap<u32, usize>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Says how many bytes of each stream it takes, and waits for what the peer says of that.
    pub(super) async fn open(stream: S, takes: u32) -> Result<Self> {
        let (next, windows) = (1, HashMap::from([(0, WINDOW)]));
        let mut wire = Self { stream, next, windows, initial: WINDOW, ended: HashMap::new(), answered: HashMap::new() };
        wire.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        wire.send(SETTINGS, 0, 0, &[&[0, 4], &takes.to_be_bytes()[..]].concat()).await?;
        wire.read().await?.context("closed at once")?;
        Ok(wire)
    }

    /// Begins a call. Returns its stream.
    pub(super) async fn call(&mut self, headers: &[(&str, &str)]) -> Result<u32> {
        let stream = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in headers {
            // A literal that is not indexed (RFC 7541, section 6.2.2).
            block.push(0);
            text(&mut block, name);
            text(&mut block, value);
        }
        let mut parts = block.chunks(FRAME).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.send(kind, flags, stream, part).await?;
            kind = 9;
        }
        self.windows.insert(stream, self.initial);
        Ok(stream)
    }

    /// Sends bytes of a request, as the peer takes them; stops when it has answered.
    pub(super) async fn body(&mut self, stream: u32, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(FRAME) {
            let room = |wire: &Self| [0, stream].iter().all(|id| wire.windows[id] >= part.len() as i64);
            while !room(self) && !self.ended.contains_key(&stream) {
                within("the peer to take more", self.read()).await??.context("the peer is gone")?;
            }
            if self.ended.contains_key(&stream) {
                return Ok(());
            }
            self.send(DATA, 0, stream, part).await?;
            for id in [0, stream] {
                self.windows.entry(id).and_modify(|window| *window -= part.len() as i64);
            }
        }
        Ok(())
    }

    /// Calls a method with an empty message, and is done with the request.
    pub(super) async fn ask(&mut self, headers: &[(&str, &str)]) -> Result<u32> {
        let stream = self.call(headers).await?;
        self.send(DATA, END_STREAM, stream, &prefix(0)).await?;
        Ok(stream)
    }

    /// Waits for the end of a stream. Returns how it ended, and the bytes of its answer.
    pub(super) async fn ending(&mut self, stream: u32) -> Result<(Ending, usize)> {
        loop {
            if let Some(ending) = self.ended.get(&stream) {
                return Ok((*ending, self.answered.get(&stream).copied().unwrap_or_default()));
            }
            within("the end of a call", self.read()).await??.context("the peer is gone")?;
        }
    }

    /// Reads one frame; None when the peer has closed the connection.
    pub(super) async fn read(&mut self) -> Result<Option<()>> {
        let mut header = [0; 9];
        if self.stream.read_exact(&mut header).await.is_err() {
            return Ok(None);
        }
        let [a, b, c, kind, flags, id @ ..] = header;
        let (length, id) = (u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes(id) & 0x7fff_ffff);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks(6) {
                    if let [0, 4, value @ ..] = setting {
                        self.initial = u32::from_be_bytes(value.try_into()?).into();
                    }
                }
                self.send(SETTINGS, ACK, 0, &[]).await?;
            }
            WINDOW_UPDATE => {
                let more = u32::from_be_bytes(payload[..].try_into()?);
                self.windows.entry(id).and_modify(|window| *window += i64::from(more));
            }
            DATA => *self.answered.entry(id).or_default() += payload.len(),
            // What comes after the end of an answer says only that nobody reads the rest of the request.
            RST_STREAM => drop(self.ended.entry(id).or_insert(Ending::Reset)),
            _ => {}
        }
        if [DATA, HEADERS].contains(&kind) && flags & END_STREAM != 0 {
            self.ended.entry(id).or_insert(Ending::Answered);
        }
        Ok(Some(()))
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.stream.write_all(&frame).await?;
        Ok(self.stream.flush().await?)
    }
}

/// The beginning of a gRPC message that says that it is so long.
pub(super) fn prefix(length: u32) -> [u8; 5] {
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

/// A string (RFC 7541, section 5.2), not in Huffman's code.
fn text(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push((length % 128) as u8 | 128);
            length /= 128;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text.as_bytes());
}
