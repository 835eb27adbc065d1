use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::bundle::jwks;
use crate::jwk::BASE64URL;
use crate::{Bundle, BundleSet, JwtAuthority, PublicKey};

/// Before the year 2099, in which the recorded tokens end.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_539_213)
}

fn bundles() -> BundleSet {
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVnfWETvMY7h4IZoq17IqVHaytqMnCFgcGCnvILaEzAF5hzyXAtzN+JcwOFbbPskkpuW2\
               RqEOc7/keWsUxdHbWg==";
    let mut own = Bundle::new(TrustDomain::parse("example.org").unwrap());
    own.jwt_authorities.push(JwtAuthority {
        key_id: "golden-key".into(),
        public_key: PublicKey::from_spki_der(&BASE64_STANDARD.decode(key).unwrap()).unwrap(),
        expires_at: None,
        tainted: false,
    });
    let federated = include_bytes!("../../tests/data/static.test.json");
    let federated = jwks::parse(&TrustDomain::parse("static.test").unwrap(), federated, jwks::Mode::Standard).unwrap();
    BundleSet::from_iter([own, federated])
}

#[test]
fn answers_every_recorded_validation_with_the_same_text() {
    let (mut equal, mut total) = (0, 0);
    for line in include_str!("../../tests/data/validate-jwt-svid.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| record[name].as_str().unwrap();
        total += 1;
        let same = match validate(field("svid"), &bundles(), field("audience"), now()) {
            Ok(svid) => {
                let mut claims = svid.claims;
                claims.insert("aud".into(), svid.audience.into());
                record["spiffe_id"] == svid.id.as_str() && same_numbers(&record["claims"], &claims.into())
            }
            Err(error) => field("message") == error.to_string(),
        };
        if same {
            equal += 1;
        } else {
            println!("{}: {:?}", field("name"), validate(field("svid"), &bundles(), field("audience"), now()));
        }
    }
    println!("jwt: {equal} of {total} validations equal");
    assert_eq!((equal, total), (45, 45));
}

