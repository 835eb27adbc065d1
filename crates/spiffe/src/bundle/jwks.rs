//! The SPIFFE bundle document: a JWK Set with two members of its own (SPIFFE Trust Domain and Bundle, section 4).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::PrettyFormatter;

use super::{AuthorityError, Bundle, BundleError, JwtAuthority, WitAuthority, X509Authority};
use crate::jwk::Jwk;
use crate::{Certificate, PublicKey, PublicKeyError, TrustDomain};

/// The longest document that is looked at, in bytes.
pub const MAX_LEN: usize = 8 << 20;

/// How a document is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Stands in place of the bundle's own refresh hint: what the bundle endpoint is configured with.
    pub refresh_hint: Option<Duration>,
    /// Also write the WIT authorities, which SPIRE 1.15 does not.
    pub wit_authorities: bool,
}

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As the standard says: what cannot be used is ignored. That is a key whose `use` is missing or unknown (section
    /// 4.2.2), a JWT or WIT key of a type, curve or size that we do not know (section 4.2.1; RFC 7517, section 5) and an
    /// X.509 key without a certificate; of several certificates the first counts (X509-SVID, section 6.2). What we do
    /// know and cannot read still refuses the document.
    Standard,
    /// As SPIRE reads what it is going to trust: such keys are errors.
    Strict,
}

/// Writes the document: X.509, JWT, then WIT authorities, tainted ones included and unmarked; indented by four spaces,
/// without a newline at the end.
pub fn marshal(bundle: &Bundle, options: Options) -> Vec<u8> {
    to_json(&write(bundle, options))
}

pub(super) fn write(bundle: &Bundle, options: Options) -> Document {
    let Options { refresh_hint, wit_authorities } = options;
    let x509 = bundle.x509_certificates().map(x509_key);
    let jwt = bundle.jwt_authorities.iter().map(|a| token_key(JWT_SVID, &a.key_id, &a.public_key));
    let wit = bundle.wit_authorities.iter().filter(|_| wit_authorities);
    let wit = wit.map(|a| token_key(WIT_SVID, &a.key_id, &a.public_key));
    let hint = refresh_hint.or(bundle.refresh_hint).map_or(0, |hint| hint.as_secs());
    Document {
        keys: Some(x509.chain(jwt).chain(wit).collect()),
        spiffe_sequence: Some(bundle.sequence_number).filter(|&number| number != 0),
        spiffe_refresh_hint: Some(hint).filter(|&hint| hint != 0),
    }
}

/// Writes the JWK Set that the Workload API has for the JWT authorities (SPIFFE Workload API, section 6.2.2): without
/// `use` and without SPIFFE's own members.
pub fn jwt_keys_document(bundle: &Bundle) -> Vec<u8> {
    keys_document(bundle.jwt_authorities.iter().map(|authority| {
        let JwtAuthority { key_id, public_key, expires_at: _, tainted: _ } = authority;
        (key_id, public_key)
    }))
}

/// As [`jwt_keys_document`], for the WIT authorities (SPIFFE Workload API, section 7.2.2).
pub fn wit_keys_document(bundle: &Bundle) -> Vec<u8> {
    keys_document(bundle.wit_authorities.iter().map(|authority| {
        let WitAuthority { key_id, public_key, expires_at: _, tainted: _ } = authority;
        (key_id, public_key)
    }))
}

/// Reads a document. An X.509 authority that occurs twice is taken once; of several keys with one name the last counts.
///
/// # Errors
/// [`BundleError`]; one bad key refuses the whole document, so that half of a bundle is never taken for all of it.
pub fn parse(trust_domain: &TrustDomain, document: &[u8], mode: Mode) -> Result<Bundle, BundleError> {
    read(trust_domain, from_json(document)?, mode)
}

pub(super) fn read(trust_domain: &TrustDomain, document: Unread, mode: Mode) -> Result<Bundle, BundleError> {
    let Unread { keys, spiffe_sequence, spiffe_refresh_hint } = document;
    let mut bundle = Bundle::new(trust_domain.clone());
    bundle.sequence_number = spiffe_sequence.unwrap_or_default();
    bundle.refresh_hint = spiffe_refresh_hint.filter(|&hint| hint != 0).map(Duration::from_secs);
    add_all(&mut bundle, keys, mode)?;
    Ok(bundle)
}

