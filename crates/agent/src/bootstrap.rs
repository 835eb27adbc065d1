//! The first bundle: what the agent believes before it has ever met its server.

use std::time::Duration;

use steeple_spiffe::bundle::jwks;
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{Bundle, TrustDomain, bundle};

use crate::config::{Bootstrap, BundleFormat};

/// A server that serves the bundle answers within this.
const FETCH_LIMIT: Duration = Duration::from_secs(60);
/// The longest document, in bytes.
const LONGEST: usize = 8 << 20;

/// Why there is no first bundle.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read.
    #[error("could not parse trust bundle: open {path}: {error}")]
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
    /// What came is no bundle.
    #[error("unable to parse trust bundle from {origin}: {error}")]
    Parse {
        /// File or URL.
        origin: String,
        /// Why.
        error: steeple_spiffe::BundleError,
    },
    /// The bundle has no X.509 authority.
    #[error("trust bundle from {0} holds no X.509 authority")]
    Empty(String),
}

/// Fetches the bundle anew; None when the operator wants to believe whoever answers.
///
/// # Errors
/// See [`BootstrapError`].
pub(crate) async fn load(
    bootstrap: &Bootstrap,
    trust_domain: &TrustDomain,
) -> Result<Option<Vec<Certificate>>, BootstrapError> {
    let (origin, text, format) = match bootstrap {
        Bootstrap::Insecure => return Ok(None),
        Bootstrap::Path(path, format) => {
            let origin = path.display().to_string();
            let text = tokio::fs::read(path).await;
            (origin.clone(), text.map_err(|error| BootstrapError::Read { path: origin, error })?, format)
        }
        Bootstrap::Url(url, format) => {
            let text = fetch(url).await.map_err(|error| BootstrapError::Fetch { url: url.clone(), error })?;
            (url.clone(), text, format)
        }
    };
    let bundle = parse(&text, *format, trust_domain);
    let bundle = bundle.map_err(|error| BootstrapError::Parse { origin: origin.clone(), error })?;
    let authorities: Vec<_> = bundle.x509_authorities.into_iter().map(|authority| authority.certificate).collect();
    if authorities.is_empty() {
        return Err(BootstrapError::Empty(origin));
    }
    Ok(Some(authorities))
}

fn parse(text: &[u8], format: BundleFormat, trust_domain: &TrustDomain) -> Result<Bundle, steeple_spiffe::BundleError> {
    match format {
        BundleFormat::Pem => bundle::pem::parse(trust_domain, &String::from_utf8_lossy(text)),
        // Each key must say what it is for: an operator's mistake here would cost more than a refused start.
        BundleFormat::Spiffe => jwks::parse(trust_domain, text, jwks::Mode::Strict),
    }
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(web_tls()?)
        .timeout(FETCH_LIMIT)
        .build()
        .map_err(|error| explain(&error))?;
    let mut response = client.get(url).send().await.map_err(|error| explain(&error))?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error))? {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST {
            return Err(format!("the document is longer than {LONGEST} bytes"));
        }
    }
    Ok(text)
}

/// The system's own authorities, by our one crypto back end.
fn web_tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this host has no certificate authorities (package ca-certificates)".to_owned());
    }
    let config = rustls::ClientConfig::builder_with_provider(steeple_transport::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// With all that caused it: the outermost error says only that something failed.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
