//! Facts of values that change from run to run.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::x509::{DistinguishedName, KeyUsage};
use steeple_spiffe::{Certificate, JwtSvid, PublicKey, PublicKeyKind, WitSvid, wit};

use super::form::{Form, extension_name};

/// So many seconds a time may be off: SVIDs are made some time before the call that shows them, and a replay is faster or
/// slower than the recording was. 12 s, as the recordings say, is too short for a machine that has more to do.
pub(super) const TOLERANCE: i64 = 30;
/// How long the recorded server's authorities last.
const DAY: i64 = 24 * 60 * 60;

pub(super) fn check(facts: &Value, value: &Value, called_at: SystemTime) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let is = |holds: bool| if holds { Ok(()) } else { Err(format!("{value} is no {}", facts["kind"])) };
    match facts["kind"].as_str().unwrap() {
        "time" => {
            let seconds = value.as_i64().or_else(|| text.parse().ok());
            near(&facts["in"], seconds.ok_or_else(|| format!("{value} is no time"))?, called_at)
        }
        "uuid" => is(text.len() == 36 && text.as_bytes()[14] == b'4' && text.split('-').count() == 5),
        "decimal" => is(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())),
        "alnum32" => is(text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())),
        "hex40" => is(text.len() == 40 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))),
        "spki" => {
            let key = PublicKey::from_spki_der(&der(text)?).map_err(|error| error.to_string())?;
            same("key", &facts["key"], kind(key.kind()))
        }
        "x509" => {
            certificate(facts, &Certificate::from_der(&der(text)?).map_err(|error| error.to_string())?, called_at)
        }
        "jwt" => token(facts, text, called_at),
        "pkcs8" => {
            let key = PublicKey::of_pkcs8(&der(text)?).map_err(|error| error.to_string())?;
            same("key", &facts["key"], kind(key.kind()))
        }
        "jwks" => object(facts, &der(text)?),
        "text" => is(alike(facts["masked"].as_str().unwrap(), text)),
        other => Err(format!("facts of kind {other} are not checked")),
    }
}

/// A text in which each `*` of the mask is anything that is not empty.
fn alike(mask: &str, text: &str) -> bool {
    let Some((before, after)) = mask.split_once('*') else { return mask == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    rest.char_indices().skip(1).any(|(at, _)| alike(after, &rest[at..])) || (after.is_empty() && !rest.is_empty())
}

/// A JSON object: the names of its members, and its keys, in which `*` is any text.
fn object(facts: &Value, json: &[u8]) -> Result<(), String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let members = value.as_object().ok_or("it is no object")?;
    same("members", &facts["members"], members.keys().map(String::as_str).collect::<Value>())?;
    same("indent", &facts["four_space_indent"], json.starts_with(b"{\n    \""))?;
    let mut keys = value.get("keys").cloned().unwrap_or_else(|| json!([]));
    for (key, expected) in
        keys.as_array_mut().ok_or("its keys are no list")?.iter_mut().zip(facts["keys"].as_array().unwrap())
    {
        let key = key.as_object_mut().ok_or("a key is no object")?;
        for (name, value) in key {
            if expected[name] == "*" && value.is_string() {
                *value = "*".into();
            }
        }
    }
    same("keys", &facts["keys"], keys)
}

fn der(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| error.to_string())
}

fn same(what: &str, expected: &Value, actual: impl Into<Value>) -> Result<(), String> {
    let actual = actual.into();
    if *expected == actual { Ok(()) } else { Err(format!("{what}: expected {expected}, is {actual}")) }
}

/// A time that is given in seconds after the call.
fn near(expected: &Value, actual: i64, called_at: SystemTime) -> Result<(), String> {
    let expected = unix_seconds(called_at) + expected.as_i64().unwrap();
    let off = actual - expected;
    if (-TOLERANCE..=TOLERANCE).contains(&off) { Ok(()) } else { Err(format!("{actual} is off by {off} s")) }
}

