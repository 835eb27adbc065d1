mod jwk;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaEncoding, RsaKeyPair, RsaSignatureEncoding,
};
use steeple_spiffe::pem::{self, Block, PemError};
use steeple_spiffe::{PublicKey, PublicKeyError, PublicKeyKind, SignatureAlgorithm};
use zeroize::Zeroizing;

use crate::{PkiError, SignError};

/// The kinds of keys that are generated; their names in configuration are read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `ec-p256`
    EcP256,
    /// `ec-p384`
    EcP384,
    /// `rsa-2048`
    Rsa2048,
    /// `rsa-4096`
    Rsa4096,
}

impl KeyType {
    /// What keys of this type sign with: ECDSA with the hash of the curve's size, RSA PKCS #1 v1.5 with SHA-256.
    pub fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::EcP256 => SignatureAlgorithm::EcdsaSha256,
            Self::EcP384 => SignatureAlgorithm::EcdsaSha384,
            Self::Rsa2048 | Self::Rsa4096 => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }

    /// The type that public keys of this kind have, if keys of that kind are generated.
    pub fn of(kind: PublicKeyKind) -> Option<Self> {
        match kind {
            PublicKeyKind::EcP256 => Some(Self::EcP256),
            PublicKeyKind::EcP384 => Some(Self::EcP384),
            PublicKeyKind::Rsa(2048) => Some(Self::Rsa2048),
            PublicKeyKind::Rsa(4096) => Some(Self::Rsa4096),
            _ => None,
        }
    }
}

impl FromStr for KeyType {
    type Err = PkiError;

    fn from_str(name: &str) -> Result<Self, PkiError> {
        [Self::EcP256, Self::EcP384, Self::Rsa2048, Self::Rsa4096]
            .into_iter()
            .find(|key_type| name.eq_ignore_ascii_case(key_type.name()))
            .ok_or_else(|| PkiError::UnknownKeyType(name.into()))
    }
}

impl KeyType {
    fn name(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A private key in memory. The back end wipes it when it is dropped; nothing here prints it.
pub struct PrivateKey {
    pair: Pair,
    key_type: KeyType,
    public_key: PublicKey,
}

/// A key of any kind that the back end signs with.
pub(crate) enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    /// Reads what stands below a label of PEM: PKCS #8, SEC 1 or PKCS #1.
    pub(crate) fn read(label: &str, der: &[u8]) -> Option<Self> {
        type Read = fn(&'static EcdsaSigningAlgorithm, &[u8]) -> Result<EcdsaKeyPair, KeyRejected>;
        let ec = |read: Read| CURVES.into_iter().find_map(|curve| read(curve, der).ok()).map(Self::Ec);
        let rsa = |read: fn(&[u8]) -> Result<RsaKeyPair, KeyRejected>| read(der).ok().map(Self::Rsa);
        match label {
            PKCS8_LABEL => ec(EcdsaKeyPair::from_pkcs8).or_else(|| rsa(RsaKeyPair::from_pkcs8)),
            SEC1_LABEL => ec(EcdsaKeyPair::from_private_key_der),
            PKCS1_LABEL => rsa(RsaKeyPair::from_der),
            _ => None,
        }
    }

    pub(crate) fn public_key(&self) -> Result<PublicKey, PkiError> {
        let spki: Result<PublicKeyX509Der<'_>, _> = match self {
            Self::Ec(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        };
        Ok(PublicKey::from_spki_der(spki.map_err(|_| PkiError::PrivateKey)?.as_ref())?)
    }
}

impl PrivateKey {
    /// Makes a new key. RSA takes the caller's thread for tens of milliseconds to seconds.
    ///
    /// # Errors
    /// [`PkiError::KeyGeneration`].
    pub fn generate(key_type: KeyType) -> Result<Self, PkiError> {
        let ec = |algorithm| EcdsaKeyPair::generate(algorithm).map(Pair::Ec);
        let rsa = |size| RsaKeyPair::generate(size).map(Pair::Rsa);
        match key_type {
            KeyType::EcP256 => ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyType::EcP384 => ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyType::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyType::Rsa4096 => rsa(KeySize::Rsa4096),
        }
        .map_err(|_| PkiError::KeyGeneration)
        .and_then(Self::new)
    }

    /// Reads an unencrypted PKCS #8 document (RFC 5958).
    ///
    /// # Errors
    /// [`PkiError::PrivateKey`], or [`PkiError::UnsupportedKey`] when it is of a kind that is not generated.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, PkiError> {
        Pair::read(PKCS8_LABEL, der).ok_or(PkiError::PrivateKey).and_then(Self::new)
    }

    /// Reads a PEM text with one block: PKCS #8, SEC 1 (`EC PRIVATE KEY`) or PKCS #1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// [`PkiError::Pem`], and as [`PrivateKey::from_pkcs8_der`].
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let mut blocks = pem::parse(text)?;
        let (Some(Block { label, contents }), true) = (blocks.pop(), blocks.is_empty()) else {
            return Err(PkiError::PrivateKey);
        };
        if !LABELS.contains(&label.as_str()) {
            return Err(PemError::UnexpectedLabel { expected: PKCS8_LABEL.into(), found: label }.into());
        }
        Pair::read(&label, &contents).ok_or(PkiError::PrivateKey).and_then(Self::new)
    }

