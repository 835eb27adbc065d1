//! The first bundle: what the agent believes before it has ever met its server.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{ClientBuilder, StatusCode};
use rustls::ClientConfig;
use steeple_runtime::Clock;
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::os::unread;
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::workload_api::{ClientError, Endpoint, WorkloadApiClient, X509Bundles};
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{Bundle, TrustDomain, bundle};
use steeple_transport::dial::in_full;
use steeple_transport::tls::system_roots;
use tracing::debug;

use crate::config::{Bootstrap, BundleFormat};
use crate::storage::Bootstrapping;

/// From the first packet to the last byte. Half of the agent's patience, so that a server that hung once is asked again.
const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// The same for a Workload API, which may have to make an SVID first. The reference has this figure.
const WORKLOAD_API_LIMIT: Duration = Duration::from_secs(60);
/// The longest document, in bytes.
const LONGEST: usize = 8 << 20;

/// Why there is no first bundle.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read.
    #[error("could not parse trust bundle: {}", unread(path.as_ref(), error))]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The URL did not give it.
    #[error("unable to fetch trust bundle URL {url}: {error}")]
    Fetch {
        /// The URL.
        url: String,
        /// Why.
        error: String,
    },
    /// The URL gave something else.
    #[error("error downloading trust bundle: {status} ({url})")]
    Download {
        /// The URL.
        url: String,
        /// How the server answered.
        status: StatusCode,
    },
    /// The Workload API did not give it.
    #[error("unable to fetch trust bundle from SPIFFE Workload API {endpoint}: {error}")]
    WorkloadApi {
        /// Where it is.
        endpoint: Endpoint,
        /// Why.
        error: ClientError,
    },
    /// The Workload API does not have it.
    #[error(
        "SPIFFE Workload API {endpoint} did not provide a trust bundle for trust domain {:?}", trust_domain.name()
    )]
    NotFederated {
        /// Where it is.
        endpoint: Endpoint,
        /// The agent's own.
        trust_domain: TrustDomain,
    },
    /// What came is no bundle.
    #[error("unable to parse trust bundle from {origin}: {error}")]
    Parse {
        /// File or URL.
        origin: String,
        /// Why.
        error: steeple_spiffe::BundleError,
    },
    /// The bundle has no X.509 authority.
    #[error("no certificates found in trust bundle: {0}")]
    Empty(String),
}

/// Fetches the bundle anew; None when the operator wants to believe whoever answers.
///
/// # Errors
/// See [`BootstrapError`].
pub(crate) async fn load(
    bootstrap: &Bootstrap,
    trust_domain: &TrustDomain,
    so_far: Bootstrapping,
    clock: &Clock,
) -> Result<Option<Vec<Certificate>>, BootstrapError> {
    let (origin, text, format) = match bootstrap {
        Bootstrap::Insecure => return Ok(None),
        Bootstrap::WorkloadApi(endpoint) => {
            let bundle = workload_api(endpoint, trust_domain, clock).await?;
            return authorities(&bundle, endpoint.to_string()).map(Some);
        }
        Bootstrap::Path(path, format) => {
            let origin = path.display().to_string();
            let text = tokio::fs::read(path).await;
            (origin.clone(), text.map_err(|error| BootstrapError::Read { path: origin, error })?, format)
        }
        Bootstrap::Url(url, format) => {
            let tls = web_tls().map_err(|error| BootstrapError::Fetch { url: url.clone(), error })?;
            // Nothing but TLS is followed to: what a redirect to plain HTTP led to would be anybody's word.
            let client = reqwest::Client::builder().tls_backend_preconfigured(tls).https_only(true);
            (url.clone(), fetch(url, client, clock).await?, format)
        }
        Bootstrap::UrlOnSocket { url, socket, format, told } => {
            let asked = with_parameters(url, told, so_far)
                .map_err(|error| BootstrapError::Fetch { url: url.clone(), error })?;
            // Plain HTTP; the library wants a TLS back end all the same, and this one believes nobody.
            let nobody = tls_of(rustls::RootCertStore::empty())
                .map_err(|error| BootstrapError::Fetch { url: url.clone(), error: error.to_string() })?;
            let client = reqwest::Client::builder().tls_backend_preconfigured(nobody);
            let client = client.unix_socket(socket.as_path()).no_proxy();
            (url.clone(), fetch(&asked, client, clock).await?, format)
        }
    };
    let bundle = parse(&text, *format, trust_domain);
    let bundle = bundle.map_err(|error| BootstrapError::Parse { origin: origin.clone(), error })?;
    authorities(&bundle, origin).map(Some)
}

