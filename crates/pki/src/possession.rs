//! Proof that somebody holds the private key of a certificate that is not ours: one signature over a fresh message, hashed
//! with SHA-256 whatever the key. The forms are those that `x509pop` puts on the wire: RSA as PSS, ECDSA as two numbers.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::RsaParameters;
use aws_lc_rs::signature::{self, RsaPssSaltLength, RsaSignatureEncoding, UnparsedPublicKey};
use der::asn1::UintRef;
use der::{Decode, Encode};
use steeple_spiffe::pem::{self, Block};
use steeple_spiffe::{PublicKey, PublicKeyError, PublicKeyKind, SignatureAlgorithm};

use crate::ecdsa::EcdsaSignature;
use crate::key::{PKCS8_LABEL, Pair};
use crate::{PkiError, SignError, sha256};

/// The signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// RSASSA-PSS (RFC 8017, section 8.1) with SHA-256.
    Rsa(Vec<u8>),
    /// ECDSA; both numbers big-endian, without leading zeros.
    Ecdsa {
        /// The first number.
        r: Vec<u8>,
        /// The second number.
        s: Vec<u8>,
    },
}

/// A private key that proves its possession: P-256, P-384, P-521, or RSA of 2048 to 8192 bits. Wiped by the back end when
/// it is dropped.
pub struct ProofKey {
    pair: Pair,
    public_key: PublicKey,
}

impl ProofKey {
    /// Reads the first private key of a PEM text: PKCS #8, SEC 1 or PKCS #1. Blocks before it, such as the parameters
    /// that openssl writes in front of EC keys, are passed over.
    ///
    /// # Errors
    /// [`PkiError::Pem`], or [`PkiError::PrivateKey`] when there is none, or none of these kinds.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let blocks = pem::parse(text)?;
        let key = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"));
        let Block { label, contents } = key.ok_or(PkiError::PrivateKey)?;
        Self::from_der(label, contents)
    }

    /// Reads an unencrypted PKCS #8 document (RFC 5958).
    ///
    /// # Errors
    /// [`PkiError::PrivateKey`]
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, PkiError> {
        Self::from_der(PKCS8_LABEL, der)
    }

    fn from_der(label: &str, der: &[u8]) -> Result<Self, PkiError> {
        let pair = Pair::read(label, der).ok_or(PkiError::PrivateKey)?;
        let public_key = pair.public_key()?;
        Ok(Self { pair, public_key })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs a message. An RSA signature has the longest salt that fits, as the reference makes it.
    ///
    /// # Errors
    /// [`SignError::Backend`]
    pub fn prove(&self, message: &[u8]) -> Result<Proof, SignError> {
        let pair = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&PSS_SIGNING, &SystemRandom::new(), message, &mut signature);
                return signed.map(|()| Proof::Rsa(signature)).map_err(|_| SignError::Backend);
            }
            Pair::Ec(pair) => pair,
        };
        let hash = match self.public_key.kind() {
            PublicKeyKind::EcP384 => &SHA384,
            PublicKeyKind::EcP521 => &SHA512,
            _ => &SHA256,
        };
        // The back end signs with a curve what has the length of its own hash and nothing shorter. ECDSA reads a digest as
        // a number (FIPS 186-5, section 6.4.1), and zeros in front do not change it.
        let sha256 = sha256(message);
        let mut digest = vec![0; hash.output_len() - sha256.len()];
        digest.extend_from_slice(&sha256);
        let signed = Digest::import_less_safe(&digest, hash).and_then(|digest| pair.sign_digest(&digest));
        let signature = signed.map_err(|_| SignError::Backend)?;
        let numbers = EcdsaSignature::from_der(signature.as_ref()).map_err(|_| SignError::Backend)?;
        Ok(Proof::Ecdsa { r: numbers.r.as_bytes().into(), s: numbers.s.as_bytes().into() })
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofKey({})", self.public_key.kind())
    }
}

