//! Certificates and tokens in words.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use steeple_spiffe::x509::DistinguishedName;
use steeple_spiffe::{Certificate, JwtSvid, X509Svid};

use super::screen::{Row, date_and_time, distance};

/// An X.509-SVID with the bundle that came along.
pub(super) fn x509_svid(svid: &X509Svid, authorities: &[Certificate], now: SystemTime, zone: &TimeZone) -> Vec<Row> {
    let X509Svid { id, chain, key_pkcs8: _, hint } = svid;
    let mut rows = vec![("SPIFFE ID", id.to_string())];
    if !hint.is_empty() {
        rows.push(("hint", hint.clone()));
    }
    if let Some(leaf) = chain.first() {
        rows.extend(certificate(leaf, now, zone));
    }
    if chain.len() > 1 {
        rows.push(("chain", format!("{} certificates below an authority", chain.len())));
    }
    let ends = authorities.iter().map(|authority| date_and_time(authority.not_after(), zone));
    let ends: Vec<String> = ends.collect();
    rows.push(("authorities", format!("{} in the bundle, valid until {}", authorities.len(), ends.join(" and "))));
    rows
}

fn certificate(leaf: &Certificate, now: SystemTime, zone: &TimeZone) -> Vec<Row> {
    let moment = |at| format!("{} ({})", date_and_time(at, zone), distance(at, now));
    let mut rows = vec![
        ("serial", serial(leaf)),
        ("subject", leaf.subject_string()),
        ("issuer", DistinguishedName::from_der(leaf.issuer_der()).unwrap_or_default().to_string()),
        ("valid from", moment(leaf.not_before())),
        ("valid until", moment(leaf.not_after())),
        ("key", leaf.public_key().map_or_else(|error| error.to_string(), |key| key.kind().to_string())),
    ];
    if !leaf.dns_sans().is_empty() {
        rows.push(("DNS names", leaf.dns_sans().join(", ")));
    }
    rows
}

/// A JWT-SVID: its header in one row, its claims in a row each.
pub(super) fn jwt_svid(svid: &JwtSvid, now: SystemTime, zone: &TimeZone) -> Vec<Row> {
    let JwtSvid { id, audience, expires_at, issued_at, claims, token, key_id: _ } = svid;
    let moment = |at| format!("{} ({})", date_and_time(at, zone), distance(at, now));
    let mut rows = vec![("SPIFFE ID", id.to_string()), ("header", members(&header(token)))];
    rows.push(("for (aud)", audience.join(", ")));
    rows.extend(issued_at.map(|at| ("issued (iat)", moment(at))));
    rows.push(("ends (exp)", moment(*expires_at)));
    let others = claims.iter().filter(|(name, _)| !["sub", "aud", "iat", "exp"].contains(&name.as_str()));
    let others: Map<String, Value> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !others.is_empty() {
        rows.push(("other claims", members(&others)));
    }
    rows
}

/// The serial number as openssl prints it.
pub(super) fn serial(certificate: &Certificate) -> String {
    certificate.serial_hex().to_uppercase()
}

/// The first digits of the serial number: enough to tell two apart at a glance.
pub(super) fn short_serial(certificate: &Certificate) -> String {
    serial(certificate).chars().take(8).collect()
}

/// The JOSE header; empty if there is none, which a parsed token excludes.
fn header(token: &str) -> Map<String, Value> {
    let encoded = token.split('.').next().unwrap_or_default();
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded).unwrap_or_default();
    serde_json::from_slice(&decoded).unwrap_or_default()
}

/// `alg ES256, kid abc`: strings bare, everything else as JSON.
fn members(object: &Map<String, Value>) -> String {
    let member = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name} {text}"),
        value => format!("{name} {value}"),
    };
    object.iter().map(member).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
