use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use steeple_spiffe::{PublicKey, PublicKeyError, SignatureAlgorithm};

use crate::PrivateKey;

/// A key that signs, wherever it lives.
#[async_trait]
pub trait Signer: Send + Sync + Debug {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The one algorithm that it signs with.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Hashes and signs a message; an ECDSA signature is DER.
    ///
    /// # Errors
    /// [`SignError`].
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A [`PrivateKey`] as [`Signer`], with its type's algorithm. It signs on the caller's thread: for EC that is
/// some ten microseconds; who signs much with RSA wraps it in a pool of its own.
#[derive(Debug, Clone)]
pub struct LocalSigner(pub Arc<PrivateKey>);

#[async_trait]
impl Signer for LocalSigner {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.key_type().signature_algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.sign(self.algorithm(), message)
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key does not make signatures of that algorithm.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// A digest has another length than those of the algorithm's hash.
    #[error("the digest has the wrong length")]
    DigestLength,
    /// The crypto back end failed.
    #[error("signing failed")]
    Backend,
    /// The signature does not have the form of its algorithm.
    #[error("the signature is malformed")]
    Malformed,
    /// The key lives elsewhere, and there it went wrong.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl SignError {
    /// What went wrong where the key lives.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}