/// Verifies that the holder of `key` has signed `message`. The salt of an RSA signature is the longest that fits, or has
/// the length of the digest.
///
/// # Errors
/// [`PublicKeyError::Algorithm`] when a key of this kind cannot have made such a proof, [`PublicKeyError::Signature`] when
/// it has not.
pub fn verify(key: &PublicKey, message: &[u8], proof: &Proof) -> Result<(), PublicKeyError> {
    match (key.kind(), proof) {
        (PublicKeyKind::Rsa(2048..), Proof::Rsa(signature)) => {
            match UnparsedPublicKey::new(&PSS_LONGEST_SALT, key.spki_der()).verify(message, signature) {
                Ok(()) => Ok(()),
                Err(_) => key.verify(SignatureAlgorithm::RsaPssSha256, message, signature),
            }
        }
        (PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521, Proof::Ecdsa { r, s }) => {
            let malformed = |_| PublicKeyError::Signature(key.kind());
            let numbers =
                EcdsaSignature { r: UintRef::new(r).map_err(malformed)?, s: UintRef::new(s).map_err(malformed)? };
            key.verify(SignatureAlgorithm::EcdsaSha256, message, &numbers.to_der().map_err(malformed)?)
        }
        _ => Err(PublicKeyError::Algorithm),
    }
}

static PSS_SIGNING: RsaSignatureEncoding = signature::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static PSS_LONGEST_SALT: RsaParameters =
    signature::RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyType, PrivateKey};

    const MESSAGE: &[u8] = b"a challenge and an answer";

    fn keys() -> Vec<ProofKey> {
        let mut keys: Vec<ProofKey> = [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048]
            .map(|key_type| {
                ProofKey::from_pem(&PrivateKey::generate(key_type).unwrap().to_pkcs8_pem().unwrap()).unwrap()
            })
            .into();
        let p521 = aws_lc_rs::signature::EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA256_ASN1_SIGNING).unwrap();
        keys.push(ProofKey::from_pkcs8_der(p521.to_pkcs8v1().unwrap().as_ref()).unwrap());
        keys
    }

    #[test]
    fn a_key_of_each_kind_proves_itself_and_no_other() {
        let keys = keys();
        for (n, key) in keys.iter().enumerate() {
            let proof = key.prove(MESSAGE).unwrap();
            verify(key.public_key(), MESSAGE, &proof).unwrap();
            assert!(verify(key.public_key(), b"another", &proof).is_err(), "{key:?}");
            for (m, other) in keys.iter().enumerate() {
                assert_eq!(verify(other.public_key(), MESSAGE, &proof).is_ok(), n == m, "{key:?} {other:?}");
            }
        }
    }

    #[test]
    fn rsa_proofs_are_taken_with_either_salt() {
        let key = PrivateKey::generate(KeyType::Rsa2048).unwrap();
        let short = Proof::Rsa(key.sign(SignatureAlgorithm::RsaPssSha256, MESSAGE).unwrap());
        verify(key.public_key(), MESSAGE, &short).unwrap();
        // PKCS #1 v1.5 is another padding.
        let other = Proof::Rsa(key.sign(SignatureAlgorithm::RsaPkcs1Sha256, MESSAGE).unwrap());
        assert!(verify(key.public_key(), MESSAGE, &other).is_err());
    }

    #[test]
    fn numbers_of_nonsense_are_no_proof() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        for number in [vec![], vec![0], vec![0xff; 32], vec![1; 5000]] {
            let proof = Proof::Ecdsa { r: number.clone(), s: number };
            assert!(verify(key.public_key(), MESSAGE, &proof).is_err());
        }
    }

    #[test]
    fn what_stands_before_the_key_is_passed_over() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let text = format!("{}{}", *pem::encode("EC PARAMETERS", &[6, 1, 1]), *key.to_pkcs8_pem().unwrap());
        assert_eq!(ProofKey::from_pem(&text).unwrap().public_key(), key.public_key());
        let error = ProofKey::from_pem(&pem::encode("CERTIFICATE", b"x")).unwrap_err();
        assert!(matches!(error, PkiError::PrivateKey));
    }
}
