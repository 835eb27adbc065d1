//! JWT-SVIDs (SPIFFE JWT-SVID; RFC 7515, 7519): reading and validating them. Making them is for whoever has the key.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::jws::{self, Compact, Header, is_later};
use crate::{BundleSource, IdError, PublicKeyError, SignatureAlgorithm, SpiffeId, TrustDomain};

/// The longest token that is looked at, in bytes.
pub const MAX_LEN: usize = jws::MAX_LEN;

/// How far clocks may be apart when the times of a token are checked.
pub const LEEWAY: Duration = jws::LEEWAY;

/// A JWT-SVID: the token and what it says.
#[derive(Clone, PartialEq)]
pub struct JwtSvid {
    /// The subject.
    pub id: SpiffeId,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// When it ends, a whole second.
    pub expires_at: SystemTime,
    /// When it was made, a whole second, if it says so.
    pub issued_at: Option<SystemTime>,
    /// All claims as they stand in the token, these included; `aud` may be a single string there.
    pub claims: Map<String, Value>,
    /// The token itself, in compact serialization. Whoever holds it can use it.
    pub token: String,
    /// The name of the key that signed it.
    pub key_id: String,
}

impl JwtSvid {
    /// Reads a token **without verifying it**: for the one who got it from its own server or agent and wants to know
    /// what it says.
    ///
    /// # Errors
    /// It is malformed, or lacks what every JWT-SVID has: a known algorithm, a key ID, a subject and an expiry.
    pub fn parse_unverified(token: &str) -> Result<Self, JwtError> {
        Parsed::read(token).map(|parsed| parsed.svid)
    }

    /// The name of the key that a token says it is signed by, **without verifying it**, nor reading more than that. None
    /// when there is none, or the header makes no sense.
    pub fn key_id_unverified(token: &str) -> Option<String> {
        jws::key_id(token)
    }
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, audience, expires_at, issued_at, claims: _, token: _, key_id } = self;
        f.debug_struct("JwtSvid")
            .field("id", id)
            .field("audience", audience)
            .field("expires_at", expires_at)
            .field("issued_at", issued_at)
            .field("key_id", key_id)
            .finish_non_exhaustive()
    }
}

/// Validates a token for one audience at `now` (JWT-SVID, section 4). The order of the checks is SPIRE's, as the first
/// failure is what the caller sees: the form; the key, looked up by the subject's trust domain and the key ID; the
/// signature; the audience; the times.
///
/// The header `typ` is not looked at: the standard knows `JWT` and `JOSE` alone (section 2.3), but SPIRE takes any, and
/// tokens of other kinds are signed by other keys and have no audience.
///
/// # Errors
/// [`JwtError`], with the texts of SPIRE's `ValidateJWTSVID`.
pub fn validate(
    token: &str,
    bundles: &(impl BundleSource + ?Sized),
    audience: &str,
    now: SystemTime,
) -> Result<JwtSvid, JwtError> {
    let Parsed { svid, algorithm, is_critical, not_before, signing_input, signature } = Parsed::read(token)?;

    let trust_domain = svid.id.trust_domain();
    let bundle = bundles.bundle(&trust_domain).ok_or_else(|| JwtError::UnknownTrustDomain(trust_domain.clone()))?;
    let authority = bundle
        .jwt_authority(&svid.key_id)
        .ok_or_else(|| JwtError::UnknownKey { key_id: svid.key_id.clone(), trust_domain })?;
    if is_critical {
        return Err(JwtError::Critical);
    }
    authority.public_key.verify_jws(algorithm, signing_input.as_bytes(), &signature).map_err(|error| match error {
        PublicKeyError::Algorithm => JwtError::AlgorithmMismatch,
        _ => JwtError::Signature,
    })?;

    if !svid.audience.iter().any(|member| member == audience) {
        return Err(JwtError::Audience { expected: audience.into(), found: svid.audience });
    }
    if not_before.is_some_and(|not_before| is_later(not_before, now)) {
        return Err(JwtError::NotYetValid);
    }
    if is_later(now, svid.expires_at) {
        return Err(JwtError::Expired);
    }
    if svid.issued_at.is_some_and(|issued_at| is_later(issued_at, now)) {
        return Err(JwtError::IssuedInTheFuture);
    }
    Ok(svid)
}

