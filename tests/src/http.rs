//! HTTP without TLS to a port of this host.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait;

/// Asks once, as in `http(port, "GET /ready", "")`; returns the status and the body of the answer.
///
/// # Errors
/// Nobody answers there, or what comes is no HTTP.
pub async fn http(port: u16, what: &str, body: &str) -> Result<(u16, String)> {
    let (status, answer) = http_bytes(port, what, body).await?;
    Ok((status, String::from_utf8(answer)?))
}

/// As [`http`], where the answer is no text.
///
/// # Errors
/// As there.
pub async fn http_bytes(port: u16, what: &str, body: &str) -> Result<(u16, Vec<u8>)> {
    let asking = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        // Of this version the answer comes in one piece, and then the end.
        let head = format!("{what} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = wait::within(what, asking).await??;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.with_context(|| format!("no HTTP: {}", String::from_utf8_lossy(&answer)))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status: {head}"))?, answer[end + 4..].to_vec()))
}
