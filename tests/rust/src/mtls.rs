//! TLS with what a source has at the moment: each connection has a configuration of its own. (spiffe-rustls refuses
//! handshakes between an update of its source and the moment when it has converted it, so that a case that counts
//! failures could not be run with it.)

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};
use serde_json::json;
use spiffe::{SpiffeId, X509Source, X509Svid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::extensions::GeneralName;

use crate::{Flags, authorities, event, serial, serial_of};

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(20);
/// For one connection, from dialling to the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers each connection of the peer with what it sent. A handshake that fails is its own event.
pub async fn serve(flags: &Flags) -> Result<()> {
    let (source, peer) = (Arc::new(flags.source().await?), SpiffeId::new(flags.text("-peer")?)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    event("listening", json!({ "address": listener.local_addr()?.to_string() }));
    loop {
        let (connection, _) = listener.accept().await?;
        let (source, peer) = (Arc::clone(&source), peer.clone());
        tokio::spawn(async move {
            let answered = tokio::time::timeout(PATIENCE, answer(connection, &source, &peer)).await;
            if let Err(error) = answered.context("it takes too long").flatten() {
                event("failed", json!({ "error": format!("{error:#}") }));
            }
        });
    }
}

async fn answer(connection: TcpStream, source: &X509Source, peer: &SpiffeId) -> Result<()> {
    let svid = source.svid()?;
    let roots = roots(source, peer)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&svid), key(&svid))?;
    let mut tls = TlsAcceptor::from(Arc::new(config)).accept(connection).await?;
    let shown = tls.get_ref().1.peer_certificates().unwrap_or_default();
    authorize(shown.first().context("no certificate")?, peer)?;
    let (mut read, mut write) = tokio::io::split(&mut tls);
    tokio::io::copy(&mut read, &mut write).await?;
    tls.shutdown().await?;
    Ok(())
}

/// Makes one connection after the other until it has shown and seen enough certificates.
pub async fn call(flags: &Flags) -> Result<()> {
    let (source, peer) = (flags.source().await?, SpiffeId::new(flags.text("-peer")?)?);
    let (mut handshakes, mut own, mut theirs) = (0, BTreeSet::new(), BTreeSet::new());
    while own.len() <= flags.rotations()? || theirs.len() <= flags.rotations()? {
        let svid = source.svid()?;
        let echo = echo(flags.text("-address")?, &source, &svid, &peer);
        theirs.insert(tokio::time::timeout(PATIENCE, echo).await??);
        own.insert(serial(&svid)?);
        handshakes += 1;
        tokio::time::sleep(PAUSE).await;
    }
    event("done", json!({ "handshakes": handshakes, "own": own.len(), "theirs": theirs.len() }));
    Ok(())
}

/// Makes one connection, waits for the answer to one message, and returns the serial number of the server's.
async fn echo(address: &str, source: &X509Source, svid: &X509Svid, peer: &SpiffeId) -> Result<String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName(roots(source, peer)?)))
        .with_client_auth_cert(chain(svid), key(svid))?;
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let connection = TcpStream::connect(address).await?;
    let mut tls = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("any")?, connection).await?;
    let shown = tls.get_ref().1.peer_certificates().unwrap_or_default().first().context("no certificate")?.clone();
    authorize(&shown, peer)?;
    tls.write_all(b"hello").await?;
    let mut answer = [0; 5];
    tls.read_exact(&mut answer).await?;
    ensure!(&answer == b"hello", "no echo");
    tls.shutdown().await?;
    serial_of(&shown)
}

/// Whether the source's bundle of the certificate's trust domain vouches for it.
pub fn verify(source: &X509Source, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> Result<()> {
    AnyName(roots(source, &spiffe_id(leaf)?)?).chain(leaf, between, UnixTime::now())?;
    Ok(())
}

pub fn chain(svid: &X509Svid) -> Vec<CertificateDer<'static>> {
    svid.cert_chain().iter().map(|certificate| CertificateDer::from(certificate.as_bytes().to_vec())).collect()
}

fn key(svid: &X509Svid) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec()).into()
}

fn roots(source: &X509Source, peer: &SpiffeId) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in authorities(source, peer.trust_domain())? {
        roots.add(authority)?;
    }
    Ok(roots)
}

fn authorize(certificate: &CertificateDer<'_>, peer: &SpiffeId) -> Result<()> {
    let id = spiffe_id(certificate)?;
    ensure!(id == *peer, "unexpected ID {id}");
    Ok(())
}

fn spiffe_id(certificate: &CertificateDer<'_>) -> Result<SpiffeId> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)?;
    let names = parsed.subject_alternative_name()?.context("no name")?;
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uris: Vec<&str> = uris.collect();
    let [uri] = *uris else { bail!("not one URI but {}", uris.len()) };
    Ok(SpiffeId::new(uri)?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Verifies the chain of a server alone: it has no host name.
#[derive(Debug)]
struct AnyName(RootCertStore);

impl AnyName {
    fn chain(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.0,
            between,
            now,
            algorithms,
        )
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain(leaf, between, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
