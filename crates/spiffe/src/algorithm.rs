use aws_lc_rs::digest;
use rustls_pki_types::{AlgorithmIdentifier, alg_id};

use crate::PublicKeyError;

/// How a signature is made: key family, padding and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256; in JOSE `ES256`, which also fixes the curve P-256.
    EcdsaSha256,
    /// ECDSA with SHA-384; in JOSE `ES384`, which also fixes the curve P-384.
    EcdsaSha384,
    /// ECDSA with SHA-512; in JOSE `ES512`, which also fixes the curve P-521.
    EcdsaSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256, `RS256`.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384, `RS384`.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512, `RS512`.
    RsaPkcs1Sha512,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes, `PS256`.
    RsaPssSha256,
    /// RSASSA-PSS with SHA-384 and a salt of 48 bytes, `PS384`.
    RsaPssSha384,
    /// RSASSA-PSS with SHA-512 and a salt of 64 bytes, `PS512`.
    RsaPssSha512,
    /// Ed25519: seen in certificate requests and certificates of others. JWT-SVIDs do not allow it.
    Ed25519,
}

impl SignatureAlgorithm {
    /// Those that a JWT-SVID may be signed with (JWT-SVID, section 2.1), in the order in which they are listed to users.
    pub const JOSE: [Self; 9] = [
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
    ];

    /// The value of `alg` in a JOSE header (RFC 7518, section 3.1), if a JWT-SVID may have it.
    pub fn jose_name(self) -> Option<&'static str> {
        match self {
            Self::EcdsaSha256 => Some("ES256"),
            Self::EcdsaSha384 => Some("ES384"),
            Self::EcdsaSha512 => Some("ES512"),
            Self::RsaPkcs1Sha256 => Some("RS256"),
            Self::RsaPkcs1Sha384 => Some("RS384"),
            Self::RsaPkcs1Sha512 => Some("RS512"),
            Self::RsaPssSha256 => Some("PS256"),
            Self::RsaPssSha384 => Some("PS384"),
            Self::RsaPssSha512 => Some("PS512"),
            Self::Ed25519 => None,
        }
    }

    /// The reverse of [`SignatureAlgorithm::jose_name`]. `none` and the HMAC family are nobody's name.
    pub fn from_jose_name(name: &str) -> Option<Self> {
        Self::JOSE.into_iter().find(|algorithm| algorithm.jose_name() == Some(name))
    }

    /// The digest of a message by the algorithm's hash: what a key signs that lives elsewhere.
    ///
    /// # Errors
    /// [`PublicKeyError::Algorithm`] for Ed25519, which signs messages alone.
    pub fn digest(self, message: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
        self.hash().map(|hash| digest::digest(hash, message).as_ref().to_vec()).ok_or(PublicKeyError::Algorithm)
    }

    /// The hash, as the crypto back end knows it; Ed25519 has none of its own choice.
    pub fn hash(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::EcdsaSha256 | Self::RsaPkcs1Sha256 | Self::RsaPssSha256 => Some(&digest::SHA256),
            Self::EcdsaSha384 | Self::RsaPkcs1Sha384 | Self::RsaPssSha384 => Some(&digest::SHA384),
            Self::EcdsaSha512 | Self::RsaPkcs1Sha512 | Self::RsaPssSha512 => Some(&digest::SHA512),
            Self::Ed25519 => None,
        }
    }

    /// The contents of the X.509 AlgorithmIdentifier, that is OID and parameters without the SEQUENCE around them
    /// (RFC 4055, 5758, 8410).
    pub fn identifier(self) -> AlgorithmIdentifier {
        match self {
            Self::EcdsaSha256 => alg_id::ECDSA_SHA256,
            Self::EcdsaSha384 => alg_id::ECDSA_SHA384,
            Self::EcdsaSha512 => alg_id::ECDSA_SHA512,
            Self::RsaPkcs1Sha256 => alg_id::RSA_PKCS1_SHA256,
            Self::RsaPkcs1Sha384 => alg_id::RSA_PKCS1_SHA384,
            Self::RsaPkcs1Sha512 => alg_id::RSA_PKCS1_SHA512,
            Self::RsaPssSha256 => alg_id::RSA_PSS_SHA256,
            Self::RsaPssSha384 => alg_id::RSA_PSS_SHA384,
            Self::RsaPssSha512 => alg_id::RSA_PSS_SHA512,
            Self::Ed25519 => alg_id::ED25519,
        }
    }

    /// The reverse of [`SignatureAlgorithm::identifier`]. The NULL that belongs behind the PKCS #1 OIDs may be missing
    /// (RFC 4055, section 5).
    pub fn from_identifier(contents: &[u8]) -> Option<Self> {
        const NULL: &[u8] = &[0x05, 0x00];
        Self::JOSE.into_iter().chain([Self::Ed25519]).find(|algorithm| {
            let identifier = algorithm.identifier();
            contents == identifier.as_ref() || Some(contents) == identifier.strip_suffix(NULL)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jose_names_and_identifiers_lead_back() {
        for algorithm in SignatureAlgorithm::JOSE {
            assert_eq!(SignatureAlgorithm::from_jose_name(algorithm.jose_name().unwrap()), Some(algorithm));
            assert_eq!(SignatureAlgorithm::from_identifier(&algorithm.identifier()), Some(algorithm));
        }
        assert_eq!(
            SignatureAlgorithm::from_identifier(&SignatureAlgorithm::Ed25519.identifier()),
            Some(SignatureAlgorithm::Ed25519)
        );
    }

    #[test]
    fn knows_no_unsigned_and_no_symmetric_algorithm() {
        for name in ["none", "None", "", "HS256", "EdDSA", "es256"] {
            assert_eq!(SignatureAlgorithm::from_jose_name(name), None, "{name}");
        }
    }

    #[test]
    fn pkcs1_parameters_may_be_missing() {
        let identifier = SignatureAlgorithm::RsaPkcs1Sha256.identifier();
        let without = &identifier[..identifier.len() - 2];
        assert_eq!(SignatureAlgorithm::from_identifier(without), Some(SignatureAlgorithm::RsaPkcs1Sha256));
    }
}