/// What a certificate says, but for its keys, its serial number and its signature.
fn certificate(facts: &Value, certificate: &Certificate, called_at: SystemTime) -> Result<(), String> {
    let issuer = DistinguishedName::from_der(certificate.issuer_der()).map_err(|error| error.to_string())?;
    name("subject", &facts["subject"], certificate.subject())?;
    name("issuer", &facts["issuer"], issuer)?;
    let key = certificate.public_key().map_err(|error| error.to_string())?;
    same("public key", &facts["public_key"], kind(key.kind()))?;
    near(&facts["not_before_in"], unix_seconds(certificate.not_before()), called_at)?;
    near(&facts["not_after_in"], unix_seconds(certificate.not_after()), called_at)?;
    if certificate.serial().len() < 13 {
        return Err("the serial number is too short to be random".into());
    }
    if facts["subject_serial_is_cert_serial"] == true {
        same(
            "serial number of the subject",
            &certificate.serial_decimal().into(),
            certificate.subject().serial_number,
        )?;
    }
    same("version", &facts["version"], "v3")?;
    let form = Form::of(certificate.der()).ok_or("it has not the form of a certificate of version 3")?;
    same("algorithm of the signature", &facts["signature"], form.signature)?;
    let extensions = facts["extensions"].as_array().unwrap();
    let named: Value = extensions.iter().map(|extension| json!([extension[0], extension[1]])).collect();
    let found: Value =
        form.extensions.iter().map(|found| json!([extension_name(&found.oid.to_string()), found.critical])).collect();
    same("extensions with their criticality", &named, found)?;
    for extension in extensions {
        let content = &extension[2];
        match extension[0].as_str().unwrap() {
            "basicConstraints" => {
                let found = json!({"ca": certificate.is_ca(), "path_length": certificate.path_len()});
                same("basic constraints", content, found)?;
            }
            "subjectKeyIdentifier" => {
                let expected = steeple_pki::ski(&key);
                same("subject key ID", &json!(certificate.subject_key_id()), json!(expected))?;
            }
            "authorityKeyIdentifier" => {
                let id = certificate.authority_key_id().ok_or("there is no authority key ID")?;
                // A SEQUENCE of the ID alone: two bytes for each of both heads.
                let value = form.value("authorityKeyIdentifier").ok_or("there is no authority key ID")?;
                same("bytes around the authority key ID", &json!(4), value.len() - id.len())?;
            }
            "extendedKeyUsage" => {
                let found = certificate.extended_key_usages().iter().map(|usage| match usage.to_string().as_str() {
                    "1.3.6.1.5.5.7.3.1" => "serverAuth".to_owned(),
                    "1.3.6.1.5.5.7.3.2" => "clientAuth".to_owned(),
                    other => other.to_owned(),
                });
                same("extended key usages", content, found.collect::<Value>())?;
            }
            "keyUsage" => {
                let usage = certificate.key_usage().ok_or("there is no key usage")?;
                same("key usage", content, usages(usage))?;
            }
            "subjectAltName" => {
                let dns = certificate.dns_sans().iter().map(|name| json!(["DNSName", name]));
                let uris = certificate.uri_sans().iter().map(|name| json!(["UniformResourceIdentifier", name]));
                same("names", content, dns.chain(uris).collect::<Value>())?;
                let others = certificate.email_sans().len() + certificate.ip_sans().len();
                same("names of other kinds", &json!(0), others)?;
            }
            other => return Err(format!("extension {other} is not checked")),
        }
    }
    Ok(())
}

fn usages(usage: KeyUsage) -> Value {
    let named = [
        ("digital_signature", KeyUsage::DIGITAL_SIGNATURE),
        ("key_encipherment", KeyUsage::KEY_ENCIPHERMENT),
        ("key_agreement", KeyUsage::KEY_AGREEMENT),
        ("key_cert_sign", KeyUsage::KEY_CERT_SIGN),
        ("crl_sign", KeyUsage::CRL_SIGN),
    ];
    named.into_iter().filter(|(_, one)| usage.contains(*one)).map(|(name, _)| name).collect()
}

/// A name, in which `*` is any value.
fn name(what: &str, expected: &Value, actual: DistinguishedName) -> Result<(), String> {
    let DistinguishedName { countries, organizations, organizational_units, common_name, serial_number, .. } = actual;
    let values = |name: &str| match name {
        "countryName" => countries.clone(),
        "organizationName" => organizations.clone(),
        "organizationalUnitName" => organizational_units.clone(),
        "commonName" => vec![common_name.clone()],
        "serialNumber" => vec![serial_number.clone()],
        other => panic!("{other}"),
    };
    for attribute in expected.as_array().unwrap() {
        let found = values(attribute[0].as_str().unwrap());
        let value = attribute[1].as_str().unwrap();
        if !found.iter().any(|found| found == value || (value == "*" && !found.is_empty())) {
            return Err(format!("{what}: no {attribute} in {found:?}"));
        }
    }
    let count = countries.len() + organizations.len() + organizational_units.len();
    let count = count + usize::from(!common_name.is_empty()) + usize::from(!serial_number.is_empty());
    same(&format!("attributes of the {what}"), &json!(expected.as_array().unwrap().len()), count)
}

fn kind(kind: PublicKeyKind) -> &'static str {
    match kind {
        PublicKeyKind::EcP256 => "ec-secp256r1",
        PublicKeyKind::EcP384 => "ec-secp384r1",
        PublicKeyKind::EcP521 => "ec-secp521r1",
        PublicKeyKind::Ed25519 => "Ed25519PublicKey",
        PublicKeyKind::Rsa(1024) => "rsa-1024",
        PublicKeyKind::Rsa(2048) => "rsa-2048",
        other => panic!("{other}"),
    }
}

