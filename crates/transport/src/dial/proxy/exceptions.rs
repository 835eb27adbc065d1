//! `NO_PROXY`, as programs in Go read it: the documented rules of `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

/// Which servers are reached without the proxy.
#[derive(Debug, Default)]
pub(super) struct Exceptions(Vec<Exception>);

#[derive(Debug)]
enum Exception {
    /// `*`
    All,
    /// `10.0.0.0/8`, whatever the port.
    Network { address: IpAddr, prefix: u32 },
    /// `10.0.0.1`, `10.0.0.1:8081` or `[::1]:8081`
    Address(IpAddr, Port),
    /// `example.org`, `.example.org` and `*.example.org`, with or without a port.
    Domain {
        /// In lower case.
        name: String,
        /// Whether the name itself is meant as well, besides what is below it.
        itself: bool,
        port: Port,
    },
}

/// A port as it was written; empty for every one.
#[derive(Debug)]
struct Port(String);

impl Port {
    fn is(&self, port: u16) -> bool {
        self.0.is_empty() || self.0 == port.to_string()
    }
}

impl Exceptions {
    /// Reads a list with commas between. What makes no sense excepts nobody.
    pub(super) fn read(list: &str) -> Self {
        Self(list.split(',').filter_map(|text| exception(&text.trim().to_lowercase())).collect())
    }

    /// Whether a server is among them. An IPv6 address may stand in brackets.
    pub(super) fn have(&self, host: &str, port: u16) -> bool {
        let host = host.trim().to_lowercase();
        let ip = address(host.trim_start_matches('[').trim_end_matches(']'));
        self.0.iter().any(|exception| match exception {
            Exception::All => true,
            Exception::Network { address, prefix } => ip.is_some_and(|ip| begin_alike(ip, *address, *prefix)),
            Exception::Address(address, of) => ip == Some(*address) && of.is(port),
            Exception::Domain { name, itself, port: of } => {
                let above = host.strip_suffix(name.as_str());
                above.is_some_and(|rest| if rest.is_empty() { *itself } else { rest.ends_with('.') }) && of.is(port)
            }
        })
    }
}

fn exception(text: &str) -> Option<Exception> {
    if text == "*" {
        return Some(Exception::All);
    }
    if let Some((base, prefix)) = text.split_once('/')
        && let (Some(address), Ok(prefix)) = (address(base), prefix.parse())
    {
        return (prefix <= bits(address)).then_some(Exception::Network { address, prefix });
    }
    let (host, port) = host_and_port(text);
    if let Some(address) = address(host) {
        return Some(Exception::Address(address, Port(port.to_owned())));
    }
    let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
    let name = below.unwrap_or(host).to_owned();
    (!name.is_empty()).then(|| Exception::Domain { name, itself: below.is_none(), port: Port(port.to_owned()) })
}

/// An address without brackets has no port if it is full of colons.
fn host_and_port(text: &str) -> (&str, &str) {
    if let Some((host, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return (host, port);
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port),
        _ => (text, ""),
    }
}

/// An IPv4 address that is written as one of IPv6 is the same.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn begin_alike(a: IpAddr, b: IpAddr, prefix: u32) -> bool {
    // As if all had 128 bits, at the upper end.
    let number = |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let different = number(a) ^ number(b);
    a.is_ipv4() == b.is_ipv4() && different.leading_zeros() >= prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a list excepts of these, all at port 8081.
    fn excepted(list: &str) -> Vec<&'static str> {
        let all = ["a.test", "b.a.test", "ba.test", "10.1.2.3", "10.1.2.4", "2001:db8::1", "::ffff:10.1.2.3"];
        let exceptions = Exceptions::read(list);
        all.into_iter().filter(|host| exceptions.have(host, 8081)).collect()
    }

    #[test]
    fn a_domain_excepts_itself_and_what_is_below_and_with_a_dot_in_front_only_that() {
        for list in ["a.test", " A.Test ", "x.test, a.test", "a.test:8081", "a.test:"] {
            assert_eq!(excepted(list), ["a.test", "b.a.test"], "{list}");
        }
        for list in [".a.test", "*.a.test", "*.a.test:8081"] {
            assert_eq!(excepted(list), ["b.a.test"], "{list}");
        }
        assert!(Exceptions::read("a.test").have("A.TEST", 1));
    }

    #[test]
    fn another_port_is_another_server() {
        for list in ["a.test:443", "10.1.2.3:443", "[2001:db8::1]:443", "a.test:8o81", "a.test:8081:"] {
            assert_eq!(excepted(list), [""; 0], "{list}");
        }
    }

    #[test]
    fn addresses_and_networks_except_addresses() {
        assert_eq!(excepted("10.1.2.3"), ["10.1.2.3", "::ffff:10.1.2.3"]);
        assert_eq!(excepted("10.1.2.4:8081"), ["10.1.2.4"]);
        assert_eq!(excepted("2001:db8::1"), ["2001:db8::1"]);
        assert_eq!(excepted("[2001:db8::1]:8081"), ["2001:db8::1"]);
        assert_eq!(excepted("10.1.0.0/16"), ["10.1.2.3", "10.1.2.4", "::ffff:10.1.2.3"]);
        assert_eq!(excepted("10.1.2.3/32"), ["10.1.2.3", "::ffff:10.1.2.3"]);
        assert_eq!(excepted("2001:db8::/32"), ["2001:db8::1"]);
        assert_eq!(excepted("::/0"), ["2001:db8::1"]);
        assert_eq!(excepted("0.0.0.0/0"), ["10.1.2.3", "10.1.2.4", "::ffff:10.1.2.3"]);
        assert!(Exceptions::read("2001:db8::/32").have("[2001:db8::9]", 1));
    }

    #[test]
    fn a_star_excepts_all_and_what_makes_no_sense_nobody() {
        assert_eq!(excepted("x.test,*").len(), 7);
        for list in ["", ",", " , ", ".", "*.", ":8081", "10.1.2.3/33", "a.test/8", "**", "http://a.test"] {
            assert_eq!(excepted(list), [""; 0], "{list}");
        }
    }
}
