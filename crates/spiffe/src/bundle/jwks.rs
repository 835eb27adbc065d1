//! The SPIFFE bundle document: a JWK Set with two members of its own (SPIFFE Trust Domain and Bundle, section 4).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;

use super::{AuthorityError, Bundle, BundleError, JwtAuthority, WitAuthority, X509Authority};
use crate::jwk::Jwk;
use crate::{Certificate, PublicKey, TrustDomain};

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
    /// As the standard says (section 4.2.2): keys whose `use` is missing or unknown are ignored, and so are JWT and WIT
    /// keys of a family that we do not know (RFC 7517, section 5).
    Standard,
    /// As SPIRE reads what it is going to trust: such keys are errors.
    Strict,
}

/// Writes the document: X.509, JWT, then WIT authorities, tainted ones included and unmarked; indented by four spaces,
/// without a newline at the end.
pub fn marshal(bundle: &Bundle, options: Options) -> Vec<u8> {
    let Options { refresh_hint, wit_authorities } = options;
    let x509 = bundle.x509_certificates().map(x509_key);
    let jwt = bundle.jwt_authorities.iter().map(|a| token_key(JWT_SVID, &a.key_id, &a.public_key));
    let wit = bundle.wit_authorities.iter().filter(|_| wit_authorities);
    let wit = wit.map(|a| token_key(WIT_SVID, &a.key_id, &a.public_key));
    let hint = refresh_hint.or(bundle.refresh_hint).map_or(0, |hint| hint.as_secs());
    to_json(&Document {
        keys: Some(x509.chain(jwt).chain(wit).collect()),
        spiffe_sequence: Some(bundle.sequence_number).filter(|&number| number != 0),
        spiffe_refresh_hint: Some(hint).filter(|&hint| hint != 0),
    })
}

/// Writes the JWK Set that the Workload API has for the JWT authorities (SPIFFE Workload API, section 6.2.2): without
/// `use` and without SPIFFE's own members.
pub fn jwt_keys_document(bundle: &Bundle) -> Vec<u8> {
    let keys = bundle.jwt_authorities.iter().map(|authority| {
        let JwtAuthority { key_id, public_key, expires_at: _, tainted: _ } = authority;
        Jwk { kid: Some(key_id.clone()), ..Jwk::new(public_key) }
    });
    to_json(&Document { keys: Some(keys.collect()), spiffe_sequence: None, spiffe_refresh_hint: None })
}

/// Reads a document. An X.509 authority that occurs twice is taken once; of several keys with one name the last counts.
///
/// # Errors
/// [`BundleError`]; one bad key refuses the whole document, so that half of a bundle is never taken for all of it.
pub fn parse(trust_domain: &TrustDomain, document: &[u8], mode: Mode) -> Result<Bundle, BundleError> {
    let Document { keys, spiffe_sequence, spiffe_refresh_hint } = from_json(document)?;
    let mut bundle = Bundle::new(trust_domain.clone());
    bundle.sequence_number = spiffe_sequence.unwrap_or_default();
    bundle.refresh_hint = spiffe_refresh_hint.filter(|&hint| hint != 0).map(Duration::from_secs);
    add_all(&mut bundle, keys, mode)?;
    Ok(bundle)
}

/// Reads the form of [`jwt_keys_document`]: every key is a JWT authority, whatever its `use`.
///
/// # Errors
/// As [`parse`].
pub fn parse_jwt_keys_document(trust_domain: &TrustDomain, document: &[u8]) -> Result<Bundle, BundleError> {
    let Document { mut keys, spiffe_sequence: _, spiffe_refresh_hint: _ } = from_json(document)?;
    for key in keys.iter_mut().flatten() {
        key.key_use = Some(JWT_SVID.into());
    }
    let mut bundle = Bundle::new(trust_domain.clone());
    add_all(&mut bundle, keys, Mode::Strict)?;
    Ok(bundle)
}

#[derive(Serialize, Deserialize)]
struct Document {
    keys: Option<Vec<Jwk>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
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

fn add_all(bundle: &mut Bundle, keys: Option<Vec<Jwk>>, mode: Mode) -> Result<(), BundleError> {
    for (index, key) in keys.ok_or(BundleError::NoKeys)?.into_iter().enumerate() {
        add(bundle, &key, mode).map_err(|reason| BundleError::Authority { index, reason })?;
    }
    Ok(())
}

fn add(bundle: &mut Bundle, key: &Jwk, mode: Mode) -> Result<(), AuthorityError> {
    match key.key_use.as_deref() {
        Some(X509_SVID) => {
            let authority = X509Authority { certificate: certificate(key)?, tainted: false };
            if !bundle.x509_authorities.contains(&authority) {
                bundle.x509_authorities.push(authority);
            }
        }
        Some(JWT_SVID | WIT_SVID) if mode == Mode::Standard && !KNOWN_FAMILIES.contains(&key.kty.as_str()) => {}
        Some(JWT_SVID) => {
            let (key_id, public_key) = named_key(key)?;
            bundle.jwt_authorities.retain(|known| known.key_id != key_id);
            bundle.jwt_authorities.push(JwtAuthority { key_id, public_key, expires_at: None, tainted: false });
        }
        Some(WIT_SVID) => {
            let (key_id, public_key) = named_key(key)?;
            bundle.wit_authorities.retain(|known| known.key_id != key_id);
            bundle.wit_authorities.push(WitAuthority { key_id, public_key, expires_at: None, tainted: false });
        }
        _ if mode == Mode::Standard => {}
        None => return Err(AuthorityError::NoUse),
        Some(other) => return Err(AuthorityError::UnknownUse(other.into())),
    }
    Ok(())
}

fn certificate(key: &Jwk) -> Result<Certificate, AuthorityError> {
    match key.x5c.as_deref() {
        Some([only]) => {
            let der = BASE64_STANDARD.decode(only).map_err(|_| AuthorityError::Base64)?;
            Ok(Certificate::from_der(&der)?)
        }
        other => Err(AuthorityError::Certificates(other.map_or(0, <[String]>::len))),
    }
}

fn named_key(key: &Jwk) -> Result<(String, PublicKey), AuthorityError> {
    let key_id = key.kid.clone().filter(|kid| !kid.is_empty()).ok_or(AuthorityError::NoKeyId)?;
    Ok((key_id, key.public_key()?))
}

fn from_json(document: &[u8]) -> Result<Document, BundleError> {
    if document.len() > MAX_LEN {
        return Err(BundleError::TooLong);
    }
    serde_json::from_slice(document).map_err(|error| BundleError::Json(error.to_string()))
}

fn to_json(document: &Document) -> Vec<u8> {
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
