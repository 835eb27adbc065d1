//! Where the Workload API is (SPIFFE Workload Endpoint, section 4).

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The environment variable that says where the Workload API is.
pub const ENDPOINT_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// The socket of a Workload API.
///
/// As text it is a URI (RFC 3986): `unix:///run/agent.sock`, which may also be written `unix:/run/agent.sock`, or
/// `tcp://127.0.0.1:8000`. The scheme may have capitals; a path may have percent-encoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix domain socket with an absolute path.
    Unix(PathBuf),
    /// A TCP port of an address, in the clear: for a network in which the server can tell by the address who calls
    /// (section 3), such as the loopback.
    Tcp(SocketAddr),
}

impl Endpoint {
    /// The longest URI that is looked at, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// What [`ENDPOINT_VARIABLE`] says.
    ///
    /// # Errors
    /// The variable is unset or empty, or as [`Endpoint::parse`].
    pub fn from_env() -> Result<Self, EndpointError> {
        Self::of_variable(std::env::var_os(ENDPOINT_VARIABLE))
    }

    fn of_variable(value: Option<OsString>) -> Result<Self, EndpointError> {
        let value = value.filter(|value| !value.is_empty()).ok_or(EndpointError::NotSet)?;
        Self::parse(value.to_str().ok_or(EndpointError::NotUnicode)?)
    }

