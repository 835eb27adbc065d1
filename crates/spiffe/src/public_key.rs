use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use der::asn1::{BitStringRef, Null, UintRef};
use der::{AnyRef, Decode, Encode, Sequence};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::{SignatureAlgorithm, asn1};

/// A public key as a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), known to be well formed and of a supported kind.
///
/// Cheap to clone; equal when the documents are.
#[derive(Clone)]
pub struct PublicKey {
    /// As the back end has it, for its kind's own signature algorithm; holds the document, too.
    parsed: Arc<ParsedPublicKey>,
    kind: PublicKeyKind,
    /// Where the contents of the BIT STRING begin; they reach to the end.
    bits_start: usize,
}

/// Family and size of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublicKeyKind {
    /// Elliptic curve P-256.
    EcP256,
    /// Elliptic curve P-384.
    EcP384,
    /// Elliptic curve P-521.
    EcP521,
    /// RSA with a modulus of so many bits, 1024 to 8192.
    Rsa(usize),
    /// Ed25519.
    Ed25519,
}

impl PublicKey {
    /// The longest document that is looked at, in bytes: RSA of 8192 bits needs 1062.
    pub const MAX_LEN: usize = 4096;

    /// Reads a DER SubjectPublicKeyInfo and checks that the key is one: an EC point lies on its curve, an RSA modulus
    /// has 1024 to 8192 bits.
    ///
    /// # Errors
    /// [`PublicKeyError::Malformed`] or [`PublicKeyError::Unsupported`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let malformed = || PublicKeyError::Malformed(asn1::header_fault(der, "publicKeyInfo"));
        if der.len() > Self::MAX_LEN {
            return Err(PublicKeyError::Malformed("public key is too long".into()));
        }
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| malformed())?;
        let bits = spki.subject_public_key.as_bytes().ok_or_else(malformed)?;
        let kind = kind_of(&spki.algorithm, bits)?;
        // Compressed points are legal elsewhere, but a JWK is made from the coordinates.
        if kind.curve().is_some() && bits.first() != Some(&UNCOMPRESSED) {
            return Err(PublicKeyError::Unsupported("EC point that is not uncompressed".into()));
        }
        let parsed = ParsedPublicKey::new(kind.verification_algorithm(), der)
            .map_err(|_| PublicKeyError::Malformed("public key is not valid for its algorithm".into()))?;
        Ok(Self { parsed: parsed.into(), kind, bits_start: der.len() - bits.len() })
    }

    /// The public half of a PKCS #8 private key (RFC 5958) of any supported kind.
    ///
    /// # Errors
    /// [`PublicKeyError::PrivateKey`]: the document is malformed, or of a kind that we do not sign with.
    pub fn of_pkcs8(pkcs8: &[u8]) -> Result<Self, PublicKeyError> {
        let spki = ecdsa_public_key(pkcs8)
            .or_else(|| RsaKeyPair::from_pkcs8(pkcs8).ok().and_then(|key| spki_of(&key)))
            .or_else(|| Ed25519KeyPair::from_pkcs8(pkcs8).ok().and_then(|key| spki_of(&key)))
            .ok_or(PublicKeyError::PrivateKey)?;
        Self::from_spki_der(&spki)
    }

    /// The key with this affine point on one of the NIST curves.
    ///
    /// # Errors
    /// The kind is no curve, a coordinate has another length than the curve's, or the point is not on the curve.
    pub fn from_ec_point(curve: PublicKeyKind, x: &[u8], y: &[u8]) -> Result<Self, PublicKeyError> {
        let (oid, width) =
            curve.curve().ok_or_else(|| PublicKeyError::Unsupported(format!("{curve} has no affine points")))?;
        if x.len() != width || y.len() != width {
            return Err(PublicKeyError::Malformed("EC coordinates have the wrong length".into()));
        }
        let point = [&[UNCOMPRESSED], x, y].concat();
        Self::assemble(rfc5912::ID_EC_PUBLIC_KEY, Some(AnyRef::from(&oid)), &point)
    }

    /// The RSA key with this modulus and exponent, both big-endian.
    ///
    /// # Errors
    /// The numbers are no RSA key of 1024 to 8192 bits.
    pub fn from_rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, PublicKeyError> {
        let numbers = UintRef::new(modulus)
            .and_then(|modulus| RsaNumbers { modulus, exponent: UintRef::new(exponent)? }.to_der())
            .map_err(|_| PublicKeyError::Malformed("RSA numbers are malformed".into()))?;
        Self::assemble(rfc5912::RSA_ENCRYPTION, Some(AnyRef::from(Null)), &numbers)
    }

    /// The Ed25519 key of these 32 bytes.
    ///
    /// # Errors
    /// There are more or fewer bytes.
    pub fn from_ed25519(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        Self::assemble(rfc8410::ID_ED_25519, None, bytes)
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        self.parsed.as_ref().as_ref()
    }

    /// Family and size.
    pub fn kind(&self) -> PublicKeyKind {
        self.kind
    }

    /// The contents of the BIT STRING inside: what key identifiers are hashed over. For EC the uncompressed point.
    pub fn bits(&self) -> &[u8] {
        &self.spki_der()[self.bits_start..]
    }

    /// Verifies an X.509 signature over `message`; ECDSA signatures are DER. Any hash goes with any curve. RSA keys
    /// below 2048 bits verify with SHA-256 and SHA-512 alone: requests may carry them, nothing that we trust does.
    ///
    /// # Errors
    /// [`PublicKeyError::Algorithm`] when the key cannot make such signatures, [`PublicKeyError::Signature`] when this
    /// is none.
    pub fn verify(&self, algorithm: SignatureAlgorithm, message: &[u8], sig: &[u8]) -> Result<(), PublicKeyError> {
        use SignatureAlgorithm as A;
        if algorithm == self.kind.signature_algorithm() {
            // What nearly all signatures are made with; the key is not parsed once more for it.
            return self.parsed.verify_sig(message, sig).map_err(|_| PublicKeyError::Signature(self.kind));
        }
        let verifier: &'static dyn VerificationAlgorithm = match (self.kind, algorithm) {
            (PublicKeyKind::EcP256, A::EcdsaSha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (PublicKeyKind::EcP256, A::EcdsaSha512) => &signature::ECDSA_P256_SHA512_ASN1,
            (PublicKeyKind::EcP384, A::EcdsaSha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (PublicKeyKind::EcP384, A::EcdsaSha512) => &signature::ECDSA_P384_SHA512_ASN1,
            (PublicKeyKind::EcP521, A::EcdsaSha256) => &signature::ECDSA_P521_SHA256_ASN1,
            (PublicKeyKind::EcP521, A::EcdsaSha384) => &signature::ECDSA_P521_SHA384_ASN1,
            (PublicKeyKind::Rsa(1024..2048), A::RsaPkcs1Sha512) => {
                &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
            }
            (PublicKeyKind::Rsa(2048..), algorithm) => rsa_verifier(algorithm).ok_or(PublicKeyError::Algorithm)?,
            _ => return Err(PublicKeyError::Algorithm),
        };
        self.verify_with(verifier, message, sig)
    }

    /// Verifies a JWS signature over `message` (RFC 7518, sections 3.3 to 3.5): an ECDSA algorithm fixes the curve, its
    /// signatures are r and s side by side, and RSA keys have 2048 bits at least.
    ///
    /// # Errors
    /// As [`PublicKey::verify`].
    pub fn verify_jws(&self, algorithm: SignatureAlgorithm, message: &[u8], sig: &[u8]) -> Result<(), PublicKeyError> {
        let verifier: &'static dyn VerificationAlgorithm = match (self.kind, algorithm) {
            (PublicKeyKind::EcP256, SignatureAlgorithm::EcdsaSha256) => &signature::ECDSA_P256_SHA256_FIXED,
            (PublicKeyKind::EcP384, SignatureAlgorithm::EcdsaSha384) => &signature::ECDSA_P384_SHA384_FIXED,
            (PublicKeyKind::EcP521, SignatureAlgorithm::EcdsaSha512) => &signature::ECDSA_P521_SHA512_FIXED,
            (PublicKeyKind::Rsa(2048..), algorithm) => rsa_verifier(algorithm).ok_or(PublicKeyError::Algorithm)?,
            _ => return Err(PublicKeyError::Algorithm),
        };
        self.verify_with(verifier, message, sig)
    }

    fn verify_with(
        &self,
        verifier: &'static dyn VerificationAlgorithm,
        message: &[u8],
        sig: &[u8],
    ) -> Result<(), PublicKeyError> {
        UnparsedPublicKey::new(verifier, self.spki_der())
            .verify(message, sig)
            .map_err(|_| PublicKeyError::Signature(self.kind))
    }

    fn assemble(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, bits: &[u8]) -> Result<Self, PublicKeyError> {
        let spki = BitStringRef::from_bytes(bits)
            .and_then(|subject_public_key| {
                let algorithm = AlgorithmIdentifierRef { oid, parameters };
                SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der()
            })
            .map_err(|_| PublicKeyError::Malformed("public key is too long".into()))?;
        Self::from_spki_der(&spki)
    }

    /// Modulus and exponent, big-endian without leading zeros; `None` unless the key is RSA.
    pub(crate) fn rsa_numbers(&self) -> Option<(&[u8], &[u8])> {
        let PublicKeyKind::Rsa(_) = self.kind else { return None };
        let RsaNumbers { modulus, exponent } = RsaNumbers::from_der(self.bits()).ok()?;
        Some((modulus.as_bytes(), exponent.as_bytes()))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der() == other.spki_der()
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.spki_der().hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind)
    }
}

