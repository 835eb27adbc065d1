use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use steeple_spiffe::{Bundle, BundleSet, JwtAuthority, TrustDomain, WitAuthority, WitSvid, jwt};

use super::*;
use crate::{KeyType, LocalSigner, PrivateKey, random_key_id};

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn what_every_type_of_key_signs_is_valid() {
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let signer = LocalSigner(Arc::new(PrivateKey::generate(key_type).unwrap()));
        let key_id = random_key_id().unwrap();
        let claims = claims(json!({"sub": "spiffe://example.org/a", "aud": ["x"], "exp": 100, "iat": 50}));
        let token = sign_jwt_svid(&claims, &key_id, &signer).await.unwrap();
        let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
        let public_key = signer.public_key().clone();
        bundle.jwt_authorities.push(JwtAuthority { key_id, public_key, expires_at: None, tainted: false });
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        let svid = jwt::validate(&token, &BundleSet::from_iter([bundle]), "x", now).unwrap();
        assert_eq!(svid.claims, claims);
    }
}

#[tokio::test]
async fn claims_and_key_ids_are_escaped_and_sorted() {
    let signer = LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()));
    let token = sign_jwt_svid(&claims(json!({"z\"": 1, "a": "\n"})), "k\"", &signer).await.unwrap();
    let parts: Vec<String> =
        token.split('.').take(2).map(|part| String::from_utf8(BASE64URL.decode(part).unwrap()).unwrap()).collect();
    assert_eq!(parts, [r#"{"alg":"ES256","kid":"k\"","typ":"JWT"}"#, r#"{"a":"\n","z\"":1}"#]);
}

#[test]
fn short_numbers_of_a_signature_are_filled_up() {
    let raw = jws_signature(b"\x30\x06\x02\x01\x07\x02\x01\x09".to_vec(), PublicKeyKind::EcP256).unwrap();
    let mut expected = [0; 64];
    expected[31] = 7;
    expected[63] = 9;
    assert_eq!(raw, expected);
}

#[test]
fn a_malformed_signature_is_the_signers_fault() {
    let too_wide = [&b"\x30\x26\x02\x21\x7f"[..], &[1; 32], b"\x02\x01\x09"].concat();
    for signature in [b"".to_vec(), b"\x30\x00".to_vec(), vec![1; 64], too_wide] {
        let error = jws_signature(signature, PublicKeyKind::EcP256).unwrap_err();
        assert!(matches!(error, SignError::Malformed));
    }
}

#[tokio::test]
async fn the_confirmation_replaces_a_claim_of_that_name() {
    let signer = LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()));
    let workload = PrivateKey::generate(KeyType::EcP384).unwrap();
    let key = workload.public_key();
    let claims = claims(json!({"cnf": 1, "sub": "spiffe://example.org/a", "exp": 1}));
    let token = sign_wit_svid(&claims, key, SignatureAlgorithm::EcdsaSha384, "k", &signer).await.unwrap();
    let payload = BASE64URL.decode(token.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let jwk: Jwk = serde_json::from_value(payload["cnf"]["jwk"].clone()).unwrap();
    assert_eq!(jwk.public_key().unwrap(), *key);
    assert_eq!(jwk.alg.as_deref(), Some("ES384"));
    let error = sign_wit_svid(&claims, key, SignatureAlgorithm::Ed25519, "k", &signer).await.unwrap_err();
    assert!(matches!(error, PkiError::NotJose(_)));
}

/// Claims of any names and values beside those that a JWT-SVID has.
fn any_claims() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,9}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    });
    let more = prop::collection::btree_map("x.{0,5}", value, 0..4);
    let audience = prop::collection::vec(".{1,9}", 1..3);
    (more, audience, "(/[a-z]{1,5}){0,3}", 0..4_000_000_000_u64).prop_map(|(more, aud, path, exp)| {
        let sub = format!("spiffe://example.org{path}");
        more.into_iter()
            .chain([("sub".into(), sub.into()), ("aud".into(), aud.into()), ("exp".into(), exp.into())])
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn claims_survive_the_round_trip(claims in any_claims(), key_id in ".{1,9}") {
        let signer = LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let token = runtime.block_on(sign_jwt_svid(&claims, &key_id, &signer)).unwrap();
        let read = steeple_spiffe::JwtSvid::parse_unverified(&token).unwrap();
        prop_assert_eq!(&read.claims, &claims);
        prop_assert_eq!(read.key_id, key_id);
        prop_assert_eq!(Value::from(read.audience), claims["aud"].clone());
    }

    #[test]
    fn wit_svids_survive_the_round_trip(
        mut claims in any_claims(),
        key_id in ".{1,9}",
        is_p384: bool,
        message: Vec<u8>,
    ) {
        claims.remove("aud");
        let (key_type, algorithm) = if is_p384 {
            (KeyType::EcP384, SignatureAlgorithm::EcdsaSha384)
        } else {
            (KeyType::EcP256, SignatureAlgorithm::EcdsaSha256)
        };
        let signer = LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()));
        let workload = LocalSigner(Arc::new(PrivateKey::generate(key_type).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let token = sign_wit_svid(&claims, workload.public_key(), algorithm, &key_id, &signer);
        let token = runtime.block_on(token).unwrap();

        let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
        let public_key = signer.public_key().clone();
        bundle.wit_authorities.push(WitAuthority { key_id: key_id.clone(), public_key, expires_at: None, tainted: false });
        let unproven = wit::validate(&token, &BundleSet::from_iter([bundle]), SystemTime::UNIX_EPOCH).unwrap();
        let proof = runtime.block_on(sign_raw(&message, &workload)).unwrap();
        let mut read = unproven.prove(&message, &proof).unwrap();
        prop_assert_eq!(&WitSvid::parse_unverified(&token).unwrap(), &read);
        prop_assert_eq!(&read.token, &token);
        prop_assert_eq!(read.key_id, key_id);
        prop_assert_eq!((&read.public_key, read.algorithm), (workload.public_key(), algorithm));
        prop_assert_eq!(read.id.as_str(), claims["sub"].as_str().unwrap());
        let end = read.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        prop_assert_eq!(Some(end.as_secs()), claims["exp"].as_u64());
        read.claims.remove("cnf");
        prop_assert_eq!(read.claims, claims);
    }
}
