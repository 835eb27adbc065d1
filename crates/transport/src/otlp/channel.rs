//! The way to a collector.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use steeple_config::otlp::Otlp;
use steeple_runtime::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::CALL_LIMIT;
use crate::dial::{KEEPALIVE, KEEPALIVE_LIMIT, Place};
use crate::tls::{H2, Time, provider, roots, system_roots};

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
#[error("experimental.steeple.otlp.{0}")]
pub struct OtlpError(String);

/// A channel that connects when first used, and again after it broke. An attempt has as long as a batch.
pub(super) fn to(otlp: &Otlp, clock: &Clock) -> Result<Channel, OtlpError> {
    let Otlp { host, port, tls, ca_file, ratio: _, interval: _ } = otlp;
    let tls = if *tls {
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| OtlpError(format!("endpoint: {host:?} is no name that a certificate has")))?;
        Some((connector(ca_file.as_deref(), clock)?, name))
    } else {
        None
    };
    let (place, clock) = (Place { host: host.clone(), port: *port }, clock.clone());
    let endpoint = Endpoint::from_shared(format!("http://{place}"));
    let endpoint = endpoint.map_err(|error| OtlpError(format!("endpoint: \"{place}\": {error}")))?;
    let connect = service_fn(move |_: Uri| {
        let (tls, place, clock) = (tls.clone(), place.clone(), clock.clone());
        async move {
            let connected = clock.within(CALL_LIMIT, connection(place, tls)).await;
            connected.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into())).map(TokioIo::new)
        }
    });
    let endpoint = endpoint.http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE_LIMIT);
    Ok(endpoint.connect_with_connector_lazy(connect))
}

async fn connection(
    Place { host, port }: Place,
    tls: Option<(TlsConnector, ServerName<'static>)>,
) -> std::io::Result<Box<dyn Stream>> {
    let connection = TcpStream::connect((host, port)).await?;
    connection.set_nodelay(true)?;
    Ok(match tls {
        Some((connector, name)) => Box::new(connector.connect(name, connection).await?),
        None => Box::new(connection),
    })
}

/// With TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Believes the authorities of the file, or those of the system.
fn connector(ca_file: Option<&Path>, clock: &Clock) -> Result<TlsConnector, OtlpError> {
    let roots = match ca_file {
        Some(file) => roots(&file.to_string_lossy()).map_err(|error| OtlpError(format!("ca_file: {error}")))?,
        None => system_roots().ok_or_else(|| {
            OtlpError("ca_file is needed: this host has no certificate authorities of its own".to_owned())
        })?,
    };
    let config = ClientConfig::builder_with_details(provider(), Arc::new(Time(clock.clone())));
    let config = config.with_safe_default_protocol_versions();
    let config = config.map_err(|error| OtlpError(format!("endpoint: {error}")))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(Arc::new(config).into())
}