impl PublicKeyKind {
    /// The algorithm that a key of this kind signs certificates and tokens with unless something else is asked for.
    pub fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::EcP256 => SignatureAlgorithm::EcdsaSha256,
            Self::EcP384 => SignatureAlgorithm::EcdsaSha384,
            Self::EcP521 => SignatureAlgorithm::EcdsaSha512,
            Self::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha256,
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
        }
    }

    /// Whether such keys make JWS signatures of the algorithm (RFC 7518, sections 3.3 to 3.5): each curve with its own,
    /// RSA from 2048 bits with PKCS #1 and PSS.
    pub fn signs_jws_with(self, algorithm: SignatureAlgorithm) -> bool {
        match self {
            Self::EcP256 | Self::EcP384 | Self::EcP521 => algorithm == self.signature_algorithm(),
            Self::Rsa(bits) => bits >= 2048 && rsa_verifier(algorithm).is_some(),
            Self::Ed25519 => false,
        }
    }

    /// The curve's OID and the bytes of a coordinate.
    pub fn curve(self) -> Option<(ObjectIdentifier, usize)> {
        match self {
            Self::EcP256 => Some((rfc5912::SECP_256_R_1, 32)),
            Self::EcP384 => Some((rfc5912::SECP_384_R_1, 48)),
            Self::EcP521 => Some((rfc5912::SECP_521_R_1, 66)),
            Self::Rsa(_) | Self::Ed25519 => None,
        }
    }

    /// That of [`PublicKeyKind::signature_algorithm`], which the sizes of this kind are allowed with.
    fn verification_algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EcP256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::EcP384 => &signature::ECDSA_P384_SHA384_ASN1,
            Self::EcP521 => &signature::ECDSA_P521_SHA512_ASN1,
            Self::Rsa(_) => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Self::Ed25519 => &signature::ED25519,
        }
    }
}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcP256 => f.write_str("EC P-256"),
            Self::EcP384 => f.write_str("EC P-384"),
            Self::EcP521 => f.write_str("EC P-521"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// What is wrong with a key, or with a signature that it should have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The document is no SubjectPublicKeyInfo, or the key inside is none.
    #[error("{0}")]
    Malformed(String),
    /// A sound document of a kind, or of a size, that is not supported.
    #[error("unsupported public key: {0}")]
    Unsupported(String),
    /// The private key document is malformed or of a kind that is not supported. Says no more on purpose.
    #[error("private key is malformed or of an unsupported kind")]
    PrivateKey,
    /// A key of this kind does not make signatures of the algorithm.
    #[error("the signature algorithm does not fit the public key")]
    Algorithm,
    /// The signature is not the key's over this message. The texts are those of Go's libraries, which SPIRE passes on.
    #[error("{}", match .0 {
        PublicKeyKind::Rsa(_) => "crypto/rsa: verification error",
        PublicKeyKind::Ed25519 => "x509: Ed25519 verification failure",
        _ => "x509: ECDSA verification failure",
    })]
    Signature(PublicKeyKind),
}