    /// Writes the PKCS #8 document in the form that Go's `x509.MarshalPKCS8PrivateKey` gives it: version 0, an EC key
    /// with its public point (unless it was read from a document without one) and without a second copy of the curve.
    ///
    /// # Errors
    /// [`PkiError::PrivateKey`] when the back end cannot write its own key.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        match &self.pair {
            Pair::Ec(pair) => pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()),
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map(|document| document.as_ref().to_vec()),
        }
        .map(Zeroizing::new)
        .map_err(|_| PkiError::PrivateKey)
    }

    /// Writes the PKCS #8 document as PEM.
    ///
    /// # Errors
    /// As [`PrivateKey::to_pkcs8_der`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, PkiError> {
        Ok(pem::encode(PKCS8_LABEL, &self.to_pkcs8_der()?))
    }

    /// The type of the key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Hashes and signs a message; ECDSA signatures are DER. EC keys sign with the hash of their curve's size alone, RSA
    /// keys with all of theirs.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Ec(pair) if algorithm == self.key_type.signature_algorithm() => {
                pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec())
            }
            Pair::Ec(_) => return Err(PublicKeyError::Algorithm.into()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(algorithm)?, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| SignError::Backend)
    }

    /// Signs a digest that the caller has computed with the algorithm's hash; otherwise as [`PrivateKey::sign`].
    ///
    /// # Errors
    /// [`SignError`]; [`SignError::DigestLength`] when the digest is not one of that hash.
    pub fn sign_digest(&self, algorithm: SignatureAlgorithm, digest: &[u8]) -> Result<Vec<u8>, SignError> {
        let hash = algorithm.hash().ok_or(PublicKeyError::Algorithm)?;
        let digest = Digest::import_less_safe(digest, hash).map_err(|_| SignError::DigestLength)?;
        match &self.pair {
            Pair::Ec(pair) if algorithm == self.key_type.signature_algorithm() => {
                pair.sign_digest(&digest).map(|signature| signature.as_ref().to_vec())
            }
            Pair::Ec(_) => return Err(PublicKeyError::Algorithm.into()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(rsa_encoding(algorithm)?, &digest, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| SignError::Backend)
    }

    fn new(pair: Pair) -> Result<Self, PkiError> {
        let public_key = pair.public_key()?;
        let kind = public_key.kind();
        let key_type = KeyType::of(kind).ok_or(PkiError::UnsupportedKey(kind))?;
        Ok(Self { pair, key_type, public_key })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public_key.kind())
    }
}

fn rsa_encoding(algorithm: SignatureAlgorithm) -> Result<&'static dyn RsaEncoding, SignError> {
    let encoding: &'static RsaSignatureEncoding = match algorithm {
        SignatureAlgorithm::RsaPkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
        SignatureAlgorithm::RsaPkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
        SignatureAlgorithm::RsaPssSha256 => &signature::RSA_PSS_SHA256,
        SignatureAlgorithm::RsaPssSha384 => &signature::RSA_PSS_SHA384,
        SignatureAlgorithm::RsaPssSha512 => &signature::RSA_PSS_SHA512,
        _ => return Err(PublicKeyError::Algorithm.into()),
    };
    Ok(encoding)
}

const CURVES: [&EcdsaSigningAlgorithm; 3] = [
    &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
    &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
];

pub(crate) const PKCS8_LABEL: &str = "PRIVATE KEY";
const SEC1_LABEL: &str = "EC PRIVATE KEY";
const PKCS1_LABEL: &str = "RSA PRIVATE KEY";
const LABELS: [&str; 3] = [PKCS8_LABEL, SEC1_LABEL, PKCS1_LABEL];

#[cfg(test)]
mod tests;
