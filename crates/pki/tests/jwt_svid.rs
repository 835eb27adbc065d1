//! JWT-SVID, sentence by sentence: tokens made here, and others made by hand, before the room that verifies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use serde_json::{Map, Value, json};
use steeple_pki::{
    KeyType, LocalSigner, PrivateKey, PublicKey, SignError, SignatureAlgorithm, Signer, jws, random_key_id,
};
use steeple_spiffe::jwk::BASE64URL;
use steeple_spiffe::{Bundle, BundleSet, JwtAuthority, JwtError, JwtSvid, TrustDomain, WitAuthority, jwt};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn claims() -> Map<String, Value> {
    json!({"sub": "spiffe://example.org/a", "aud": ["x"], "exp": 1_000, "iat": 900}).as_object().unwrap().clone()
}

fn with(claim: &str, value: Value) -> Map<String, Value> {
    let mut claims = claims();
    claims.insert(claim.into(), value);
    claims
}

fn without(claim: &str) -> Map<String, Value> {
    let mut claims = claims();
    claims.remove(claim);
    claims
}

fn bundles(public_key: &PublicKey) -> BundleSet {
    let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
    let public_key = public_key.clone();
    bundle.jwt_authorities.push(JwtAuthority { key_id: "k".into(), public_key, expires_at: None, tainted: false });
    BundleSet::from_iter([bundle])
}

/// A key that signs with an algorithm of its kind's choice.
#[derive(Debug)]
struct With(PrivateKey, SignatureAlgorithm);

#[async_trait::async_trait]
impl Signer for With {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.1
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.sign(self.1, message)
    }
}

fn signer() -> LocalSigner {
    LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()))
}

/// Signs what nobody should sign.
fn by_hand(header: &Value, claims: &Map<String, Value>, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(json!(claims).to_string()));
    let signature = sign(input.as_bytes());
    format!("{input}.{}", BASE64URL.encode(signature))
}

/// A valid token of these claims, and what a verifier at 950 says about it for the audience x.
async fn verdict(claims: &Map<String, Value>) -> Result<JwtSvid, JwtError> {
    let signer = signer();
    let token = jws::sign_jwt_svid(claims, "k", &signer).await.unwrap();
    jwt::validate(&token, &bundles(signer.public_key()), "x", at(950))
}

#[tokio::test]
async fn a_token_of_every_algorithm_of_the_standard_is_valid() {
    use SignatureAlgorithm as A;
    let mut names = Vec::new();
    for (key_type, algorithm) in [
        (KeyType::EcP256, A::EcdsaSha256),
        (KeyType::EcP384, A::EcdsaSha384),
        (KeyType::Rsa2048, A::RsaPkcs1Sha256),
        (KeyType::Rsa2048, A::RsaPkcs1Sha384),
        (KeyType::Rsa2048, A::RsaPkcs1Sha512),
        (KeyType::Rsa2048, A::RsaPssSha256),
        (KeyType::Rsa2048, A::RsaPssSha384),
        (KeyType::Rsa2048, A::RsaPssSha512),
    ] {
        let signer = With(PrivateKey::generate(key_type).unwrap(), algorithm);
        let token = jws::sign_jwt_svid(&claims(), "k", &signer).await.unwrap();
        assert!(jwt::validate(&token, &bundles(signer.public_key()), "x", at(950)).is_ok(), "{algorithm:?}");
        names.extend(algorithm.jose_name());
    }
    // We make no keys of this curve, others do.
    let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let token = by_hand(&json!({"alg": "ES512", "kid": "k"}), &claims(), |input| {
        pair.sign(&SystemRandom::new(), input).unwrap().as_ref().to_vec()
    });
    let public_key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
    assert!(jwt::validate(&token, &bundles(&public_key), "x", at(950)).is_ok());
    names.push("ES512");
    names.sort_unstable();
    assert_eq!(names, ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]);
}

#[tokio::test]
async fn an_algorithm_outside_of_the_standard_is_refused() {
    let signer = signer();
    let bundles = bundles(signer.public_key());
    let refusal = |token: &str| jwt::validate(token, &bundles, "x", at(950)).unwrap_err();
    let unsigned = by_hand(&json!({"alg": "none", "kid": "k"}), &claims(), |_| Vec::new());
    assert_eq!(refusal(&unsigned), JwtError::Algorithm("none".into()));
    // The public key as a secret: it must not be taken for one.
    let symmetric = by_hand(&json!({"alg": "HS256", "kid": "k"}), &claims(), |input| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, signer.public_key().spki_der());
        hmac::sign(&key, input).as_ref().to_vec()
    });
    assert_eq!(refusal(&symmetric), JwtError::Algorithm("HS256".into()));
    for alg in [json!("EdDSA"), json!("ES256K"), json!("es256"), json!("")] {
        let token = by_hand(&json!({"alg": alg, "kid": "k"}), &claims(), |_| vec![0; 64]);
        assert!(matches!(refusal(&token), JwtError::Algorithm(_)), "{alg}");
    }
    let missing = by_hand(&json!({"kid": "k"}), &claims(), |_| vec![0; 64]);
    assert!(matches!(refusal(&missing), JwtError::Algorithm(_)));
}