fn rsa_verifier(algorithm: SignatureAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1Sha256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        SignatureAlgorithm::RsaPkcs1Sha384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        SignatureAlgorithm::RsaPkcs1Sha512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        SignatureAlgorithm::RsaPssSha256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        SignatureAlgorithm::RsaPssSha384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        SignatureAlgorithm::RsaPssSha512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn kind_of(algorithm: &AlgorithmIdentifierRef<'_>, bits: &[u8]) -> Result<PublicKeyKind, PublicKeyError> {
    match algorithm.oid {
        rfc5912::ID_EC_PUBLIC_KEY => match algorithm.parameters_oid() {
            Ok(rfc5912::SECP_256_R_1) => Ok(PublicKeyKind::EcP256),
            Ok(rfc5912::SECP_384_R_1) => Ok(PublicKeyKind::EcP384),
            Ok(rfc5912::SECP_521_R_1) => Ok(PublicKeyKind::EcP521),
            _ => Err(PublicKeyError::Unsupported("elliptic curve".into())),
        },
        rfc5912::RSA_ENCRYPTION => {
            let numbers = RsaNumbers::from_der(bits)
                .map_err(|_| PublicKeyError::Malformed("RSA public key is malformed".into()))?;
            match bit_length(numbers.modulus.as_bytes()) {
                size @ 1024..=8192 => Ok(PublicKeyKind::Rsa(size)),
                size => Err(PublicKeyError::Unsupported(format!("RSA key of {size} bits"))),
            }
        }
        rfc8410::ID_ED_25519 => Ok(PublicKeyKind::Ed25519),
        other => Err(PublicKeyError::Unsupported(format!("algorithm {other}"))),
    }
}

fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn ecdsa_public_key(pkcs8: &[u8]) -> Option<Vec<u8>> {
    [
        &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
    ]
    .into_iter()
    .find_map(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).ok())
    .and_then(|key| spki_of(&key))
}

fn spki_of<K>(key: &K) -> Option<Vec<u8>>
where
    K: signature::KeyPair,
    K::PublicKey: AsDer<aws_lc_rs::encoding::PublicKeyX509Der<'static>>,
{
    key.public_key().as_der().ok().map(|der| der.as_ref().to_vec())
}

/// RSAPublicKey (RFC 8017, A.1.1).
#[derive(Sequence)]
struct RsaNumbers<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// The first byte of an uncompressed EC point (SEC 1, section 2.3.3).
pub(crate) const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests;
