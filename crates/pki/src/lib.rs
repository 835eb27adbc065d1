//! Making: keys, certificate requests, certificates and tokens.
//!
//! Signing goes through one trait, [`Signer`], which is asynchronous because a key may live in another process or in a
//! cloud. Nothing else here waits, does I/O or reads a clock: times are arguments, and no async runtime is needed.
//!
//! What is made has, byte for byte, the form that SPIRE gives it: order of extensions and names, string types, spelling
//! of JSON. `tests/golden` makes recorded certificates, requests and tokens again and compares them.
#![warn(missing_docs)]

pub mod certificate;
pub mod csr;
pub mod jws;
pub mod possession;

mod ecdsa;
mod key;
mod signer;

pub use certificate::{Issuer, Kind, Name, Serial, Template, issue, self_signed};
pub use csr::CertificateRequest;
pub use key::{KeyType, PrivateKey};
pub use signer::{LocalSigner, SignError, Signer};
pub use steeple_spiffe::x509::{DistinguishedName as Subject, Extension, ExtraName, ObjectIdentifier};
pub use steeple_spiffe::{PublicKey, PublicKeyKind, SignatureAlgorithm};

use aws_lc_rs::{digest, rand};
use steeple_spiffe::{PublicKeyError, X509Error, pem::PemError};

/// The key identifier of a public key: SHA-1 over the contents of its BIT STRING (RFC 5280, section 4.2.1.2, method 1).
/// SHA-1 names the key here and protects nothing.
pub fn ski(public_key: &PublicKey) -> [u8; 20] {
    sha1(public_key.bits())
}

/// SHA-256, for fingerprints and digests of content.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest_of(&digest::SHA256, bytes)
}

/// SHA-512, for fingerprints that SPIRE has of configurations.
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    digest_of(&digest::SHA512, bytes)
}

/// SHA-1, for fingerprints that SPIRE's selectors and IDs hold. It names and protects nothing.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)
}

/// SHA-256 over what comes piece by piece.
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Over nothing yet.
    #[allow(clippy::new_without_default, reason = "a digest of nothing is nobody's default")]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// And over this piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        bytes_of(self.0.finish())
    }
}

/// A new name for a token signing key: 32 random letters and digits.
///
/// # Errors
/// [`PkiError::Random`].
pub fn random_key_id() -> Result<String, PkiError> {
    const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut id = String::with_capacity(32);
    while id.len() < 32 {
        // What lies above the last whole multiple of 62 is thrown away, so that all characters are equally likely.
        let fair = random::<32>()?.into_iter().filter(|&byte| byte < 62 * 4);
        id.extend(fair.take(32 - id.len()).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    Ok(id)
}

/// What can go wrong when keys, requests, certificates and tokens are made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random,
    /// A key could not be made.
    #[error("key generation failed")]
    KeyGeneration,
    /// A configured key type is none of ours.
    #[error("key type {0:?} is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]")]
    UnknownKeyType(String),
    /// A private key document is malformed or of a kind that is not supported. Says no more on purpose.
    #[error("private key is malformed or of an unsupported kind")]
    PrivateKey,
    /// A sound private key, but of a kind that we do not sign with.
    #[error("private keys of kind {0} are not supported")]
    UnsupportedKey(PublicKeyKind),
    /// A PEM text that should hold a private key does not.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A public key is malformed or of a kind that is not supported.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// A name, time or extension does not fit into DER: a DNS name that is not ASCII, a time before 1970.
    #[error("cannot encode: {0}")]
    Encoding(#[from] der::Error),
    /// The bytes are no certificate request.
    #[error("{0}")]
    MalformedRequest(String),
    /// A certificate request is not signed by the key in it.
    #[error("{0}")]
    RequestSignature(PublicKeyError),
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What was issued cannot be read back: the signer's fault.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// A WIT-SVID was asked for without a claim that it must have, or with one that it must not have.
    #[error("claim {claim:?} {} in a WIT-SVID", if *wanted { "is needed" } else { "is not allowed" })]
    WitClaim {
        /// The claim.
        claim: &'static str,
        /// Whether it must be there.
        wanted: bool,
    },
    /// Tokens cannot be signed with this algorithm.
    #[error("{0:?} has no JOSE name")]
    NotJose(SignatureAlgorithm),
}

/// `N` is the output length of the algorithm.
fn digest_of<const N: usize>(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> [u8; N] {
    bytes_of(digest::digest(algorithm, bytes))
}

fn bytes_of<const N: usize>(digest: digest::Digest) -> [u8; N] {
    let mut output = [0; N];
    output.copy_from_slice(digest.as_ref());
    output
}

/// Bytes that nobody can foretell.
///
/// # Errors
/// [`PkiError::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(sha1(b"abc")[..4], [0xa9, 0x99, 0x3e, 0x36]);
        let mut pieces = Sha256::new();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.finish(), sha256(b"abc"));
    }

    #[test]
    fn key_ids_are_32_letters_and_digits_and_differ() {
        let ids: Vec<String> = (0..100).map(|_| random_key_id().unwrap()).collect();
        for id in &ids {
            assert_eq!(id.len(), 32);
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        }
        assert!(ids.iter().collect::<std::collections::HashSet<_>>().len() == ids.len());
    }
}