    /// Reads the URI of an endpoint.
    ///
    /// # Errors
    /// [`EndpointError`] says which rule is broken.
    pub fn parse(uri: &str) -> Result<Self, EndpointError> {
        if uri.len() > Self::MAX_LEN {
            return Err(EndpointError::TooLong);
        }
        let (scheme, rest) = uri.split_once(':').ok_or_else(|| EndpointError::Scheme(uri.into()))?;
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let read = match scheme.to_ascii_lowercase().as_str() {
            "unix" => unix,
            "tcp" => tcp,
            _ => return Err(EndpointError::Scheme(scheme.into())),
        };
        match (fragment, query) {
            (Some(_), _) => Err(EndpointError::Fragment),
            (None, Some(_)) => Err(EndpointError::Query),
            (None, None) => read(rest),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(uri: &str) -> Result<Self, EndpointError> {
        Self::parse(uri)
    }
}

/// The URI, for messages: a path is not percent-encoded again.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Why a text names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Nobody said where the Workload API is.
    #[error("{ENDPOINT_VARIABLE} is not set")]
    NotSet,
    /// The variable is not UTF-8.
    #[error("{ENDPOINT_VARIABLE} is not UTF-8")]
    NotUnicode,
    /// The URI exceeds [`Endpoint::MAX_LEN`].
    #[error("endpoint URI is longer than {max} bytes", max = Endpoint::MAX_LEN)]
    TooLong,
    /// The scheme is missing, or neither `unix` nor `tcp`.
    #[error("endpoint URI needs the scheme unix or tcp, not {0:?}")]
    Scheme(String),
    /// There is a fragment (`#`).
    #[error("endpoint URI must not have a fragment")]
    Fragment,
    /// There is a query (`?`).
    #[error("endpoint URI must not have a query")]
    Query,
    /// A Unix socket has an authority between `unix://` and the path: often a slash is missing.
    #[error("unix endpoint URI must not have an authority, but has {0:?}; write unix:///path")]
    UnixAuthority(String),
    /// A Unix socket has no path.
    #[error("unix endpoint URI has no path")]
    NoPath,
    /// The path of a Unix socket is relative.
    #[error("unix endpoint path {0:?} is not absolute")]
    RelativePath(String),
    /// A `%` in a path is not followed by two hexadecimal digits, or stands for a zero byte.
    #[error("unix endpoint path {0:?} is badly percent-encoded")]
    PercentEncoding(String),
    /// A TCP endpoint has user information (`@`).
    #[error("tcp endpoint URI must not have user information")]
    UserInfo,
    /// A TCP endpoint has no host.
    #[error("tcp endpoint URI has no host")]
    NoHost,
    /// The host is a name: who answers to it is for others to say.
    #[error("tcp endpoint host {0:?} is not an IP address")]
    HostNotIp(String),
    /// A TCP endpoint has no port, or port 0.
    #[error("tcp endpoint URI has no port")]
    NoPort,
    /// The port is no number of at most 65535.
    #[error("tcp endpoint port {0:?} is no port number")]
    Port(String),
    /// A TCP endpoint has a path, be it only a slash.
    #[error("tcp endpoint URI must not have a path, but has {0:?}")]
    TcpPath(String),
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

fn authority_and_path(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix("//")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

fn unix(rest: &str) -> Result<Endpoint, EndpointError> {
    let (authority, path) = authority_and_path(rest).unwrap_or(("", rest));
    if !authority.is_empty() {
        return Err(EndpointError::UnixAuthority(authority.into()));
    }
    if path.is_empty() || path == "/" {
        return Err(EndpointError::NoPath);
    }
    if !path.starts_with('/') {
        return Err(EndpointError::RelativePath(path.into()));
    }
    let decoded = percent_decoded(path).ok_or_else(|| EndpointError::PercentEncoding(path.into()))?;
    Ok(Endpoint::Unix(decoded.into()))
}

/// None as well for what is no UTF-8 or has a zero byte, which no path has.
fn percent_decoded(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(if byte == b'%' {
            let (digits, behind) = behind.split_at_checked(2)?;
            rest = behind;
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit(digits[0])? << 4 | digit(digits[1])?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok().filter(|path| !path.contains('\0'))
}

fn tcp(rest: &str) -> Result<Endpoint, EndpointError> {
    let (authority, path) = authority_and_path(rest).ok_or(EndpointError::NoHost)?;
    if !path.is_empty() {
        return Err(EndpointError::TcpPath(path.into()));
    }
    if authority.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    // An IPv6 address stands in brackets and is full of colons.
    let host_end =
        if authority.starts_with('[') { authority.find(']').map_or(authority.len(), |at| at + 1) } else { 0 };
    let colon = authority[host_end..].find(':').map(|at| host_end + at);
    let (host, port) = colon.map_or((authority, ""), |at| (&authority[..at], &authority[at + 1..]));
    if host.is_empty() {
        return Err(EndpointError::NoHost);
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match bracketed {
        Some(host) => host.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    };
    let ip = ip.ok_or_else(|| EndpointError::HostNotIp(host.into()))?;
    if port.is_empty() {
        return Err(EndpointError::NoPort);
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let number: u16 = port.parse().ok().filter(|_| is_number).ok_or_else(|| EndpointError::Port(port.into()))?;
    if number == 0 {
        return Err(EndpointError::NoPort);
    }
    Ok(Endpoint::Tcp(SocketAddr::new(ip, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(uri: &str) -> Result<String, EndpointError> {
        Endpoint::parse(uri).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn every_form_of_an_endpoint_is_read() {
        for (uri, expected) in [
            ("unix:///run/agent/api.sock", "unix:///run/agent/api.sock"),
            ("unix:/run/agent/api.sock", "unix:///run/agent/api.sock"),
            ("UNIX:///run/api.sock", "unix:///run/api.sock"),
            ("unix:///run/a%20b%2fc", "unix:///run/a b/c"),
            ("tcp://127.0.0.1:8000", "tcp://127.0.0.1:8000"),
            ("tcp://[::1]:65535", "tcp://[::1]:65535"),
        ] {
            assert_eq!(text(uri).unwrap(), expected, "{uri}");
        }
    }

    #[test]
    fn every_broken_rule_of_an_endpoint_has_its_error() {
        use EndpointError as E;
        let cases = [
            ("", E::Scheme("".into())),
            ("/run/api.sock", E::Scheme("/run/api.sock".into())),
            ("http://127.0.0.1:80", E::Scheme("http".into())),
            ("unix:", E::NoPath),
            ("unix://", E::NoPath),
            ("unix:///", E::NoPath),
            ("unix:run/api.sock", E::RelativePath("run/api.sock".into())),
            ("unix:@abstract", E::RelativePath("@abstract".into())),
            ("unix://run/api.sock", E::UnixAuthority("run".into())),
            ("unix://user@/api.sock", E::UnixAuthority("user@".into())),
            ("unix:///api.sock?a=b", E::Query),
            ("unix:///api.sock#a?b", E::Fragment),
            ("unix:///a%2", E::PercentEncoding("/a%2".into())),
            ("unix:///a%xy", E::PercentEncoding("/a%xy".into())),
            ("unix:///a%00", E::PercentEncoding("/a%00".into())),
            ("unix:///a%ff", E::PercentEncoding("/a%ff".into())),
            ("tcp:127.0.0.1:80", E::NoHost),
            ("tcp://", E::NoHost),
            ("tcp://:80", E::NoHost),
            ("tcp://localhost:80", E::HostNotIp("localhost".into())),
            ("tcp://[localhost]:80", E::HostNotIp("[localhost]".into())),
            ("tcp://[::1:80", E::HostNotIp("[::1:80".into())),
            ("tcp://::1:80", E::NoHost),
            ("tcp://1.2.3.4", E::NoPort),
            ("tcp://1.2.3.4:", E::NoPort),
            ("tcp://[::1]", E::NoPort),
            ("tcp://1.2.3.4:0", E::NoPort),
            ("tcp://1.2.3.4:65536", E::Port("65536".into())),
            ("tcp://1.2.3.4:+80", E::Port("+80".into())),
            ("tcp://1.2.3.4:80/", E::TcpPath("/".into())),
            ("tcp://1.2.3.4:80/foo", E::TcpPath("/foo".into())),
            ("tcp://1.2.3.4:80?a", E::Query),
            ("tcp://1.2.3.4:80#a", E::Fragment),
            ("tcp://me@1.2.3.4:80", E::UserInfo),
        ];
        for (uri, expected) in cases {
            assert_eq!(text(uri), Err(expected), "{uri}");
        }
        assert_eq!(text(&format!("unix:///{}", "a".repeat(4096))), Err(E::TooLong));
    }

    #[test]
    fn an_unset_and_an_empty_variable_name_no_endpoint() {
        use std::os::unix::ffi::OsStringExt;
        assert_eq!(Endpoint::of_variable(None), Err(EndpointError::NotSet));
        assert_eq!(Endpoint::of_variable(Some(OsString::new())), Err(EndpointError::NotSet));
        let latin = OsString::from_vec(b"unix:///\xe9".to_vec());
        assert_eq!(Endpoint::of_variable(Some(latin)), Err(EndpointError::NotUnicode));
        assert!(Endpoint::of_variable(Some("tcp://127.0.0.1:1".into())).is_ok());
        assert_eq!(EndpointError::NotSet.to_string(), "SPIFFE_ENDPOINT_SOCKET is not set");
    }

    proptest::proptest! {
        #[test]
        fn reading_an_endpoint_answers_any_text(text in ".{0,80}", scheme in "(unix|tcp):/{0,3}") {
            let _ = Endpoint::parse(&text);
            let _ = Endpoint::parse(&format!("{scheme}{text}"));
        }

        #[test]
        fn an_endpoint_survives_the_round_trip(path in "(/[^%?#\0/]{1,9}){1,5}", ip: std::net::IpAddr, port in 1..=u16::MAX) {
            for endpoint in [Endpoint::Unix(path.into()), Endpoint::Tcp(SocketAddr::new(ip, port))] {
                proptest::prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
            }
        }
    }
}
