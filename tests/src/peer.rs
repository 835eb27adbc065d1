//! mTLS as a program has it that uses `steeple-spiffe`: an X.509 source, and configurations that ask it at each handshake.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use steeple_spiffe::SpiffeId;
use steeple_spiffe::tls::{Authorize, Authorized, Config};
use steeple_spiffe::workload_api::{SourceOptions, X509Source};
use steeple_spiffe::x509::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Agent, within};

/// A workload in this process that speaks mTLS. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    /// Its identity and its bundles.
    pub source: X509Source,
}

impl Peer {
    /// A workload of this agent, when it has its first SVID.
    ///
    /// # Errors
    /// It gets none.
    pub async fn new(agent: &Agent) -> Result<Self> {
        let source = X509Source::start(agent.workload().client().clone(), SourceOptions::default())?;
        within("the first SVID", source.ready()).await??;
        Ok(Self { source })
    }

    /// Accepts connections of `id`, in TLS 1.2 and 1.3, and sends back what they send. What goes wrong with one is told
    /// to `failed`. Returns the address; it ends with the runtime.
    ///
    /// # Errors
    /// There is no port, or the configuration cannot be made.
    pub async fn serve(&self, id: &str, failed: impl Fn(anyhow::Error) + Send + Sync + 'static) -> Result<String> {
        let config = Arc::new(self.authorizing(id)?.server()?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, failed) = (listener.local_addr()?.to_string(), Arc::new(failed));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (config, failed) = (Arc::clone(&config), Arc::clone(&failed));
                tokio::spawn(async move {
                    if let Err(error) = answer(connection, config).await {
                        failed(error);
                    }
                });
            }
        });
        Ok(address)
    }

    /// What connects to servers of this identity in one version of TLS.
    ///
    /// # Errors
    /// The configuration cannot be made.
    pub fn connector(&self, id: &str, version: &'static SupportedProtocolVersion) -> Result<TlsConnector> {
        Ok(TlsConnector::from(Arc::new(self.authorizing(id)?.with_versions(&[version]).client()?)))
    }

    fn authorizing(&self, id: &str) -> Result<Config> {
        let authorize = Authorize::one(SpiffeId::parse(id)?);
        Ok(Config::new(Authorized::new(self.source.clone(), authorize)).with_identity(self.source.clone()))
    }
}

async fn answer(connection: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    let mut tls = TlsAcceptor::from(config).accept(connection).await.context("handshake of the server")?;
    let mut buffer = [0; 64];
    loop {
        let length = tls.read(&mut buffer).await.context("reading at the server")?;
        if length == 0 {
            break;
        }
        tls.write_all(&buffer[..length]).await.context("writing at the server")?;
    }
    tls.shutdown().await.context("closing at the server")
}

/// Opens a connection and waits for the answer to one message: in TLS 1.3 the server has accepted us only then.
///
/// # Errors
/// It fails, with how far it came.
pub async fn connect(connector: &TlsConnector, address: &str) -> Result<TlsStream<TcpStream>> {
    let connection = TcpStream::connect(address).await.context("connecting")?;
    begin(connector, connection)?.await
}

/// The same over a connection that is open already: the handshake has begun, with its first message made, when this
/// returns.
///
/// # Errors
/// It cannot begin; what is returned fails with how far it came.
pub fn begin(
    connector: &TlsConnector,
    connection: TcpStream,
) -> Result<impl Future<Output = Result<TlsStream<TcpStream>>> + use<>> {
    let name = ServerName::try_from("any").context("a name for nobody")?;
    let handshake = connector.connect(name, connection);
    Ok(async move {
        let mut tls = handshake.await.context("handshake of the client")?;
        echo(&mut tls).await?;
        Ok(tls)
    })
}

/// Sends something and waits for it to come back.
///
/// # Errors
/// It does not.
pub async fn echo(tls: &mut TlsStream<TcpStream>) -> Result<()> {
    let mut answer = [0; 5];
    tls.write_all(b"hello").await.context("writing at the client")?;
    tls.read_exact(&mut answer).await.context("reading at the client")?;
    ensure!(&answer == b"hello", "no echo");
    Ok(())
}

/// The serial number of the certificate that the server has shown, in hex.
///
/// # Errors
/// It has shown none that can be read.
pub fn serial(tls: &TlsStream<TcpStream>) -> Result<String> {
    let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
    Ok(Certificate::from_der(shown)?.serial_hex())
}