/// Reads the form of [`jwt_keys_document`]. Keys that are for something else, and those of a type that we do not know, are
/// ignored (RFC 7517, sections 4.2 and 5); what we do know and cannot read refuses the document.
///
/// # Errors
/// As [`parse`].
pub fn parse_jwt_keys_document(trust_domain: &TrustDomain, document: &[u8]) -> Result<Bundle, BundleError> {
    parse_keys_document(trust_domain, document, JWT_SVID)
}

/// Reads the form of [`wit_keys_document`], as [`parse_jwt_keys_document`] does.
///
/// # Errors
/// As [`parse`].
pub fn parse_wit_keys_document(trust_domain: &TrustDomain, document: &[u8]) -> Result<Bundle, BundleError> {
    parse_keys_document(trust_domain, document, WIT_SVID)
}

fn parse_keys_document(trust_domain: &TrustDomain, document: &[u8], key_use: &str) -> Result<Bundle, BundleError> {
    // What a bundle document says beside its keys has no place in this one.
    let Unread { mut keys, spiffe_sequence: _, spiffe_refresh_hint: _ } = from_json(document)?;
    if let Some(keys) = &mut keys {
        if let Some(index) = keys.iter().position(|key| !key.is_object()) {
            return Err(BundleError::Json(format!("key {index} is no object")));
        }
        keys.retain(|key| is_for(key, key_use));
        for key in keys.iter_mut().filter_map(Value::as_object_mut) {
            key.insert("use".into(), key_use.into());
        }
    }
    let mut bundle = Bundle::new(trust_domain.clone());
    add_all(&mut bundle, keys, Mode::Standard)?;
    Ok(bundle)
}

/// By RFC 7517, a key may say that it signs; by the bundle document, what kind of SVID; most say nothing.
fn is_for(key: &Value, key_use: &str) -> bool {
    match key.get("use") {
        None | Some(Value::Null) => true,
        Some(stated) => stated == key_use || stated == "sig",
    }
}

fn keys_document<'a>(keys: impl Iterator<Item = (&'a String, &'a PublicKey)>) -> Vec<u8> {
    let keys = keys.map(|(key_id, key)| Jwk { kid: Some(key_id.clone()), ..Jwk::new(key) });
    to_json(&Document { keys: Some(keys.collect()), spiffe_sequence: None, spiffe_refresh_hint: None })
}

/// A document to be written.
#[derive(Serialize)]
pub(super) struct Document {
    keys: Option<Vec<Jwk>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
}

impl Document {
    pub(super) fn without_refresh_hint(self) -> Self {
        Self { spiffe_refresh_hint: None, ..self }
    }
}

/// A document as it came. A key stays as it is until it is known to be for us: one of another type may have members
/// that mean something else.
#[derive(Deserialize)]
pub(super) struct Unread {
    keys: Option<Vec<Value>>,
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<u64>,
}

fn x509_key(certificate: &Certificate) -> Jwk {
    let x5c = Some(vec![BASE64_STANDARD.encode(certificate.der())]);
    let key_use = Some(X509_SVID.into());
    match certificate.public_key() {
        Ok(key) => Jwk { key_use, x5c, ..Jwk::new(&key) },
        // A key that a JWK cannot show; readers go by the certificate (section 4.2.2).
        Err(_) => Jwk { key_use, x5c, ..Jwk::default() },
    }
}

fn token_key(key_use: &str, key_id: &str, key: &PublicKey) -> Jwk {
    Jwk { key_use: Some(key_use.into()), kid: Some(key_id.into()), ..Jwk::new(key) }
}