#[test]
fn the_algorithm_is_looked_at_before_anything_else() {
    // There is something wrong with all that could be looked at before.
    for (header, claims) in [
        (json!({"alg": "HS256"}), json!({})),
        (json!({"alg": "HS256", "kid": "nobody's", "typ": "other", "crit": ["x"]}), json!({"exp": "soon"})),
        (json!({"alg": "HS256", "kid": "k"}), json!({"sub": "spiffe://other.test/a", "aud": "y", "exp": 1})),
    ] {
        let token = by_hand(&header, claims.as_object().unwrap(), |_| Vec::new());
        let error = jwt::validate(&token, &BundleSet::new(), "x", at(950)).unwrap_err();
        assert_eq!(error, JwtError::Algorithm("HS256".into()), "{header}");
    }
}

#[tokio::test]
async fn a_jwt_svid_is_compact_and_has_the_headers_of_the_standard_and_no_others() {
    let token = jws::sign_jwt_svid(&claims(), "k", &signer()).await.unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
    let header: Value = serde_json::from_slice(&BASE64URL.decode(parts[0]).unwrap()).unwrap();
    assert_eq!(header, json!({"alg": "ES256", "kid": "k", "typ": "JWT"}));
}

#[tokio::test]
async fn the_json_serialization_is_refused() {
    let signer = signer();
    let token = jws::sign_jwt_svid(&claims(), "k", &signer).await.unwrap();
    let [protected, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let flattened = json!({"payload": payload, "protected": protected, "signature": signature});
    let general = json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]});
    for json in [flattened, general] {
        let error = jwt::validate(&json.to_string(), &bundles(signer.public_key()), "x", at(950)).unwrap_err();
        assert!(matches!(error, JwtError::Malformed(_)), "{error}");
    }
}

#[tokio::test]
async fn a_critical_header_is_refused() {
    let signer = signer();
    let token =
        by_hand(&json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": false}), &claims(), |_| vec![0; 64]);
    let error = jwt::validate(&token, &bundles(signer.public_key()), "x", at(950)).unwrap_err();
    assert_eq!(error, JwtError::Critical);
}

#[tokio::test]
async fn claims_beyond_the_standard_are_taken_as_they_are() {
    let claims = with("role", json!({"name": ["admin"]}));
    assert_eq!(verdict(&claims).await.unwrap().claims, claims);
}

#[tokio::test]
async fn the_subject_is_a_spiffe_id() {
    assert_eq!(verdict(&claims()).await.unwrap().id.as_str(), "spiffe://example.org/a");
    assert_eq!(verdict(&without("sub")).await.unwrap_err(), JwtError::NoSubject);
    for sub in ["a", "https://example.org/a", "spiffe://example.org/a/", "spiffe://Example.org/a"] {
        assert!(matches!(verdict(&with("sub", json!(sub))).await.unwrap_err(), JwtError::Subject(_)), "{sub}");
    }
}

#[tokio::test]
async fn a_token_without_an_audience_is_refused() {
    for claims in [without("aud"), with("aud", json!([])), with("aud", json!(null))] {
        let error = verdict(&claims).await.unwrap_err();
        assert!(matches!(error, JwtError::Audience { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_token_is_for_its_audiences_and_for_nobody_else() {
    for aud in [json!("x"), json!(["x"]), json!(["y", "x"])] {
        assert!(verdict(&with("aud", aud)).await.is_ok());
    }
    for aud in [json!("y"), json!(["y"]), json!("X"), json!("xx"), json!(""), json!("*")] {
        let error = verdict(&with("aud", aud)).await.unwrap_err();
        assert!(matches!(error, JwtError::Audience { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_token_without_expiry_is_refused() {
    for claims in [without("exp"), with("exp", json!(null))] {
        assert_eq!(verdict(&claims).await.unwrap_err(), JwtError::NoExpiry);
    }
}

#[tokio::test]
async fn a_token_past_its_expiry_is_refused() {
    let error = verdict(&with("exp", json!(950 - 61))).await.unwrap_err();
    assert_eq!(error, JwtError::Expired);
    assert!(verdict(&with("exp", json!(950 - 60))).await.is_ok());
}

#[tokio::test]
async fn only_jwt_authorities_of_the_subjects_trust_domain_vouch_for_a_token() {
    let signer = signer();
    let token = jws::sign_jwt_svid(&claims(), "k", &signer).await.unwrap();
    let refusal = |bundles: &BundleSet| jwt::validate(&token, bundles, "x", at(950)).unwrap_err();
    let own = bundles(signer.public_key());
    let own = own.iter().next().unwrap();
    let elsewhere = Bundle { trust_domain: TrustDomain::parse("other.test").unwrap(), ..(**own).clone() };
    assert!(matches!(refusal(&BundleSet::from_iter([elsewhere])), JwtError::UnknownTrustDomain(_)));

    // The same key under the same name, but for WIT-SVIDs: this trust domain does not support JWT-SVIDs.
    let mut other_use = Bundle::new(own.trust_domain.clone());
    other_use.wit_authorities.push(WitAuthority {
        key_id: "k".into(),
        public_key: signer.public_key().clone(),
        expires_at: None,
        tainted: false,
    });
    assert!(matches!(refusal(&BundleSet::from_iter([other_use])), JwtError::UnknownKey { .. }));
}

#[test]
fn names_of_new_authorities_do_not_come_twice() {
    let names: std::collections::HashSet<String> = (0..1_000).map(|_| random_key_id().unwrap()).collect();
    assert_eq!(names.len(), 1_000);
}
