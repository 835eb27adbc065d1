//! The way to a server through an HTTP proxy, as gRPC programs in Go go it: `HTTPS_PROXY` names the proxy, `NO_PROXY` the
//! hosts that are reached directly, this host is always reached directly, and the proxy resolves the server's name.

mod exceptions;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{Service, service_fn};

use exceptions::Exceptions;

/// Which servers are reached through which proxy. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Proxy(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    /// Which knows no exceptions.
    proxy: Matcher,
    exceptions: Exceptions,
}

impl Proxy {
    /// Every server is reached directly.
    pub fn none() -> Self {
        Self(None)
    }

    /// As `HTTPS_PROXY` and `NO_PROXY` say, or their names in lower case.
    pub fn of_environment() -> Self {
        let first = |names: [&str; 2]| {
            names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        let https = first(["HTTPS_PROXY", "https_proxy"]);
        https.map_or_else(Self::none, |https| Self::new(https, &first(["NO_PROXY", "no_proxy"]).unwrap_or_default()))
    }

    /// `https` is a URL, or host and port; `no` a list of hosts, domains, addresses and networks with commas between.
    pub fn new(https: String, no: &str) -> Self {
        let proxy = Matcher::builder().https(https).build();
        Self(Some(Arc::new(Way { proxy, exceptions: Exceptions::read(no) })))
    }

    /// The proxy for a server, if there is one: the door of the fuzz target, which no other build has.
    #[cfg(fuzzing)]
    pub fn of(&self, host: &str, port: u16) -> Option<Uri> {
        self.on_the_way_to(host, port).map(|(proxy, _)| proxy.uri().clone())
    }

    /// A connection on which the server's first byte is the next to come.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        match self.on_the_way_to(host, port) {
            Some((proxy, server)) => through(&proxy, server).await,
            None => TcpStream::connect((host, port)).await,
        }
    }

    /// Whether a proxy finds the server.
    pub(super) fn is_on_the_way_to(&self, host: &str, port: u16) -> bool {
        self.on_the_way_to(host, port).is_some()
    }

    fn on_the_way_to(&self, host: &str, port: u16) -> Option<(Intercept, Uri)> {
        let Way { proxy, exceptions } = self.0.as_deref()?;
        if is_this_host(host) || exceptions.have(host, port) {
            return None;
        }
        let server: Uri = format!("https://{}:{port}", super::bracketed(host)).parse().ok()?;
        Some((proxy.intercept(&server)?, server))
    }
}

fn is_this_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

async fn through(proxy: &Intercept, server: Uri) -> io::Result<TcpStream> {
    let named = |why: String| io::Error::other(format!("proxy {}: {why}", proxy.uri()));
    // Others than the reference's plain one would be asked in a language that they do not speak.
    if proxy.uri().scheme_str() != Some("http") {
        return Err(named("only http:// is supported".to_owned()));
    }
    let dial = service_fn(async |proxy: Uri| {
        let address = (proxy.host().unwrap_or_default(), proxy.port_u16().unwrap_or(80));
        TcpStream::connect(address).await.map(TokioIo::new)
    });
    let mut tunnel = Tunnel::new(proxy.uri().clone(), dial);
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    let stream = tunnel.call(server).await.map_err(|error| named(super::in_full(&error)))?;
    Ok(stream.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_through(proxy: &Proxy, host: &str) -> Option<String> {
        proxy.on_the_way_to(host, 8081).map(|(proxy, _)| proxy.uri().to_string())
    }

    #[test]
    fn a_server_is_reached_through_the_proxy_unless_it_is_excepted() {
        let proxy = Proxy::new("http://proxy.test:3128".into(), "excepted.test, 10.0.0.0/8");
        for host in ["server.test", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(goes_through(&proxy, host).as_deref(), Some("http://proxy.test:3128/"), "{host}");
        }
        for host in ["excepted.test", "below.excepted.test", "10.1.2.3", "localhost", "127.0.0.9", "::1", "[::1]"] {
            assert_eq!(goes_through(&proxy, host), None, "{host}");
        }
    }

    #[test]
    fn without_a_proxy_every_server_is_reached_directly() {
        assert_eq!(goes_through(&Proxy::none(), "server.test"), None);
    }

    #[test]
    fn a_proxy_may_be_named_without_its_scheme() {
        let proxy = Proxy::new("proxy.test:3128".into(), "");
        assert_eq!(goes_through(&proxy, "server.test").as_deref(), Some("http://proxy.test:3128/"));
    }
}