fn add_all(bundle: &mut Bundle, keys: Option<Vec<Value>>, mode: Mode) -> Result<(), BundleError> {
    for (index, key) in keys.ok_or(BundleError::NoKeys)?.into_iter().enumerate() {
        if mode == Mode::Strict || is_for_us(&key) {
            let key = Jwk::deserialize(key).map_err(|error| BundleError::Json(format!("key {index}: {error}")))?;
            add(bundle, &key, mode).map_err(|reason| BundleError::Authority { index, reason })?;
        }
    }
    Ok(())
}

/// Whether a key's use and type are known. An X.509 key goes by its certificate, whatever its type.
fn is_for_us(key: &Value) -> bool {
    let member = |name| key.get(name).and_then(Value::as_str);
    match member("use") {
        Some(X509_SVID) => true,
        Some(JWT_SVID | WIT_SVID) => member("kty").is_some_and(|kty| KNOWN_FAMILIES.contains(&kty)),
        _ => false,
    }
}

fn add(bundle: &mut Bundle, key: &Jwk, mode: Mode) -> Result<(), AuthorityError> {
    match key.key_use.as_deref() {
        Some(X509_SVID) => {
            let Some(certificate) = certificate(key, mode)? else { return Ok(()) };
            let authority = X509Authority { certificate, tainted: false };
            if !bundle.x509_authorities.contains(&authority) {
                bundle.x509_authorities.push(authority);
            }
        }
        Some(JWT_SVID) => {
            let Some((key_id, public_key)) = named_key(key, mode)? else { return Ok(()) };
            bundle.jwt_authorities.retain(|known| known.key_id != key_id);
            bundle.jwt_authorities.push(JwtAuthority { key_id, public_key, expires_at: None, tainted: false });
        }
        Some(WIT_SVID) => {
            let Some((key_id, public_key)) = named_key(key, mode)? else { return Ok(()) };
            bundle.wit_authorities.retain(|known| known.key_id != key_id);
            bundle.wit_authorities.push(WitAuthority { key_id, public_key, expires_at: None, tainted: false });
        }
        None => return Err(AuthorityError::NoUse),
        Some(other) => return Err(AuthorityError::UnknownUse(other.into())),
    }
    Ok(())
}

/// The certificate of an X.509 key; `None` when the key is to be ignored.
fn certificate(key: &Jwk, mode: Mode) -> Result<Option<Certificate>, AuthorityError> {
    let der = match (key.x5c.as_deref().unwrap_or_default(), mode) {
        ([only], _) => only,
        ([], Mode::Standard) => return Ok(None),
        ([first, ..], Mode::Standard) => first,
        (other, Mode::Strict) => return Err(AuthorityError::Certificates(other.len())),
    };
    let der = BASE64_STANDARD.decode(der).map_err(|_| AuthorityError::Base64)?;
    Ok(Some(Certificate::from_der(&der)?))
}

/// The name and key of a JWT or WIT key; `None` when it is to be ignored.
fn named_key(key: &Jwk, mode: Mode) -> Result<Option<(String, PublicKey)>, AuthorityError> {
    let public_key = match (key.public_key(), mode) {
        // The kind comes first: what else a key of another kind has to have is not for us to say.
        (Err(PublicKeyError::Unsupported(_)), Mode::Standard) => return Ok(None),
        (public_key, _) => public_key,
    };
    let key_id = key.kid.clone().filter(|kid| !kid.is_empty()).ok_or(AuthorityError::NoKeyId)?;
    Ok(Some((key_id, public_key?)))
}

pub(super) fn from_json<T: DeserializeOwned>(document: &[u8]) -> Result<T, BundleError> {
    if document.len() > MAX_LEN {
        return Err(BundleError::TooLong);
    }
    serde_json::from_slice(document).map_err(|error| BundleError::Json(error.to_string()))
}

pub(super) fn to_json(document: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"    "));
    // Strings and numbers into memory: there is nothing that can fail.
    let _ = document.serialize(&mut serializer);
    json
}

const X509_SVID: &str = "x509-svid";
const JWT_SVID: &str = "jwt-svid";
const WIT_SVID: &str = "wit-svid";
const KNOWN_FAMILIES: [&str; 3] = ["EC", "RSA", "OKP"];
