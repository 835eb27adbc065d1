//! WIT-SVIDs (SPIFFE WIT-SVID; RFC 7515, 7519, 7800): reading and validating them. Making them is for whoever has the
//! key.
//!
//! A WIT-SVID alone proves nothing, as it is no secret: it names the key of its workload, and who presents it must show
//! that it has that key (section 7.1). So [`validate`] gives no identity but an [`Unproven`] one, and the only way from
//! there to the SPIFFE ID is a signature of the workload's key.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::jwk::Jwk;
use crate::jws::{self, Compact, Header, is_later};
use crate::{BundleSource, IdError, PublicKey, PublicKeyError, SignatureAlgorithm, SpiffeId, TrustDomain};

/// The `typ` of every WIT-SVID (section 2.2).
pub const TYPE: &str = "wit+jwt";

/// The longest token that is looked at, in bytes.
pub const MAX_LEN: usize = jws::MAX_LEN;

/// How far clocks may be apart when the times of a token are checked (section 3.4).
pub const LEEWAY: std::time::Duration = jws::LEEWAY;

/// A WIT-SVID: the token and what it says.
#[derive(Clone, PartialEq)]
pub struct WitSvid {
    /// The subject.
    pub id: SpiffeId,
    /// The key of the workload, from `cnf`.
    pub public_key: PublicKey,
    /// What that key signs with; it fits the key.
    pub algorithm: SignatureAlgorithm,
    /// When it ends, a whole second.
    pub expires_at: SystemTime,
    /// Before when it is not valid, a whole second, if it says so.
    pub not_before: Option<SystemTime>,
    /// When it was made, a whole second, if it says so. Tells nothing about validity (section 3.6).
    pub issued_at: Option<SystemTime>,
    /// Its `jti`, for logs. It may be shared by instances of a workload, so it is no means against replays (section 3.3).
    pub token_id: Option<String>,
    /// All claims as they stand in the token, these included.
    pub claims: Map<String, Value>,
    /// The token itself, in compact serialization.
    pub token: String,
    /// The name of the key that signed it.
    pub key_id: String,
}

impl WitSvid {
    /// Reads a token **without verifying it**: for the one who got it from its own server or agent and wants to know
    /// what it says.
    ///
    /// # Errors
    /// It is malformed, or no WIT-SVID: another type or algorithm, no key ID, subject, expiry or confirmation, or an
    /// audience.
    pub fn parse_unverified(token: &str) -> Result<Self, WitError> {
        read(token).map(|(svid, _, _)| svid)
    }
}

impl fmt::Debug for WitSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            public_key,
            algorithm,
            expires_at,
            not_before,
            issued_at,
            token_id,
            claims: _,
            token: _,
            key_id,
        } = self;
        f.debug_struct("WitSvid")
            .field("id", id)
            .field("public_key", public_key)
            .field("algorithm", algorithm)
            .field("expires_at", expires_at)
            .field("not_before", not_before)
            .field("issued_at", issued_at)
            .field("token_id", token_id)
            .field("key_id", key_id)
            .finish_non_exhaustive()
    }
}

/// Validates a token at `now` (section 4): the form, the signature by a WIT authority of the subject's own trust domain,
/// the times. Whoever presented it has still to prove that the key in it is its own.
///
/// # Errors
/// [`WitError`].
pub fn validate(token: &str, bundles: &(impl BundleSource + ?Sized), now: SystemTime) -> Result<Unproven, WitError> {
    let (svid, compact, algorithm) = read(token)?;
    let trust_domain = svid.id.trust_domain();
    let bundle = bundles.bundle(&trust_domain).ok_or_else(|| WitError::UnknownTrustDomain(trust_domain.clone()))?;
    let authority = bundle
        .wit_authority(&svid.key_id)
        .ok_or_else(|| WitError::UnknownKey { key_id: svid.key_id.clone(), trust_domain })?;
    authority
        .public_key
        .verify_jws(algorithm, compact.signing_input.as_bytes(), &compact.signature)
        .map_err(WitError::Signature)?;

    if svid.not_before.is_some_and(|not_before| is_later(not_before, now)) {
        return Err(WitError::NotYetValid);
    }
    if is_later(now, svid.expires_at) {
        return Err(WitError::Expired);
    }
    Ok(Unproven(svid))
}

/// A valid WIT-SVID that anybody may have copied.
#[derive(Debug, Clone)]
#[must_use = "whoever presented it has proven nothing yet"]
pub struct Unproven(WitSvid);

