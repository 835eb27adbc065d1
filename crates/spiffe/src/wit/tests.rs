//! With the standard's own example. What has to be signed for a test is signed in the room that makes tokens.

use std::time::Duration;

use base64::Engine;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::jwk::BASE64URL;
use crate::{BundleSet, PublicKeyKind};

/// WIT-SVID, appendix A.
const EXAMPLE: &str = include_str!("../../tests/data/wit-example.jwt");

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k", "typ": "wit+jwt"})
}

fn claims() -> Value {
    let example = BASE64URL.decode(EXAMPLE.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&example).unwrap()
}

fn token(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| BASE64URL.encode(part.to_string()));
    format!("{header}.{claims}.{}", BASE64URL.encode([0; 64]))
}

/// The header without one of its members, and with each of these in its place.
fn headers(member: &str, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut without = header();
    without.as_object_mut().unwrap().remove(member);
    let with = |value| {
        let mut header = header();
        header[member] = value;
        header
    };
    [without].into_iter().chain(values.into_iter().map(with)).collect()
}

fn refusal(header: &Value, claims: &Value) -> WitError {
    WitSvid::parse_unverified(&token(header, claims)).unwrap_err()
}

#[test]
fn reads_the_example_of_the_standard() {
    let svid = WitSvid::parse_unverified(EXAMPLE).unwrap();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(svid.id.as_str(), "spiffe://example.com/my-workload");
    assert_eq!(svid.public_key.kind(), PublicKeyKind::EcP256);
    assert_eq!(svid.algorithm, SignatureAlgorithm::EcdsaSha256);
    assert_eq!((svid.expires_at, svid.issued_at, svid.not_before), (at(1_765_456_503), Some(at(1_765_452_903)), None));
    assert_eq!(svid.token_id.as_deref(), Some("1yj19V4McOAzMcFi7qvsg_AgCxlrY5E_x509wlKKQtc"));
    assert_eq!(svid.key_id, "lQSi3hZFnda2D-XJkj1zl7foJouiwI4nrAyhy4jZiJg");
    assert_eq!(Value::from(svid.claims.clone()), claims());
    assert_eq!(svid.token, EXAMPLE.trim_end());
    assert!(!format!("{svid:?}").contains(&svid.token));
}

#[test]
fn a_wit_svid_needs_a_key_id() {
    for header in headers("kid", [json!(null), json!("")]) {
        assert_eq!(refusal(&header, &claims()), WitError::NoKeyId, "{header}");
    }
}

#[test]
fn a_wit_svid_has_its_own_type() {
    let others = [json!(null), json!("JWT"), json!("JOSE"), json!("WIT+JWT"), json!("wit+jwt "), json!(1)];
    for header in headers("typ", others) {
        assert_eq!(refusal(&header, &claims()), WitError::Type, "{header}");
    }
}

#[test]
fn a_wit_svid_has_an_algorithm_of_the_standard() {
    for header in headers("alg", ["none", "HS256", "EdDSA", "es256", ""].map(Value::from)) {
        let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        assert_eq!(refusal(&header, &claims()), WitError::Algorithm(alg.into()), "{header}");
    }
    for algorithm in SignatureAlgorithm::JOSE {
        let mut header = header();
        header["alg"] = json!(algorithm.jose_name());
        assert!(WitSvid::parse_unverified(&token(&header, &claims())).is_ok(), "{header}");
    }
}

#[test]
fn unknown_headers_are_ignored_unless_they_are_critical() {
    let mut header = header();
    header["more"] = json!([1]);
    assert!(WitSvid::parse_unverified(&token(&header, &claims())).is_ok());
    header["crit"] = json!(["more"]);
    assert_eq!(refusal(&header, &claims()), WitError::Critical);
}

#[test]
fn a_wit_svid_has_a_spiffe_id_as_its_subject() {
    let mut claims = claims();
    claims["sub"] = json!("https://example.com/a");
    assert!(matches!(refusal(&header(), &claims), WitError::Subject(_)));
    claims["sub"] = json!("");
    assert_eq!(refusal(&header(), &claims), WitError::NoSubject);
    claims["sub"] = json!(1);
    assert!(matches!(refusal(&header(), &claims), WitError::Claims(_)));
    claims.as_object_mut().unwrap().remove("sub");
    assert_eq!(refusal(&header(), &claims), WitError::NoSubject);
}