/// Why a token is refused. The texts are SPIRE's, those of its JOSE library included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// It is no compact JWS with a JSON header.
    #[error("unable to parse JWT token: {0}")]
    Malformed(String),
    /// It is not signed, or by an algorithm that JWT-SVIDs do not have (JWT-SVID, section 2.1).
    #[error("unable to parse JWT token: unexpected signature algorithm {0:?}; expected {all:?}", all = AllAlgorithms)]
    Algorithm(String),
    /// The header names no key.
    #[error("token header missing key id")]
    NoKeyId,
    /// The payload is no JSON object, or a registered claim has another type.
    #[error("{0}")]
    Claims(String),
    /// There is no subject.
    #[error("token missing subject claim")]
    NoSubject,
    /// There is no expiry.
    #[error("token missing exp claim")]
    NoExpiry,
    /// The subject is no SPIFFE ID.
    #[error("token has in invalid subject claim: {0}")]
    Subject(#[from] IdError),
    /// There is no bundle for the subject's trust domain.
    #[error("no keys found for trust domain {:?}", .0.name())]
    UnknownTrustDomain(TrustDomain),
    /// The bundle has no key of that name.
    #[error("public key {key_id:?} not found in trust domain {:?}", trust_domain.name())]
    UnknownKey {
        /// The key ID of the token.
        key_id: String,
        /// The trust domain of its subject.
        trust_domain: TrustDomain,
    },
    /// The header has `crit`: extensions that must be understood (RFC 7515, section 4.1.11). We understand none.
    #[error("go-jose/go-jose: unsupported critical header")]
    Critical,
    /// The key does not make signatures of the algorithm in the header.
    #[error("go-jose/go-jose: unknown/unsupported algorithm")]
    AlgorithmMismatch,
    /// The signature is not the key's over this token.
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Signature,
    /// It is for others.
    #[error("expected audience in [{expected:?}] (audience=[{}])", Quoted(found))]
    Audience {
        /// Whom it should be for.
        expected: String,
        /// Whom it is for.
        found: Vec<String>,
    },
    /// It has ended.
    #[error("token has expired")]
    Expired,
    /// It has not begun.
    #[error("go-jose/go-jose/jwt: validation failed, token not valid yet (nbf)")]
    NotYetValid,
    /// It claims to come from the future.
    #[error("go-jose/go-jose/jwt: validation field, token issued in the future (iat)")]
    IssuedInTheFuture,
}

struct Parsed<'a> {
    svid: JwtSvid,
    algorithm: SignatureAlgorithm,
    is_critical: bool,
    not_before: Option<SystemTime>,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parsed<'a> {
    fn read(token: &'a str) -> Result<Self, JwtError> {
        let compact = Compact::read(token).map_err(JwtError::Malformed)?;
        let Header { alg, kid, typ: _, crit } = &compact.header;
        let algorithm = SignatureAlgorithm::from_jose_name(alg).ok_or_else(|| JwtError::Algorithm(alg.clone()))?;
        let key_id = kid.clone().filter(|kid| !kid.is_empty()).ok_or(JwtError::NoKeyId)?;
        let is_critical = crit.is_some();

        let claims = compact.claims().map_err(JwtError::Claims)?;
        let subject = jws::text(&claims, "sub").map_err(JwtError::Claims)?;
        let audience = audience(&claims)?;
        let numeric_date = |name| jws::numeric_date(&claims, name).map_err(JwtError::Claims);
        let expires_at = numeric_date("exp")?;
        let not_before = numeric_date("nbf")?;
        let issued_at = numeric_date("iat")?;
        let subject = subject.ok_or(JwtError::NoSubject)?;
        let expires_at = expires_at.ok_or(JwtError::NoExpiry)?;
        let id = SpiffeId::parse(subject)?;

        let Compact { token, signing_input, header: _, payload: _, signature } = compact;
        let svid = JwtSvid { id, audience, expires_at, issued_at, claims, token: token.into(), key_id };
        Ok(Self { svid, algorithm, is_critical, not_before, signing_input, signature })
    }
}

fn audience(claims: &Map<String, Value>) -> Result<Vec<String>, JwtError> {
    let malformed =
        || JwtError::Claims("go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience".into());
    match claims.get("aud") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|one| one.as_str().map(Into::into).ok_or_else(malformed)).collect(),
        Some(_) => Err(malformed()),
    }
}

/// Prints strings as Go prints a list of them: quoted, with spaces between.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, text) in self.0.iter().enumerate() {
            write!(f, "{}{text:?}", if n == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

struct AllAlgorithms;

impl fmt::Debug for AllAlgorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = SignatureAlgorithm::JOSE.into_iter().filter_map(SignatureAlgorithm::jose_name);
        write!(f, "[{}]", Quoted(&names.map(Into::into).collect::<Vec<String>>()))
    }
}

#[cfg(test)]
mod tests;
