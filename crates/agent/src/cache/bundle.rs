//! Bundles in the forms that workloads get, made once.

use std::sync::Arc;

use bytes::Bytes;
use steeple_proto::spire::api::types;
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::x509::{self, Certificate};
use steeple_spiffe::{Bundle, IdError, JwtAuthority, PublicKey, PublicKeyError, TrustDomain, X509Authority, X509Error};

/// A trust domain's bundle.
#[derive(Debug)]
pub(crate) struct CachedBundle {
    /// Parsed.
    pub bundle: Arc<Bundle>,
    /// X.509 authorities, DER, one behind the other.
    pub x509: Bytes,
    /// JWT authorities, as the Workload API's JWKS document.
    pub jwks: Bytes,
}

/// Why a bundle that the server sent is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBundle {
    /// Its trust domain is none.
    #[error("invalid trust domain: {0}")]
    TrustDomain(#[from] IdError),
    /// An X.509 authority is no certificate.
    #[error("invalid X.509 authority: {0}")]
    X509(#[from] X509Error),
    /// A JWT authority is no public key.
    #[error("invalid JWT authority: {0}")]
    Jwt(#[from] PublicKeyError),
}

impl CachedBundle {
    /// A bundle as the server sent it.
    ///
    /// # Errors
    /// See [`BadBundle`].
    pub(crate) fn from_api(bundle: types::Bundle) -> Result<Self, BadBundle> {
        let types::Bundle {
            trust_domain,
            x509_authorities,
            jwt_authorities,
            refresh_hint,
            sequence_number,
            // Workloads cannot ask for them yet.
            wit_authorities: _,
        } = bundle;
        let mut parsed = Bundle::new(TrustDomain::parse(&trust_domain)?);
        parsed.sequence_number = sequence_number;
        parsed.refresh_hint =
            u64::try_from(refresh_hint).ok().filter(|hint| *hint > 0).map(std::time::Duration::from_secs);
        for types::X509Certificate { asn1, tainted } in x509_authorities {
            let certificates = x509::parse_chain_der(&asn1)?;
            parsed
                .x509_authorities
                .extend(certificates.into_iter().map(|certificate| X509Authority { certificate, tainted }));
        }
        for types::JwtKey { public_key, key_id, expires_at, tainted } in jwt_authorities {
            parsed.jwt_authorities.push(JwtAuthority {
                key_id,
                public_key: PublicKey::from_spki_der(&public_key)?,
                expires_at: (expires_at != 0).then(|| steeple_runtime::clock::from_unix_seconds(expires_at)),
                tainted,
            });
        }
        Ok(Self::new(parsed))
    }

    fn new(bundle: Bundle) -> Self {
        let x509: Vec<u8> =
            bundle.x509_certificates().flat_map(|certificate| certificate.der().iter().copied()).collect();
        Self { x509: x509.into(), jwks: jwks::jwt_keys_document(&bundle).into(), bundle: Arc::new(bundle) }
    }

    /// The X.509 authorities that are tainted.
    pub(crate) fn tainted(&self) -> Vec<Certificate> {
        let tainted = self.bundle.x509_authorities.iter().filter(|authority| authority.tainted);
        tainted.map(|authority| authority.certificate.clone()).collect()
    }

    /// The X.509 authorities.
    pub(crate) fn authorities(&self) -> Vec<Certificate> {
        self.bundle.x509_certificates().cloned().collect()
    }
}