fn token(facts: &Value, text: &str, called_at: SystemTime) -> Result<(), String> {
    let (mut claims, key_id, ends) = if facts["header"]["typ"] == wit::TYPE {
        let WitSvid { claims, key_id, expires_at, .. } =
            WitSvid::parse_unverified(text).map_err(|error| error.to_string())?;
        (without_key(claims), key_id, expires_at)
    } else {
        let JwtSvid { claims, key_id, expires_at, .. } =
            JwtSvid::parse_unverified(text).map_err(|error| error.to_string())?;
        (claims, key_id, expires_at)
    };
    let expected = facts["claims"].as_object().unwrap();
    let at = |claim: Option<Value>| claim.and_then(|value| value.as_i64()).ok_or("a time is missing");
    let (issued_at, expires_at) = (at(claims.remove("iat"))?, at(claims.remove("exp"))?);
    for (name, value) in expected {
        match name.as_str() {
            // A day and longer is cut by the end of the authority, which began a moment before.
            "exp_minus_iat" if value.as_i64().unwrap() > DAY - TOLERANCE => near(value, expires_at, called_at)?,
            "exp_minus_iat" => same(name, value, expires_at - issued_at)?,
            "exp_in" => near(value, expires_at, called_at)?,
            "iat_in" => near(value, issued_at, called_at)?,
            name => match claims.remove(name) {
                Some(actual) if *value == actual || *value == "*" => {}
                Some(Value::String(actual)) if *value == format!("* ({} characters)", actual.len()) => {}
                other => return Err(format!("{name}: expected {value}, is {other:?}")),
            },
        }
    }
    if let Some(more) = claims.keys().next() {
        return Err(format!("claim {more} is not expected"));
    }
    if key_id.len() != 32 || ends < called_at - Duration::from_secs(1) {
        return Err("key ID or expiry make no sense".into());
    }
    Ok(())
}

/// Of the workload's key the names of its members alone, as the facts have it.
fn without_key(mut claims: Map<String, Value>) -> Map<String, Value> {
    if let Some(jwk) = claims.get_mut("cnf").and_then(|cnf| cnf.get_mut("jwk")) {
        *jwk = jwk.as_object().unwrap().keys().map(String::as_str).collect();
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_but_none() {
        assert!(alike("SERIALNUMBER=*,O=SPIFFE", "SERIALNUMBER=12,O=SPIFFE"));
        assert!(alike("a*", "abc") && alike("*b*", "abc") && alike("abc", "abc"));
        assert!(!alike("SERIALNUMBER=*,O=SPIFFE", "SERIALNUMBER=,O=SPIFFE"));
        assert!(!alike("a*", "a") && !alike("*c", "abd") && !alike("abc", "abcd"));
    }

    #[test]
    fn keys_are_told_by_their_members() {
        let facts = json!({"members": ["keys"], "four_space_indent": true, "keys": [{"kty": "EC", "x": "*"}]});
        let check = |json: &str| object(&facts, json.as_bytes());
        check("{\n    \"keys\": [{\"kty\": \"EC\", \"x\": \"abc\"}]}").unwrap();
        for wrong in [
            "{\"keys\": [{\"kty\": \"EC\", \"x\": \"abc\"}]}",
            "{\n    \"keys\": [{\"kty\": \"EC\", \"x\": \"abc\", \"y\": \"d\"}]}",
            "{\n    \"keys\": [{\"kty\": \"RSA\", \"x\": \"abc\"}]}",
            "{\n    \"keys\": [{\"kty\": \"EC\", \"x\": \"abc\"}, {}]}",
            "{\n    \"keys\": [], \"more\": 1}",
        ] {
            check(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_recorded_certificate_is_as_its_facts_say_and_as_no_others() {
        let records = include_str!("../../../../cmd/steeple-server/tests/data/api/trustdomain.jsonl");
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let record = records.into_iter().find(|record| record["name"] == "partner-bundle-after").unwrap();
        let facts = &record["decoded"]["responses.0.x509_authorities.0.asn1"];
        let text = &record["responses"][0]["x509_authorities"][0]["asn1"];
        let recorded = Certificate::from_der(&der(text.as_str().unwrap()).unwrap()).unwrap();
        let called_at = recorded.not_before() + Duration::from_secs(11);
        check(facts, text, called_at).unwrap();
        check(facts, text, called_at + Duration::from_secs(60)).unwrap_err();
        let plant = |path: &str, value: Value| {
            let mut facts = facts.clone();
            *facts.pointer_mut(path).unwrap() = value;
            check(&facts, text, called_at).unwrap_err();
        };
        plant("/extensions/0/1", json!(false));
        plant("/extensions/0/2", json!(["crl_sign"]));
        plant("/extensions/1/2/path_length", json!(0));
        plant("/signature", json!("sha256WithRSAEncryption"));
        let extensions = facts["extensions"].as_array().unwrap();
        plant("/extensions", json!(extensions[1..]));
        plant("/extensions", extensions.iter().rev().cloned().collect());
    }
}