#[test]
fn reads_a_token_without_verifying_it() {
    let claims = json!({"sub": "spiffe://example.org/x", "aud": "one", "exp": 1000, "iat": 900.9, "more": [1]});
    let svid = JwtSvid::parse_unverified(&token(r#"{"alg":"ES256","kid":"k"}"#, &claims)).unwrap();
    assert_eq!(svid.id.as_str(), "spiffe://example.org/x");
    assert_eq!(svid.audience, ["one"]);
    assert_eq!(svid.expires_at, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    assert_eq!(svid.issued_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(900)));
    assert_eq!(svid.key_id, "k");
    assert_eq!(svid.claims["more"], json!([1]));
    assert!(!format!("{svid:?}").contains(&svid.token));
}

#[test]
fn a_token_lives_a_minute_longer_and_sooner_than_it_says() {
    let key = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImdvbGRlbi1rZXkifQ";
    let recorded = include_str!("../../tests/data/validate-jwt-svid.jsonl");
    let find = |name: &str| {
        let line = recorded.lines().find(|line| line.contains(name)).unwrap();
        let record: Value = serde_json::from_str(line).unwrap();
        record["svid"].as_str().unwrap().to_owned()
    };
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let plain = find("\"validate-signed-plain\"");
    assert!(plain.starts_with(key));
    assert!(validate(&plain, &bundles(), "aud1", at(4_070_908_860)).is_ok());
    assert_eq!(validate(&plain, &bundles(), "aud1", at(4_070_908_861)).unwrap_err(), JwtError::Expired);
    for (name, error) in [
        ("\"validate-signed-nbf-past\"", JwtError::NotYetValid),
        ("\"validate-signed-iat-past\"", JwtError::IssuedInTheFuture),
    ] {
        let token = find(name);
        assert!(validate(&token, &bundles(), "aud1", at(999_999_940)).is_ok(), "{name}");
        assert_eq!(validate(&token, &bundles(), "aud1", at(999_999_939)).unwrap_err(), error, "{name}");
    }
}

#[test]
fn a_tainted_key_still_verifies() {
    let line = include_str!("../../tests/data/validate-jwt-svid.jsonl")
        .lines()
        .find(|line| line.contains("\"validate-signed-plain\""))
        .unwrap();
    let record: Value = serde_json::from_str(line).unwrap();
    let lookup = |trust_domain: &TrustDomain| {
        let mut bundle = bundles().bundle(trust_domain)?;
        Arc::make_mut(&mut bundle).jwt_authorities[0].tainted = true;
        Some(bundle)
    };
    assert!(validate(record["svid"].as_str().unwrap(), &lookup, "aud1", now()).is_ok());
}

#[test]
fn an_algorithm_of_another_key_is_refused() {
    let claims = json!({"sub": "spiffe://example.org/x", "aud": ["a"], "exp": 4_070_908_800_u64});
    for alg in ["ES384", "ES512", "RS256", "PS512"] {
        let token = token(&format!(r#"{{"alg":"{alg}","kid":"golden-key"}}"#), &claims);
        let error = validate(&token, &bundles(), "a", now()).unwrap_err();
        assert_eq!(error, JwtError::AlgorithmMismatch, "{alg}");
    }
}

#[test]
fn refuses_what_is_not_of_its_type() {
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let good = json!({"sub": "spiffe://example.org/x", "aud": ["a"], "exp": 1});
    for (claim, value) in
        [("sub", json!(1)), ("aud", json!(1)), ("aud", json!([1])), ("exp", json!("1")), ("iat", json!({}))]
    {
        let mut claims = good.clone();
        claims[claim] = value;
        let error = JwtSvid::parse_unverified(&token(header, &claims)).unwrap_err();
        assert!(matches!(error, JwtError::Claims(_)), "{claim}: {error}");
    }
    for header in ["[]", "{}", r#"{"alg":1}"#, r#"{"alg":"ES256","alg":"ES384","kid":"k"}"#, "nonsense"] {
        assert!(JwtSvid::parse_unverified(&token(header, &good)).is_err(), "{header}");
    }
    for payload in ["[]", "nonsense", ""] {
        let token = format!("{}.{}.", BASE64URL.encode(header), BASE64URL.encode(payload));
        assert!(matches!(JwtSvid::parse_unverified(&token), Err(JwtError::Claims(_))), "{payload}");
    }
}

#[test]
fn refuses_four_parts_deep_nesting_and_endless_tokens() {
    let good = token(r#"{"alg":"ES256","kid":"k"}"#, &json!({"sub": "spiffe://a", "exp": 1}));
    assert!(JwtSvid::parse_unverified(&good).is_ok());
    assert!(matches!(JwtSvid::parse_unverified(&format!("{good}.x")), Err(JwtError::Malformed(_))));
    assert!(matches!(JwtSvid::parse_unverified(&"a".repeat(MAX_LEN + 1)), Err(JwtError::Malformed(_))));
    let deep = format!("{{\"x\":{}", "[".repeat(20_000));
    let deep = format!("{}.{}.", BASE64URL.encode(r#"{"alg":"ES256","kid":"k"}"#), BASE64URL.encode(deep));
    assert!(matches!(JwtSvid::parse_unverified(&deep), Err(JwtError::Claims(_))));
}

#[test]
fn times_beyond_the_calendar_count_as_its_ends() {
    let at = |exp: Value| {
        let claims = json!({"sub": "spiffe://a", "exp": exp});
        let svid = JwtSvid::parse_unverified(&token(r#"{"alg":"ES256","kid":"k"}"#, &claims)).unwrap();
        svid.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    };
    assert_eq!(at(json!(-5)), 0);
    assert_eq!(at(json!(1e300)), 253_402_300_799);
    assert_eq!(at(json!(u64::MAX)), 253_402_300_799);
    assert_eq!(at(json!(10.9)), 10);
}

proptest! {
    #[test]
    fn parsing_answers_any_text(token in ".*") {
        let _ = JwtSvid::parse_unverified(&token);
    }

    #[test]
    fn parsing_answers_any_claims(header in "\\{\"alg\":\"ES256\",\"kid\":\"k\"\\}", payload in "[{}\\[\\]\":,a-z0-9-]{0,40}") {
        let _ = JwtSvid::parse_unverified(&format!("{}.{}.", BASE64URL.encode(header), BASE64URL.encode(payload)));
    }
}

fn token(header: &str, claims: &Value) -> String {
    format!("{}.{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims.to_string()), BASE64URL.encode([0; 64]))
}

#[test]
fn the_key_id_is_read_without_anything_else() {
    let key_id = |token: &str| JwtSvid::key_id_unverified(token);
    let header = |header: &str| BASE64URL.encode(header);
    assert_eq!(key_id(&token(r#"{"alg":"ES256","kid":"k"}"#, &json!({}))).as_deref(), Some("k"));
    assert_eq!(key_id(&format!("{}.%.%", header(r#"{"kid":"k"}"#))).as_deref(), Some("k"));
    for token in
        [header(r#"{"kid":"k"}"#), header(r#"{"alg":"ES256"}"#) + ".", header("k") + ".", "%.".into(), String::new()]
    {
        assert_eq!(key_id(&token), None, "{token}");
    }
    // Beyond what is looked at, and in the middle of a character.
    assert_eq!(key_id(&("a".repeat((64 << 10) - 1) + "é.")), None);
}

/// Recorded claims went through a protobuf Struct, which has floats alone.
fn same_numbers(recorded: &Value, claims: &Value) -> bool {
    match (recorded, claims) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_numbers(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_numbers(a, b)))
        }
        (a, b) => a == b,
    }
}
