//! WIT-SVIDs: tokens that are worth something only together with the key that they name.

use std::time::Duration;

use serde_json::Map;
use steeple_pki::jws;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::{PublicKey, SignatureAlgorithm, SpiffeId};

use super::{Ca, SignedJwt};
use crate::ca::CaError;
use crate::inventory::{self, Ground, Token};

/// Where nobody says how long; no key of the configuration does.
const TTL: Duration = Duration::from_secs(60 * 60);

/// A WIT-SVID to be made.
#[derive(Debug)]
pub struct WorkloadWit<'a> {
    /// The workload's SPIFFE ID.
    pub id: &'a SpiffeId,
    /// The key that the workload will prove to have.
    pub public_key: &'a PublicKey,
    /// What that key will sign with; it fits the key.
    pub algorithm: SignatureAlgorithm,
    /// Its lifetime; None for an hour.
    pub ttl: Option<Duration>,
}

impl Ca {
    /// Signs WIT-SVIDs as well, with an issuer, which may be empty.
    #[must_use]
    pub fn with_wit_issuer(self, issuer: Option<String>) -> Self {
        Self { wit_issuer: issuer, ..self }
    }

    /// Whether WIT-SVIDs are signed at all.
    pub fn signs_wit(&self) -> bool {
        self.wit_issuer.is_some()
    }

    /// A WIT-SVID.
    ///
    /// # Errors
    /// See [`CaError`].
    pub async fn sign_wit(&self, params: WorkloadWit<'_>, ground: Ground<'_>) -> Result<SignedJwt, CaError> {
        let WorkloadWit { id, public_key, algorithm, ttl } = params;
        let active = self.signing.0.active.load_full();
        let (issuer, authority) = self.wit_issuer.as_ref().zip(active.wit.as_ref()).ok_or(CaError::NoWitAuthority)?;
        let now = self.clock.now();
        let issued_at = unix_seconds(now);
        let expires_at = unix_seconds((now + ttl.unwrap_or(TTL)).min(authority.not_after));
        let mut claims = Map::new();
        claims.insert("exp".into(), expires_at.into());
        claims.insert("iat".into(), issued_at.into());
        if !issuer.is_empty() {
            claims.insert("iss".into(), issuer.as_str().into());
        }
        claims.insert("sub".into(), id.as_str().into());
        let token = jws::sign_wit_svid(&claims, public_key, algorithm, &authority.key_id, &*authority.signer).await?;
        let (key, authority) = (Some(public_key), &*authority.key_id);
        let told = Token { id, token: &token, jti: None, key, authority, expires: expires_at };
        self.inventory.record(|| inventory::token(ground, told)).await?;
        Ok(SignedJwt { token, issued_at, expires_at })
    }
}
