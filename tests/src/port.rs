use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Below the range from which the kernel takes the local ports of outgoing connections: a daemon that is restarted must
/// find its port free again.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A TCP port of 127.0.0.1 that nobody listens on and that no other case of this process was given.
///
/// # Errors
/// All are taken.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Runs that go on at the same time begin at different places.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    let next = |_| FIRST + (start + GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
    (0..COUNT)
        .map(next)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .with_context(|| format!("no free TCP port from {FIRST} to {}", FIRST + COUNT))
}
