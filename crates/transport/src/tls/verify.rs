//! Certificate checks of both sides, by SPIFFE ID (X509-SVID standard, section 5).

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use steeple_runtime::Clock;
use steeple_spiffe::x509::{self, Certificate, X509Error};

use super::{Admission, Expect, provider};

/// Whether an error, or one that caused it, says that the peer's certificate chains to no authority that is known.
pub fn is_unknown_authority(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref::<Error>(), Some(Error::InvalidCertificate(CertificateError::UnknownIssuer))) {
            return true;
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // An I/O error's `source` skips the error that it wraps.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

pub(super) struct ClientVerifier {
    admission: Arc<dyn Admission>,
    clock: Clock,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(super) fn new(admission: Arc<dyn Admission>, clock: Clock) -> Self {
        Self { admission, clock, algorithms: provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = parse(leaf, intermediates)?;
        let id = chain[0].spiffe_id().map_err(refuse)?;
        if !self.admission.admits(&id) {
            return Err(unexpected(Unexpected::Client(id.to_string())));
        }
        let trust_domain = id.trust_domain();
        let authorities = self.admission.authorities(&trust_domain);
        let authorities = authorities.ok_or_else(|| refuse(X509Error::UnknownTrustDomain(trust_domain)))?;
        x509::verify_x509_svid(&chain, &authorities, self.clock.now()).map_err(refuse)?;
        Ok(ClientCertVerified::assertion())
    }

    fn client_auth_mandatory(&self) -> bool {
        false
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

pub(super) struct ServerVerifier {
    expect: Expect,
    clock: Clock,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(expect: Expect, clock: Clock) -> Self {
        Self { expect, clock, algorithms: provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = parse(leaf, intermediates)?;
        let (expected, actual) = match &self.expect {
            Expect::Verified { id, authorities } => {
                let authorities = Arc::clone(&authorities.borrow());
                (id, x509::verify_x509_svid(&chain, &authorities, self.clock.now()).map_err(refuse)?)
            }
            Expect::DangerouslyUnverified { id } => (id, chain[0].spiffe_id().map_err(refuse)?),
        };
        if *expected != actual {
            return Err(unexpected(Unexpected::Server { found: actual.to_string(), expected: expected.to_string() }));
        }
        Ok(ServerCertVerified::assertion())
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

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientVerifier")
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerVerifier")
    }
}

/// Never empty: the leaf is its first.
fn parse(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, Error> {
    std::iter::once(leaf).chain(intermediates).map(|der| Certificate::from_der(der).map_err(refuse)).collect()
}

/// The alert that the peer sees tells only the class; the text is for our own log.
fn refuse(error: X509Error) -> Error {
    Error::InvalidCertificate(match error {
        X509Error::UnknownAuthority => CertificateError::UnknownIssuer,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    })
}

/// A failed handshake in words: rustls shows what a verifier says in the notation of the program.
pub(crate) fn in_words(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(reason)))) => {
            io::Error::new(error.kind(), Arc::clone(reason))
        }
        _ => error,
    }
}

/// The peer is who it says, but not who is wanted.
#[derive(Debug, thiserror::Error)]
enum Unexpected {
    #[error("unexpected ID {0:?}")]
    Client(String),
    #[error("unexpected ID {found:?}, expected {expected:?}")]
    Server { found: String, expected: String },
}

fn unexpected(error: Unexpected) -> Error {
    Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(error))))
}
