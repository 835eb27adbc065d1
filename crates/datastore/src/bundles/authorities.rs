//! Single authorities of a bundle: tainted (still trusted, but on the way out), revoked (removed), pruned.

use steeple_proto::spire::common::{Bundle, PublicKey};
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::Certificate;
use steeple_spiffe::x509::{hex, parse_chain_der};

use crate::Error;
use crate::writer::{Mutation, Tx};

/// Taints the root CA with this subject key ID.
#[derive(Clone, Debug)]
pub struct TaintX509Authority {
    /// The trust domain, `spiffe://td`.
    pub trust_domain: String,
    /// Lower-case hexadecimal.
    pub subject_key_id: String,
}

/// Removes the root CA with this subject key ID, which has to be tainted.
#[derive(Clone, Debug)]
pub struct RevokeX509Authority {
    /// The trust domain, `spiffe://td`.
    pub trust_domain: String,
    /// Lower-case hexadecimal.
    pub subject_key_id: String,
}

/// Taints the JWT key with this key ID.
#[derive(Clone, Debug)]
pub struct TaintJwtAuthority {
    /// The trust domain, `spiffe://td`.
    pub trust_domain: String,
    /// The key ID.
    pub key_id: String,
}

/// Removes the JWT key with this key ID, which has to be tainted.
#[derive(Clone, Debug)]
pub struct RevokeJwtAuthority {
    /// The trust domain, `spiffe://td`.
    pub trust_domain: String,
    /// The key ID.
    pub key_id: String,
}

/// Removes authorities that have expired. If that would remove all root CAs, or all JWT keys, or all WIT keys of a bundle
/// that has some, it is an error and nothing is removed.
#[derive(Clone, Debug)]
pub struct PruneBundle {
    /// The trust domain, `spiffe://td`.
    pub trust_domain: String,
    /// Authorities that end then or earlier go, in seconds since 1970. A key that does not say when it ends goes too.
    pub expired_by: i64,
}

impl Mutation for TaintX509Authority {
    type Output = ();
    const KEY: &'static str = "datastore.bundle.x509.taint";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut bundle = tx.bundle(&self.trust_domain).await?.ok_or(Error::NotFound)?;
        let mut matching: Vec<_> =
            bundle.root_cas.iter_mut().filter(|ca| has_subject_key_id(&ca.der_bytes, &self.subject_key_id)).collect();
        if matching.is_empty() {
            return Err(Error::RootCaToTaintNotFound);
        }
        if matching.iter().all(|ca| ca.tainted_key) {
            return Err(Error::RootCaAlreadyTainted);
        }
        matching.iter_mut().for_each(|ca| ca.tainted_key = true);
        tx.next_bundle(bundle).await
    }
}

impl Mutation for RevokeX509Authority {
    type Output = ();
    const KEY: &'static str = "datastore.bundle.x509.revoke";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut bundle = tx.bundle(&self.trust_domain).await?.ok_or(Error::NotFound)?;
        let (matching, others): (Vec<_>, Vec<_>) =
            bundle.root_cas.into_iter().partition(|ca| has_subject_key_id(&ca.der_bytes, &self.subject_key_id));
        if matching.is_empty() {
            return Err(Error::RootCaToRevokeNotFound);
        }
        if matching.iter().any(|ca| !ca.tainted_key) {
            return Err(Error::RootCaNotTainted);
        }
        bundle.root_cas = others;
        tx.next_bundle(bundle).await
    }
}

impl Mutation for TaintJwtAuthority {
    /// The key.
    type Output = PublicKey;
    const KEY: &'static str = "datastore.bundle.jwt.taint";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<PublicKey, Error> {
        let mut bundle = tx.bundle(&self.trust_domain).await?.ok_or(Error::NotFound)?;
        let key = bundle.jwt_signing_keys.iter_mut().find(|key| key.kid == self.key_id).ok_or(Error::JwtKeyNotFound)?;
        if key.tainted_key {
            return Err(Error::JwtKeyAlreadyTainted);
        }
        key.tainted_key = true;
        let key = key.clone();
        tx.next_bundle(bundle).await?;
        Ok(key)
    }
}

impl Mutation for RevokeJwtAuthority {
    /// The key that went.
    type Output = PublicKey;
    const KEY: &'static str = "datastore.bundle.jwt.revoke";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<PublicKey, Error> {
        let mut bundle = tx.bundle(&self.trust_domain).await?.ok_or(Error::NotFound)?;
        let (matching, others): (Vec<_>, Vec<_>) =
            bundle.jwt_signing_keys.into_iter().partition(|key| key.kid == self.key_id);
        if matching.iter().any(|key| !key.tainted_key) {
            return Err(Error::JwtKeyNotTainted);
        }
        let key = matching.into_iter().next().ok_or(Error::JwtKeyNotFound)?;
        bundle.jwt_signing_keys = others;
        tx.next_bundle(bundle).await?;
        Ok(key)
    }
}

impl Mutation for PruneBundle {
    /// Whether anything went. Without a bundle nothing does.
    type Output = bool;
    const KEY: &'static str = "datastore.bundle.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Error> {
        let Some(mut bundle) = tx.bundle(&self.trust_domain).await? else { return Ok(false) };
        let is_current_key = |key: &PublicKey| key.not_after > self.expired_by;
        let pruned = [
            prune(&mut bundle.root_cas, "certificates", |ca| is_current(&ca.der_bytes, self.expired_by))?,
            prune(&mut bundle.jwt_signing_keys, "JWT signing keys", is_current_key)?,
            prune(&mut bundle.wit_signing_keys, "WIT signing keys", is_current_key)?,
        ]
        .contains(&true);
        if pruned {
            // The reference also forgets the refresh hint here; we keep it.
            tx.next_bundle(bundle).await?;
        }
        Ok(pruned)
    }
}

impl Tx<'_> {
    /// Stores a bundle whose authorities changed.
    async fn next_bundle(&mut self, mut bundle: Bundle) -> Result<(), Error> {
        bundle.sequence_number = bundle.sequence_number.wrapping_add(1);
        self.update_bundle(&bundle).await
    }
}

fn prune<T>(all: &mut Vec<T>, kind: &'static str, is_current: impl Fn(&T) -> bool) -> Result<bool, Error> {
    let before = all.len();
    if before > 0 && !all.iter().any(&is_current) {
        return Err(Error::WouldPruneAll(kind));
    }
    all.retain(is_current);
    Ok(all.len() < before)
}

/// One element may hold several certificates. One that cannot be read has no key ID and never expires: others wrote it,
/// and whoever relies on it is not harmed by its staying.
fn certificates(der: &[u8]) -> Vec<Certificate> {
    parse_chain_der(der).unwrap_or_default()
}

fn has_subject_key_id(der: &[u8], subject_key_id: &str) -> bool {
    certificates(der).iter().any(|certificate| certificate.subject_key_id().is_some_and(|id| hex(id) == subject_key_id))
}

fn is_current(der: &[u8], expired_by: i64) -> bool {
    certificates(der).iter().all(|certificate| unix_seconds(certificate.not_after()) > expired_by)
}
