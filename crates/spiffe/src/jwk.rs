//! JSON Web Keys (RFC 7517, 7518, 8037): public keys of the kinds that bundles and tokens carry.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::public_key::UNCOMPRESSED;
use crate::{PublicKey, PublicKeyError, PublicKeyKind};

/// A public key as JSON. Members are written in the order of the fields, and those that are absent not at all; unknown
/// ones are ignored when reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jwk {
    /// `use`: in a bundle the kind of SVID that the key is for.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// Family of the key: `EC`, `RSA` or `OKP`.
    pub kty: String,
    /// Name of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// JOSE algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Coordinate of an EC point, or an Ed25519 key: base64url, as all numbers here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The other coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// RSA modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// Certificates: DER in base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x5c: Option<Vec<String>>,
}

impl Jwk {
    /// The key and nothing else: no `use`, `kid` or `alg`.
    pub fn new(key: &PublicKey) -> Self {
        let encode = |bytes: &[u8]| Some(BASE64URL.encode(bytes));
        match key.kind() {
            kind @ (PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521) => {
                let point = key.bits().strip_prefix(&[UNCOMPRESSED]).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let crv = curve_name(kind).map(Into::into);
                Self { kty: "EC".into(), crv, x: encode(x), y: encode(y), ..Self::default() }
            }
            PublicKeyKind::Rsa(_) => {
                let (n, e) = key.rsa_numbers().unwrap_or_default();
                Self { kty: "RSA".into(), n: encode(n), e: encode(e), ..Self::default() }
            }
            PublicKeyKind::Ed25519 => {
                Self { kty: "OKP".into(), crv: Some("Ed25519".into()), x: encode(key.bits()), ..Self::default() }
            }
        }
    }

    /// The key that is described.
    ///
    /// # Errors
    /// A member is missing or malformed, or the key is of no supported kind.
    pub fn public_key(&self) -> Result<PublicKey, PublicKeyError> {
        let curve = self.crv.as_deref().unwrap_or_default();
        match self.kty.as_str() {
            "EC" => {
                let kind = CURVES
                    .into_iter()
                    .find_map(|(kind, name)| (name == curve).then_some(kind))
                    .ok_or_else(|| PublicKeyError::Unsupported(format!("elliptic curve {curve:?}")))?;
                PublicKey::from_ec_point(kind, &number("x", &self.x)?, &number("y", &self.y)?)
            }
            "RSA" => PublicKey::from_rsa_numbers(&number("n", &self.n)?, &number("e", &self.e)?),
            "OKP" if curve == "Ed25519" => PublicKey::from_ed25519(&number("x", &self.x)?),
            "OKP" => Err(PublicKeyError::Unsupported(format!("curve {curve:?}"))),
            kty => Err(PublicKeyError::Unsupported(format!("key type {kty:?}"))),
        }
    }
}

/// Base64url as JOSE has it: written without padding. Read with or without, and with whatever bits the last character
/// has to spare, as other implementations do.
pub const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn number(member: &str, value: &Option<String>) -> Result<Vec<u8>, PublicKeyError> {
    let value = value
        .as_deref()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| PublicKeyError::Malformed(format!("JWK member {member:?} is missing")))?;
    BASE64URL.decode(value).map_err(|_| PublicKeyError::Malformed(format!("JWK member {member:?} is not base64url")))
}

fn curve_name(kind: PublicKeyKind) -> Option<&'static str> {
    CURVES.into_iter().find_map(|(curve, name)| (curve == kind).then_some(name))
}

const CURVES: [(PublicKeyKind, &str); 3] =
    [(PublicKeyKind::EcP256, "P-256"), (PublicKeyKind::EcP384, "P-384"), (PublicKeyKind::EcP521, "P-521")];
