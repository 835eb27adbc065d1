//! What a daemon measures, for Prometheus: HTTP or HTTPS on a port of its own, the same answer under every path.

mod tls;

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use steeple_config::telemetry::{self, Prometheus};
use steeple_runtime::metrics::{Scraped, Telemetry};
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::Certificate;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::http1;
use crate::tls::{CredentialWatch, KeyExchange};
pub use tls::ScrapeError;

/// The X.509 authorities of a trust domain, None when it is not known.
pub type Authorities = Arc<dyn Fn(&TrustDomain) -> Option<Arc<[Certificate]>> + Send + Sync>;

/// What the daemon has of SPIFFE, for a listener that is to use it.
#[derive(Clone)]
pub struct Spiffe {
    /// The daemon's own SVID.
    pub credential: CredentialWatch,
    /// Who vouches for clients.
    pub authorities: Authorities,
    /// How keys are exchanged.
    pub key_exchange: KeyExchange,
}

/// A listener that has not begun to listen.
pub struct Listener {
    address: String,
    tls: Option<http1::Tls>,
    scraped: Scraped,
}

impl Listener {
    /// Reads what TLS wants, and finds out whether it can be had. None: the file asks for no listener.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub fn of(
        config: &telemetry::Telemetry,
        measured: &Telemetry,
        spiffe: Spiffe,
        clock: Clock,
    ) -> Result<Option<Self>, ScrapeError> {
        let Some((config, scraped)) = config.prometheus.as_ref().zip(measured.scraped()) else { return Ok(None) };
        Self::new(config, scraped, spiffe, clock).map(Some)
    }

    fn new(config: &Prometheus, scraped: Scraped, spiffe: Spiffe, clock: Clock) -> Result<Self, ScrapeError> {
        const THIS_HOST: &str = "localhost";
        let Prometheus { host, port, tls } = config;
        let host = if host.is_empty() { THIS_HOST } else { host };
        if host != THIS_HOST {
            warn!(
                target: "telemetry",
                "Agent is now configured to accept remote network connections for Prometheus stats collection. Please \
                 ensure access to this port is tightly controlled"
            );
        }
        info!(target: "telemetry", host, port, "Starting prometheus exporter");
        let tls = tls.as_ref().map(|tls| tls::of(tls, spiffe, clock)).transpose()?;
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let address = if is_bare_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { address, tls, scraped })
    }

    /// Answers until it is told to stop. A place that is not to be had is told in the log, as in the reference: a daemon
    /// serves also those who do not measure it.
    pub async fn serve(self, clock: Clock, shutdown: Shutdown) {
        let Self { address, tls, scraped } = self;
        let listener = match TcpListener::bind(&address).await {
            Ok(listener) => listener,
            Err(error) => {
                warn!(target: "telemetry", "Prometheus listener stopped unexpectedly: {error}");
                return;
            }
        };
        if let Ok(at) = listener.local_addr() {
            info!(target: "telemetry", address = %at, "Serving measurements");
        }
        let answering = Arc::new(move |_: &Uri| answer(&scraped));
        http1::serve(listener, tls, answering, clock, shutdown).await;
    }
}

fn answer(scraped: &Scraped) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(scraped.text())));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
