//! What rustls asks of both sides' certificates, answered by [`Peers`].

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::{PeerError, Peers, provider};
use crate::{Certificate, X509Error};

/// Whether an error, or one that caused it, says that the peer's certificate chains to no authority that is known.
pub fn is_unknown_authority(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let is_so = |error: &Error| matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
        if error.downcast_ref().is_some_and(is_so) || matches!(error.downcast_ref(), Some(X509Error::UnknownAuthority))
        {
            return true;
        }
        next = match error.downcast_ref::<io::Error>() {
            // An I/O error's `source` skips the error that it wraps.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

/// A failed handshake in words: rustls shows what a verifier says in the notation of the program.
pub fn in_words(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))) => {
            io::Error::new(error.kind(), Arc::clone(reason))
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            io::Error::new(error.kind(), X509Error::UnknownAuthority)
        }
        _ => error,
    }
}

/// Both sides' verifier.
pub(super) struct Verifier {
    peers: Arc<dyn Peers>,
    /// Whether a client must show a certificate; a server always does.
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(peers: Arc<dyn Peers>, mandatory: bool) -> Self {
        Self { peers, mandatory, algorithms: provider().signature_verification_algorithms }
    }

    fn accept(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let parse = |der: &CertificateDer<'_>| Certificate::from_der(der);
        let chain: Result<Vec<_>, X509Error> = std::iter::once(leaf).chain(others).map(parse).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        chain.map_err(PeerError::X509).and_then(|chain| self.peers.accept(&chain, now)).map_err(refuse)
    }
}

impl ClientCertVerifier for Verifier {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.accept(leaf, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.accept(leaf, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// The alert that the peer sees tells only the class; the text is for our own log.
fn refuse(error: PeerError) -> Error {
    Error::InvalidCertificate(match error {
        PeerError::X509(X509Error::UnknownAuthority) => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}
