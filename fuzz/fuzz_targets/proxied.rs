//! What a proxy says in front of a connection about whose it is. Whatever is believed is a header of one of the two versions,
//! is not believed before it is whole, and leaves what follows it alone.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use steeple_transport::listen::told_owner;
use tokio::runtime::Builder;

const FOLLOWING: &[u8] = b"\x16\x03\x01\r\n";

fuzz_target!(|data: &[u8]| {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let proxy = SocketAddr::from(([192, 0, 2, 1], 9));
    let told = |sent: &[u8]| {
        let (owner, rest) = runtime.block_on(told_owner(sent, proxy)).ok()?;
        Some((owner, sent.len() - rest.len()))
    };
    let Some((owner, length)) = told(data) else { return };
    let header = &data[..length];
    if header.is_empty() {
        assert_eq!(owner, proxy, "nobody has said otherwise");
        return;
    }
    assert!(header.starts_with(b"PROXY ") || header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    assert_eq!(told(&[header, FOLLOWING].concat()), Some((owner, length)));
    assert_eq!(told(&header[..length - 1]), None, "a header without its end");
    // What it names is read from our own words as well.
    let (family, other) = if owner.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
    let line = format!("PROXY {family} {} {other} {} 8081\r\n", owner.ip(), owner.port());
    assert_eq!(told(line.as_bytes()), Some((owner, line.len())));
});
