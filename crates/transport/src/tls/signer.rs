//! Handshakes signed by a key that may live outside of this process.

use std::sync::Arc;

use futures::FutureExt;
use rustls::sign::{Signer as TlsSigner, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm as TlsAlgorithm, SignatureScheme};
use steeple_pki::{SignatureAlgorithm, Signer};

use super::TlsError;

/// A [`Signer`] as TLS wants it: synchronous.
#[derive(Clone, Debug)]
pub(super) struct HandshakeKey {
    signer: Arc<dyn Signer>,
    scheme: SignatureScheme,
}

impl HandshakeKey {
    /// ECDSA alone: an RSA key would have to sign with PSS in TLS 1.3, and a signer has one algorithm.
    pub(super) fn new(signer: Arc<dyn Signer>) -> Result<Self, TlsError> {
        let scheme = match signer.algorithm() {
            SignatureAlgorithm::EcdsaSha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureAlgorithm::EcdsaSha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            other => return Err(TlsError::Key(Error::General(format!("no TLS signature scheme for {other:?}")))),
        };
        Ok(Self { signer, scheme })
    }
}

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn TlsSigner>> {
        offered.contains(&self.scheme).then(|| Box::new(self.clone()) as Box<dyn TlsSigner>)
    }

    fn algorithm(&self) -> TlsAlgorithm {
        TlsAlgorithm::ECDSA
    }
}

impl TlsSigner for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signing = self.signer.sign(message);
        // A key in this process signs at once; for another, this thread waits and its other tasks move away.
        let signed = match signing.as_mut().now_or_never() {
            Some(signed) => signed,
            None => tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(signing)),
        };
        signed.map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