impl Unproven {
    /// The key whose possession has to be proven.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// What that key signs with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm
    }

    /// Takes the proof: a signature of the workload's key, in the form of JWS, over a message that the verifier has put
    /// together itself from the request. That the message belongs to this request alone, and not to one that somebody
    /// repeats, is what the protocol has to see to (section 7.2).
    ///
    /// # Errors
    /// [`WitError::Proof`].
    pub fn prove(self, message: &[u8], signature: &[u8]) -> Result<WitSvid, WitError> {
        let Self(svid) = self;
        svid.public_key.verify_jws(svid.algorithm, message, signature).map_err(WitError::Proof)?;
        Ok(svid)
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitError {
    /// It is no compact JWS with a JSON header.
    #[error("unable to parse WIT-SVID: {0}")]
    Malformed(String),
    /// The header has another `typ`, or none (section 2.2): a JWT-SVID, for one.
    #[error("token is no WIT-SVID: its type is not \"wit+jwt\"")]
    Type,
    /// It is not signed, or by an algorithm that WIT-SVIDs do not have (section 2.3).
    #[error("unexpected signature algorithm {0:?}")]
    Algorithm(String),
    /// The header names no key (section 2.1).
    #[error("token header missing key id")]
    NoKeyId,
    /// The header has `crit`: extensions that must be understood (section 2.4). We understand none.
    #[error("unsupported critical header")]
    Critical,
    /// The payload is no JSON object, or a registered claim has another type.
    #[error("{0}")]
    Claims(String),
    /// There is no subject (section 3.1).
    #[error("token missing subject claim")]
    NoSubject,
    /// The subject is no SPIFFE ID.
    #[error("token has an invalid subject claim: {0}")]
    Subject(#[from] IdError),
    /// There is no expiry (section 3.4).
    #[error("token missing exp claim")]
    NoExpiry,
    /// There is no confirmation (section 3.2).
    #[error("token missing cnf claim")]
    NoConfirmation,
    /// The confirmation holds no public key, or one without an algorithm that fits it.
    #[error("token has an invalid cnf claim: {0}")]
    Confirmation(String),
    /// It names an audience, as a bearer token does (section 3.8).
    #[error("a WIT-SVID must not have an aud claim")]
    Audience,
    /// There is no bundle for the subject's trust domain.
    #[error("no keys found for trust domain {:?}", .0.name())]
    UnknownTrustDomain(TrustDomain),
    /// The bundle has no WIT authority of that name.
    #[error("WIT authority {key_id:?} not found in trust domain {:?}", trust_domain.name())]
    UnknownKey {
        /// The key ID of the token.
        key_id: String,
        /// The trust domain of its subject.
        trust_domain: TrustDomain,
    },
    /// The signature is not the authority's over this token.
    #[error("token signature is not valid: {0}")]
    Signature(PublicKeyError),
    /// It has ended.
    #[error("token has expired")]
    Expired,
    /// It has not begun.
    #[error("token is not valid yet")]
    NotYetValid,
    /// Whoever presented it has not shown that the key in it is its own.
    #[error("proof of possession is not valid: {0}")]
    Proof(PublicKeyError),
}

fn read(token: &str) -> Result<(WitSvid, Compact<'_>, SignatureAlgorithm), WitError> {
    let compact = Compact::read(token).map_err(WitError::Malformed)?;
    let Header { alg, kid, typ, crit } = &compact.header;
    if typ.as_ref().and_then(Value::as_str) != Some(TYPE) {
        return Err(WitError::Type);
    }
    let algorithm = SignatureAlgorithm::from_jose_name(alg).ok_or_else(|| WitError::Algorithm(alg.clone()))?;
    let key_id = kid.clone().filter(|kid| !kid.is_empty()).ok_or(WitError::NoKeyId)?;
    if crit.is_some() {
        return Err(WitError::Critical);
    }

    let claims = compact.claims().map_err(WitError::Claims)?;
    if claims.contains_key("aud") {
        return Err(WitError::Audience);
    }
    let text = |name| jws::text(&claims, name).map_err(WitError::Claims);
    let numeric_date = |name| jws::numeric_date(&claims, name).map_err(WitError::Claims);
    let id = SpiffeId::parse(text("sub")?.ok_or(WitError::NoSubject)?)?;
    let token_id = text("jti")?.map(Into::into);
    let expires_at = numeric_date("exp")?.ok_or(WitError::NoExpiry)?;
    let (not_before, issued_at) = (numeric_date("nbf")?, numeric_date("iat")?);
    let (public_key, workload_algorithm) = confirmation(claims.get("cnf").ok_or(WitError::NoConfirmation)?)?;

    let svid = WitSvid {
        id,
        public_key,
        algorithm: workload_algorithm,
        expires_at,
        not_before,
        issued_at,
        token_id,
        claims,
        token: compact.token.into(),
        key_id,
    };
    Ok((svid, compact, algorithm))
}

/// The key of `cnf` (RFC 7800, section 3.2) and its algorithm, which WIT-SVIDs must name (section 3.2).
fn confirmation(cnf: &Value) -> Result<(PublicKey, SignatureAlgorithm), WitError> {
    let invalid = |what: &str| WitError::Confirmation(what.into());
    let jwk = cnf.get("jwk").ok_or_else(|| invalid("it has no jwk"))?;
    // Whoever saw such a token could give the proof.
    if jwk.get("d").is_some() {
        return Err(invalid("its jwk is a private key"));
    }
    let jwk: Jwk = serde::Deserialize::deserialize(jwk).map_err(|_| invalid("its jwk is malformed"))?;
    let algorithm = jwk
        .alg
        .as_deref()
        .and_then(SignatureAlgorithm::from_jose_name)
        .ok_or_else(|| invalid("its jwk has no supported algorithm"))?;
    let public_key = jwk.public_key().map_err(|error| WitError::Confirmation(error.to_string()))?;
    if !public_key.kind().signs_jws_with(algorithm) {
        return Err(invalid("its algorithm does not fit its key"));
    }
    Ok((public_key, algorithm))
}

#[cfg(test)]
mod tests;
