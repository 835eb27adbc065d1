//! Connections that come through a proxy, which says first whose they are: the PROXY protocol of HAProxy, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

/// The networks of proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

/// A header of version 1 in bytes (section 2.1).
const LONGEST_V1: usize = 107;
/// What a header of version 2 begins with (section 2.2).
const HEAD_V2: usize = 16;
/// What may follow that in bytes: both addresses, and fields that nobody reads here.
const LONGEST_V2: usize = 4096;

impl Proxies {
    /// Those in `networks`; with none, nobody is believed.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether a connection from there may say whose it is.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Whose a proxy's connection is: the address that it names, or its own when it says nothing, or says that it speaks for
/// itself. What follows on the connection is its owner's.
///
/// # Errors
/// The header is malformed, longer than anybody needs, or does not come to its end.
pub(super) async fn owner(stream: &mut TcpStream, proxy: SocketAddr) -> io::Result<SocketAddr> {
    // No message of TLS begins like either version.
    let mut first = [0];
    stream.peek(&mut first).await?;
    owner_behind(first[0], stream, proxy).await
}

/// The same for bytes in place of a connection: the door of the fuzz target, which no other build has. Returns what comes
/// after the header as well.
///
/// # Errors
/// As for a connection.
#[cfg(fuzzing)]
pub async fn told_owner(mut sent: &[u8], proxy: SocketAddr) -> io::Result<(SocketAddr, &[u8])> {
    let first = sent.first().copied().unwrap_or_default();
    let owner = owner_behind(first, &mut sent, proxy).await?;
    Ok((owner, sent))
}

/// What comes next on `stream` is `first`.
async fn owner_behind(first: u8, stream: &mut (impl AsyncRead + Unpin), proxy: SocketAddr) -> io::Result<SocketAddr> {
    match first {
        b'P' => Ok(owner_v1(stream).await?.unwrap_or(proxy)),
        b'\r' => Ok(owner_v2(stream).await?.unwrap_or(proxy)),
        _ => Ok(proxy),
    }
}

async fn owner_v1(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut line = Vec::with_capacity(LONGEST_V1);
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_V1 {
            return Err(malformed("the line is too long"));
        }
        // One by one: the next byte may be the owner's.
        line.push(stream.read_u8().await?);
    }
    let header = v1::Header::try_from(&*line).map_err(malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(v1::IPv4 { source_address, source_port, .. }) => Some((source_address, source_port).into()),
        v1::Addresses::Tcp6(v1::IPv6 { source_address, source_port, .. }) => Some((source_address, source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

async fn owner_v2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; HEAD_V2];
    stream.read_exact(&mut header).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > LONGEST_V2 {
        return Err(malformed("the header is too long"));
    }
    header.resize(HEAD_V2 + length, 0);
    stream.read_exact(&mut header[HEAD_V2..]).await?;
    let header = v2::Header::try_from(&*header).map_err(malformed)?;
    Ok(match (header.command, header.addresses) {
        // The proxy asks for itself, such as for our health.
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(v2::IPv4 { source_address, source_port, .. })) => {
            Some((source_address, source_port).into())
        }
        (_, v2::Addresses::IPv6(v2::IPv6 { source_address, source_port, .. })) => {
            Some((source_address, source_port).into())
        }
        (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

fn malformed(what: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("PROXY protocol: {}", what.to_string()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Whose a connection is that begins with `sent`, and what comes after that.
    async fn read(sent: &[u8]) -> io::Result<(String, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        client.write_all(sent).await?;
        drop(client);
        let (mut stream, _) = listener.accept().await?;
        let owner = owner(&mut stream, "192.0.2.1:9".parse().unwrap()).await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok((owner.to_string(), rest))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x20 | command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn whose_it_is_stands_in_front_and_what_follows_is_not_touched() {
        let v4 = [198, 51, 100, 7, 192, 0, 2, 1, 0x12, 0x34, 0x1f, 0x91];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], &[0; 16][..], &[0x12, 0x34, 0x1f, 0x91]]
            .concat();
        let with_a_field = [&v4[..], &[4, 0, 1, 0]].concat();
        for (header, owner) in [
            (b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 8081\r\n".to_vec(), "198.51.100.7:4660"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4660 8081\r\n".to_vec(), "[2001:db8::7]:4660"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "192.0.2.1:9"),
            (v2(1, 0x11, &v4), "198.51.100.7:4660"),
            (v2(1, 0x11, &with_a_field), "198.51.100.7:4660"),
            (v2(1, 0x21, &v6), "[2001:db8::7]:4660"),
            (v2(0, 0x11, &v4), "192.0.2.1:9"),
            (v2(0, 0, &[]), "192.0.2.1:9"),
            (Vec::new(), "192.0.2.1:9"),
        ] {
            let hello = [0x16, 3, 1, 0, 5];
            let (found, rest) = read(&[&header[..], &hello].concat()).await.unwrap();
            assert_eq!((found.as_str(), &rest[..]), (owner, &hello[..]), "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_header_that_makes_no_sense_is_refused() {
        for header in [
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4660\r\n".to_vec(),
            b"PROXY TCP4 nobody 192.0.2.1 4660 8081\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 8081".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
            b"POST / HTTP/1.1\r\n".to_vec(),
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0".to_vec(),
            v2(1, 0x11, &[0; 4]),
            v2(1, 0x11, &[0; 5000]),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01".to_vec(),
        ] {
            assert!(read(&header).await.is_err(), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn networks_are_those_of_proxies_and_of_nobody_else() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        for (address, is_proxy) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(proxies.has(address.parse().unwrap()), is_proxy, "{address}");
        }
        assert!(!Proxies::default().has("127.0.0.1".parse().unwrap()));
    }
}