#[test]
fn a_wit_svid_without_confirmation_is_refused() {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove("cnf");
    assert_eq!(refusal(&header(), &claims), WitError::NoConfirmation);
}

#[test]
fn a_confirmation_is_a_public_key_with_a_supported_algorithm_that_fits_it() {
    let invalid = |cnf: Value| {
        let mut claims = claims();
        claims["cnf"] = cnf.clone();
        match refusal(&header(), &claims) {
            WitError::Confirmation(what) => what,
            other => panic!("{cnf}: {other}"),
        }
    };
    for cnf in [json!(1), json!({}), json!({"kid": "k"}), json!({"x5t#S256": "AA"})] {
        assert_eq!(invalid(cnf), "it has no jwk");
    }
    assert_eq!(invalid(json!({"jwk": 1})), "its jwk is malformed");
    let jwk = claims()["cnf"]["jwk"].clone();
    for alg in [json!(null), json!("none"), json!("HS256"), json!("EdDSA"), json!("ECDH-ES")] {
        let mut jwk = jwk.clone();
        jwk["alg"] = alg;
        assert_eq!(invalid(json!({"jwk": jwk})), "its jwk has no supported algorithm");
    }
    for alg in ["ES384", "ES512", "RS256", "PS512"] {
        let mut jwk = jwk.clone();
        jwk["alg"] = json!(alg);
        assert_eq!(invalid(json!({"jwk": jwk})), "its algorithm does not fit its key", "{alg}");
    }
    let mut private = jwk.clone();
    private["d"] = jwk["x"].clone();
    assert_eq!(invalid(json!({"jwk": private})), "its jwk is a private key");
    let mut off_the_curve = jwk.clone();
    off_the_curve["x"] = jwk["y"].clone();
    assert_eq!(invalid(json!({"jwk": off_the_curve})), "public key is not valid for its algorithm");
}

#[test]
fn a_wit_svid_without_expiry_is_refused() {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove("exp");
    assert_eq!(refusal(&header(), &claims), WitError::NoExpiry);
}

#[test]
fn a_wit_svid_with_an_audience_is_refused() {
    for aud in [json!("a"), json!(["a"]), json!([]), json!(null)] {
        let mut claims = claims();
        claims["aud"] = aud;
        assert_eq!(refusal(&header(), &claims), WitError::Audience);
    }
}

#[test]
fn unknown_claims_and_optional_ones_are_taken_as_they_are() {
    let mut claims = claims();
    claims["more"] = json!({"a": [1]});
    claims["nbf"] = json!(1000);
    claims["iss"] = json!("any");
    claims.as_object_mut().unwrap().remove("jti");
    claims.as_object_mut().unwrap().remove("iat");
    let svid = WitSvid::parse_unverified(&token(&header(), &claims)).unwrap();
    assert_eq!(svid.not_before, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)));
    assert_eq!((svid.token_id, svid.issued_at), (None, None));
    assert_eq!(svid.claims["more"], json!({"a": [1]}));
}

#[test]
fn no_bundle_is_no_trust() {
    let error = validate(EXAMPLE, &BundleSet::new(), SystemTime::UNIX_EPOCH).unwrap_err();
    assert_eq!(error.to_string(), "no keys found for trust domain \"example.com\"");
}

proptest! {
    #[test]
    fn parsing_answers_any_text(token in ".*") {
        let _ = WitSvid::parse_unverified(&token);
    }

    #[test]
    fn parsing_answers_a_token_with_damage(at in 0..600_usize, byte in "[ -~]", cut in 0..600_usize) {
        let at = at % EXAMPLE.len();
        let damaged = [&EXAMPLE[..at], byte.as_str(), &EXAMPLE[at + 1..]].concat();
        let _ = WitSvid::parse_unverified(&damaged);
        let _ = WitSvid::parse_unverified(&EXAMPLE[..cut % EXAMPLE.len()]);
    }
}
