//! The way to a collector.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use steeple_config::otlp::Otlp;
use steeple_runtime::os::unread;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::tls::provider;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
#[error("experimental.steeple.otlp.{0}")]
pub struct OtlpError(String);

/// A channel that connects when first used, and again after it broke.
pub(super) fn to(otlp: &Otlp) -> Result<Channel, OtlpError> {
    let Otlp { host, port, tls, ca_file, ratio: _, interval: _ } = otlp;
    let tls = if *tls {
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| OtlpError(format!("endpoint: {host:?} is no name that a certificate has")))?;
        Some((connector(ca_file.as_deref())?, name))
    } else {
        None
    };
    let (place, shown) = ((host.clone(), *port), authority(host, *port));
    let connect = service_fn(move |_: Uri| {
        let (tls, place) = (tls.clone(), place.clone());
        async move {
            let connection = TcpStream::connect(place).await?;
            connection.set_nodelay(true)?;
            let connection: Box<dyn Stream> = match tls {
                Some((connector, name)) => Box::new(connector.connect(name, connection).await?),
                None => Box::new(connection),
            };
            std::io::Result::Ok(TokioIo::new(connection))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{shown}"));
    let endpoint = endpoint.map_err(|error| OtlpError(format!("endpoint: {shown:?}: {error}")))?;
    Ok(endpoint.connect_with_connector_lazy(connect))
}

/// With TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Believes the authorities of the file, or those of the system.
fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, OtlpError> {
    let roots = match ca_file {
        Some(file) => of_file(file)?,
        None => of_system()?,
    };
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| OtlpError(format!("endpoint: {error}")))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

fn of_file(file: &Path) -> Result<RootCertStore, OtlpError> {
    let refused = |why: String| OtlpError(format!("ca_file: {why}"));
    let pem = std::fs::read(file).map_err(|error| refused(unread(file, &error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate.map_err(|error| error.to_string()).map(|der| roots.add(der));
        added
            .and_then(|added| added.map_err(|error| error.to_string()))
            .map_err(|why| refused(format!("{}: {why}", file.display())))?;
    }
    if roots.is_empty() { Err(refused(format!("{}: no certificate in it", file.display()))) } else { Ok(roots) }
}

fn of_system() -> Result<RootCertStore, OtlpError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(OtlpError("ca_file is needed: this host has no certificate authorities of its own".to_owned()));
    }
    Ok(roots)
}