fn authorities(bundle: &Bundle, origin: String) -> Result<Vec<Certificate>, BootstrapError> {
    let authorities: Vec<_> = bundle.x509_certificates().cloned().collect();
    if authorities.is_empty() { Err(BootstrapError::Empty(origin)) } else { Ok(authorities) }
}

/// What another agent says of this trust domain.
async fn workload_api(
    endpoint: &Endpoint,
    trust_domain: &TrustDomain,
    clock: &Clock,
) -> Result<Arc<Bundle>, BootstrapError> {
    debug!("Fetching trust bundle from SPIFFE Workload API: {endpoint}");
    let failed = |error: ClientError| BootstrapError::WorkloadApi { endpoint: endpoint.clone(), error };
    // Its own limit is off: here the agent's clock counts.
    let client = WorkloadApiClient::new(endpoint).map_err(failed)?.with_limit(None);
    let answer = clock.within(WORKLOAD_API_LIMIT, client.fetch_x509_bundles()).await;
    let late = || Err(ClientError::TimedOut(WORKLOAD_API_LIMIT));
    let X509Bundles { bundles, crls: _ } = answer.unwrap_or_else(late).map_err(failed)?;
    bundles
        .get(trust_domain)
        .cloned()
        .ok_or_else(|| BootstrapError::NotFederated { endpoint: endpoint.clone(), trust_domain: trust_domain.clone() })
}

fn parse(text: &[u8], format: BundleFormat, trust_domain: &TrustDomain) -> Result<Bundle, steeple_spiffe::BundleError> {
    match format {
        BundleFormat::Pem => bundle::pem::parse(trust_domain, &String::from_utf8_lossy(text)),
        // Each key must say what it is for: an operator's mistake here would cost more than a refused start.
        BundleFormat::Spiffe => jwks::parse(trust_domain, text, jwks::Mode::Strict),
    }
}

/// A URL with what the one behind the socket may want to know, all parameters sorted by name.
fn with_parameters(url: &str, told: &[(&'static str, String)], so_far: Bootstrapping) -> Result<String, String> {
    let Bootstrapping { again, since, attempts } = so_far;
    let mut url = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    let mut parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let mode = if again { "rebootstrap" } else { "bootstrap" };
    let since = since.map(unix_seconds).and_then(|since| jiff::Timestamp::from_second(since).ok());
    let own = [
        ("spire-attest-mode", mode.to_owned()),
        ("spire-connection-attempts", attempts.to_string()),
        ("spire-attest-start-time", since.unwrap_or_default().to_string()),
    ];
    parameters.extend(own.iter().chain(told).map(|(name, value)| ((*name).to_owned(), value.clone())));
    // Stable: several of one name keep their order.
    parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
    url.query_pairs_mut().clear().extend_pairs(parameters);
    Ok(url.into())
}

/// Downloads a document, all of it in time.
async fn fetch(url: &str, client: ClientBuilder, clock: &Clock) -> Result<Vec<u8>, BootstrapError> {
    let failed = |error: String| BootstrapError::Fetch { url: url.to_owned(), error };
    let fetching = async {
        let client = client.build().map_err(|error| failed(in_full(&error)))?;
        let mut response = client.get(url).send().await.map_err(|error| failed(in_full(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(BootstrapError::Download { url: url.to_owned(), status: response.status() });
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(in_full(&error)))? {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST {
                return Err(failed(format!("the document is longer than {LONGEST} bytes")));
            }
        }
        Ok(text)
    };
    let late = || failed(format!("no answer in full within {} s", FETCH_LIMIT.as_secs()));
    clock.within(FETCH_LIMIT, fetching).await.unwrap_or_else(|| Err(late()))
}

/// The system's own authorities, by our one crypto back end.
fn web_tls() -> Result<ClientConfig, String> {
    let none = "this host has no certificate authorities (package ca-certificates, or SSL_CERT_FILE)";
    tls_of(system_roots().ok_or(none)?).map_err(|error| error.to_string())
}

fn tls_of(roots: rustls::RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(steeple_transport::tls::provider());
    Ok(config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;
