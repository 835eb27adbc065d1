//! What credential composers make of what is to be signed, and what they may not make of it.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};
use steeple_catalog::CredentialComposer;
use steeple_catalog::credential_composer::{Holder, X509CaAttributes, X509SvidAttributes};
use steeple_pki::ObjectIdentifier;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::{Certificate, KeyUsage};

use super::CaError;
use super::upstream::wrong_in;

const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// What the key of an SVID may be used for at most.
const USAGES: KeyUsage = KeyUsage::DIGITAL_SIGNATURE.and(KeyUsage::KEY_ENCIPHERMENT).and(KeyUsage::KEY_AGREEMENT);

/// The credential composers of a server, in the order of its file: each is given what the one before it has made. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Composers(Arc<[CredentialComposer]>);

impl Composers {
    /// In this order.
    pub fn new(composers: Vec<CredentialComposer>) -> Self {
        Self(composers.into())
    }

    /// What is to be said of an authority, of the server or below it.
    pub(super) async fn x509_ca(&self, mut attributes: X509CaAttributes) -> Result<X509CaAttributes, CaError> {
        for composer in &*self.0 {
            attributes = composer.compose_x509_ca(attributes).await?;
        }
        Ok(attributes)
    }

    /// What is to be said in an X.509-SVID.
    pub(super) async fn x509_svid(
        &self,
        holder: Holder<'_>,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, CaError> {
        for composer in &*self.0 {
            attributes = composer.compose_x509_svid(holder, attributes).await?;
        }
        Ok(attributes)
    }

    /// The claims of a JWT-SVID, which is still one.
    ///
    /// # Errors
    /// A composer's, or it is none any more.
    pub(super) async fn jwt_svid(
        &self,
        id: &SpiffeId,
        mut claims: Map<String, Value>,
        now: SystemTime,
    ) -> Result<Map<String, Value>, CaError> {
        if self.0.is_empty() {
            return Ok(claims);
        }
        for composer in &*self.0 {
            claims = composer.compose_jwt_svid(id, claims).await?;
        }
        // A composer in another process has no numbers but floating ones.
        for claim in ["iat", "exp"] {
            if let Some(seconds) = claims.get(claim).and_then(Value::as_f64) {
                claims.insert(claim.to_owned(), (seconds as i64).into());
            }
        }
        match wrong_in_claims(&claims, id, unix_seconds(now)) {
            Some(wrong) => Err(CaError::Composed(format!("JWT-SVID {wrong}"))),
            None => Ok(claims),
        }
    }

    /// Whether what was composed is an authority of the trust domain with this ID.
    pub(super) fn check_x509_ca(&self, made: &Certificate, own: &str, now: SystemTime) -> Result<(), CaError> {
        if self.0.is_empty() {
            return Ok(());
        }
        match wrong_in(made, own, now) {
            Some(wrong) => Err(CaError::Composed(format!("X509 CA: {wrong}"))),
            None => Ok(()),
        }
    }

    /// Whether what was composed is an X.509-SVID of this ID: an extension can take the place of one of the server's own.
    pub(super) fn check_x509_svid(&self, made: &Certificate, id: &SpiffeId) -> Result<(), CaError> {
        if self.0.is_empty() {
            return Ok(());
        }
        match wrong_in_svid(made, id) {
            Some(wrong) => Err(CaError::Composed(format!("X509-SVID: {wrong}"))),
            None => Ok(()),
        }
    }
}

fn wrong_in_svid(made: &Certificate, id: &SpiffeId) -> Option<String> {
    let usage = made.key_usage();
    let extended = made.extended_key_usages();
    let lacks = |wanted| !extended.is_empty() && !extended.contains(wanted);
    let rules = [
        (made.is_ca(), "cA constraint must not be set"),
        (
            !usage.is_some_and(|usage| usage.contains(KeyUsage::DIGITAL_SIGNATURE)),
            "digitalSignature key usage must be set",
        ),
        (
            !usage.is_some_and(|usage| USAGES.contains(usage)),
            "only digitalSignature, keyEncipherment, and keyAgreement key usage can be set",
        ),
        (lacks(&SERVER_AUTH), "missing serverAuth extended key usage"),
        (lacks(&CLIENT_AUTH), "missing clientAuth extended key usage"),
    ];
    match (rules.into_iter().find(|(broken, _)| *broken), made.uri_sans()) {
        (Some((_, wrong)), _) => Some(wrong.to_owned()),
        (None, [uri]) if uri == id.as_str() => None,
        (None, []) => Some("missing URI SAN".to_owned()),
        (None, uris) => Some(format!("expected URI SAN \"{id}\" but got {uris:?}")),
    }
}

fn wrong_in_claims(claims: &Map<String, Value>, id: &SpiffeId, now: i64) -> Option<String> {
    let seconds = |claim: &str| claims.get(claim).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let wrong = |claim, what: &str| Some(format!("\"{claim}\" claim: {what}"));
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if subject != id.as_str() {
        return wrong("sub", &format!("expected \"{id}\" but got {subject:?}"));
    }
    match seconds("exp") {
        None => return wrong("exp", "required but missing"),
        Some(end) if end <= now => return wrong("exp", "already expired"),
        Some(_) => {}
    }
    if seconds("nbf").is_some_and(|begin| begin > now) {
        return wrong("nbf", "not yet valid");
    }
    let is_empty = |one: &Value| one.as_str().is_none_or(str::is_empty);
    match claims.get("aud") {
        Some(Value::Array(audience)) if !audience.is_empty() => {
            audience.iter().any(is_empty).then(|| "\"aud\" claim: contains empty value".to_owned())
        }
        Some(one @ Value::String(_)) if !is_empty(one) => None,
        _ => wrong("aud", "required but missing"),
    }
}
