//! WIT-SVIDs made here are taken by the room that verifies, and those that nobody should take are refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use steeple_pki::{KeyType, LocalSigner, PkiError, PrivateKey, PublicKey, SignError, SignatureAlgorithm, Signer, jws};
use steeple_spiffe::{
    Bundle, BundleSet, JwtAuthority, JwtError, JwtSvid, PublicKeyError, TrustDomain, WitAuthority, WitError, WitSvid,
    jwt, wit,
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn signer(key_type: KeyType) -> LocalSigner {
    LocalSigner(Arc::new(PrivateKey::generate(key_type).unwrap()))
}

fn claims() -> Map<String, Value> {
    json!({"sub": "spiffe://example.org/a", "exp": 1_000, "iat": 900, "jti": "one"}).as_object().unwrap().clone()
}

fn with(claim: &str, value: Value) -> Map<String, Value> {
    let mut claims = claims();
    claims.insert(claim.into(), value);
    claims
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

/// An authority of its own name in a bundle of example.org.
struct Authority {
    signer: LocalSigner,
    bundles: BundleSet,
}

impl Authority {
    fn new(key_type: KeyType) -> Self {
        let signer = signer(key_type);
        let public_key = signer.public_key().clone();
        let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
        bundle.wit_authorities.push(WitAuthority {
            key_id: "Authority".into(),
            public_key,
            expires_at: None,
            tainted: false,
        });
        Self { signer, bundles: BundleSet::from_iter([bundle]) }
    }

    async fn sign(&self, claims: &Map<String, Value>, workload: &LocalSigner) -> String {
        let key = workload.public_key();
        jws::sign_wit_svid(claims, key, workload.algorithm(), "Authority", &self.signer).await.unwrap()
    }

    fn validate(&self, token: &str, now: u64) -> Result<wit::Unproven, WitError> {
        wit::validate(token, &self.bundles, at(now))
    }
}

#[tokio::test]
async fn a_wit_svid_of_every_type_of_key_is_valid_with_its_proof() {
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let (authority, workload) = (Authority::new(key_type), signer(key_type));
        let token = authority.sign(&claims(), &workload).await;
        let unproven = authority.validate(&token, 950).unwrap();
        assert_eq!((unproven.public_key(), unproven.algorithm()), (workload.public_key(), workload.algorithm()));
        let proof = jws::sign_raw(b"GET /", &workload).await.unwrap();
        let svid = unproven.prove(b"GET /", &proof).unwrap();
        assert_eq!(svid.id.as_str(), "spiffe://example.org/a");
        assert_eq!((svid.expires_at, svid.token_id.as_deref()), (at(1_000), Some("one")));
    }
}

#[tokio::test]
async fn authority_and_workload_may_use_any_algorithm_of_the_standard() {
    use SignatureAlgorithm as A;
    let workload = signer(KeyType::EcP256);
    // We make no keys of the curve of the ninth, ES512.
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
        let key = With(PrivateKey::generate(key_type).unwrap(), algorithm);
        let mut authority = Authority::new(KeyType::EcP256);
        let claims = claims();
        let by_it = jws::sign_wit_svid(&claims, workload.public_key(), workload.algorithm(), "Authority", &key);
        let by_it = by_it.await.unwrap();
        let for_it = jws::sign_wit_svid(&claims, key.public_key(), algorithm, "Authority", &authority.signer);
        let unproven = authority.validate(&for_it.await.unwrap(), 950).unwrap();
        assert_eq!(unproven.algorithm(), algorithm);
        assert!(unproven.prove(b"GET /", &jws::sign_raw(b"GET /", &key).await.unwrap()).is_ok(), "{algorithm:?}");
        let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
        bundle.wit_authorities.push(WitAuthority {
            key_id: "Authority".into(),
            public_key: key.public_key().clone(),
            expires_at: None,
            tainted: false,
        });
        authority.bundles = BundleSet::from_iter([bundle]);
        assert!(authority.validate(&by_it, 950).is_ok(), "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_wit_svid_is_nothing_without_a_proof_of_its_own_key() {
    let (authority, workload, thief) =
        (Authority::new(KeyType::EcP256), signer(KeyType::EcP256), signer(KeyType::EcP256));
    let token = authority.sign(&claims(), &workload).await;
    let prove = |proof: &[u8]| authority.validate(&token, 950).unwrap().prove(b"GET /", proof);
    assert!(prove(&jws::sign_raw(b"GET /", &workload).await.unwrap()).is_ok());
    for proof in [
        jws::sign_raw(b"GET /", &thief).await.unwrap(),
        jws::sign_raw(b"GET /", &authority.signer).await.unwrap(),
        jws::sign_raw(b"GET /other", &workload).await.unwrap(),
        workload.sign(b"GET /").await.unwrap(),
        vec![0; 64],
        Vec::new(),
    ] {
        assert!(matches!(prove(&proof), Err(WitError::Proof(PublicKeyError::Signature(_)))), "{proof:?}");
    }
}

#[tokio::test]
async fn the_times_of_a_wit_svid_have_a_minute_of_leeway() {
    let (authority, workload) = (Authority::new(KeyType::EcP256), signer(KeyType::EcP256));
    let token = authority.sign(&with("nbf", json!(900)), &workload).await;
    let error = |now| authority.validate(&token, now).err();
    assert_eq!(error(839), Some(WitError::NotYetValid));
    assert_eq!(error(840), None);
    assert_eq!(error(1_060), None);
    assert_eq!(error(1_061), Some(WitError::Expired));
}

#[tokio::test]
async fn when_a_wit_svid_was_issued_says_nothing_about_its_validity() {
    let (authority, workload) = (Authority::new(KeyType::EcP256), signer(KeyType::EcP256));
    let token = authority.sign(&with("iat", json!(999_999)), &workload).await;
    assert!(authority.validate(&token, 950).is_ok());
}

#[tokio::test]
async fn the_same_token_id_may_come_again() {
    let (authority, workload) = (Authority::new(KeyType::EcP256), signer(KeyType::EcP256));
    let token = authority.sign(&claims(), &workload).await;
    assert!(authority.validate(&token, 950).is_ok());
    assert!(authority.validate(&token, 950).is_ok());
}

#[tokio::test]
async fn key_ids_of_wit_svids_are_told_apart_by_case() {
    let (authority, workload) = (Authority::new(KeyType::EcP256), signer(KeyType::EcP256));
    let key = workload.public_key();
    let token = jws::sign_wit_svid(&claims(), key, workload.algorithm(), "authority", &authority.signer).await.unwrap();
    assert!(
        matches!(authority.validate(&token, 950), Err(WitError::UnknownKey { key_id, .. }) if key_id == "authority")
    );
}

#[tokio::test]
async fn only_wit_authorities_of_the_subjects_trust_domain_vouch_for_a_wit_svid() {
    let (mut authority, workload) = (Authority::new(KeyType::EcP256), signer(KeyType::EcP256));
    let token = authority.sign(&claims(), &workload).await;
    let foreign = authority.sign(&with("sub", json!("spiffe://other.test/a")), &workload).await;
    assert!(matches!(authority.validate(&foreign, 950), Err(WitError::UnknownTrustDomain(_))));
    let stranger = Authority::new(KeyType::EcP256);
    assert!(matches!(stranger.validate(&token, 950), Err(WitError::Signature(_))));

    // The same key under the same name, but for JWT-SVIDs.
    let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
    let public_key = authority.signer.public_key().clone();
    bundle.jwt_authorities.push(JwtAuthority {
        key_id: "Authority".into(),
        public_key,
        expires_at: None,
        tainted: false,
    });
    authority.bundles = BundleSet::from_iter([bundle]);
    assert!(matches!(authority.validate(&token, 950), Err(WitError::UnknownKey { .. })));
    // Nor is it a JWT-SVID, although the signature would be right.
    let error = jwt::validate(&token, &authority.bundles, "x", at(950)).unwrap_err();
    assert!(matches!(error, JwtError::Audience { .. }), "{error}");
}

#[tokio::test]
async fn a_jwt_svid_is_no_wit_svid() {
    let authority = Authority::new(KeyType::EcP256);
    let token = jws::sign_jwt_svid(&claims(), "Authority", &authority.signer).await.unwrap();
    assert!(JwtSvid::parse_unverified(&token).is_ok());
    assert_eq!(authority.validate(&token, 950).unwrap_err(), WitError::Type);
}

#[tokio::test]
async fn a_changed_wit_svid_is_refused() {
    let (authority, workload, thief) =
        (Authority::new(KeyType::EcP256), signer(KeyType::EcP256), signer(KeyType::EcP256));
    let (mine, other) = (authority.sign(&claims(), &workload).await, authority.sign(&claims(), &thief).await);
    let (head, signature) = mine.rsplit_once('.').unwrap();
    let (other_head, _) = other.rsplit_once('.').unwrap();
    assert!(authority.validate(&format!("{head}.{signature}"), 950).is_ok());
    let error = authority.validate(&format!("{other_head}.{signature}"), 950).unwrap_err();
    assert!(matches!(error, WitError::Signature(_)), "{error}");
}

#[tokio::test]
async fn no_wit_svid_is_made_that_breaks_the_standard() {
    let (signer, workload) = (signer(KeyType::EcP256), signer(KeyType::EcP256));
    let sign = async |claims: &Map<String, Value>, algorithm| {
        jws::sign_wit_svid(claims, workload.public_key(), algorithm, "k", &signer).await.map(drop)
    };
    assert!(sign(&claims(), SignatureAlgorithm::EcdsaSha256).await.is_ok());
    let error = sign(&with("aud", json!(["x"])), SignatureAlgorithm::EcdsaSha256).await.unwrap_err();
    assert_eq!(error.to_string(), "claim \"aud\" is not allowed in a WIT-SVID");
    for claim in ["sub", "exp"] {
        let mut claims = claims();
        claims.remove(claim);
        let error = sign(&claims, SignatureAlgorithm::EcdsaSha256).await.unwrap_err();
        assert_eq!(error.to_string(), format!("claim \"{claim}\" is needed in a WIT-SVID"));
    }
    assert!(matches!(sign(&claims(), SignatureAlgorithm::Ed25519).await, Err(PkiError::NotJose(_))));
    for algorithm in SignatureAlgorithm::JOSE.into_iter().filter(|a| *a != SignatureAlgorithm::EcdsaSha256) {
        let error = sign(&claims(), algorithm).await.unwrap_err();
        assert!(matches!(error, PkiError::PublicKey(PublicKeyError::Algorithm)), "{algorithm:?}: {error}");
    }
    // Nor one that is signed so.
    let signer = With(PrivateKey::generate(KeyType::EcP256).unwrap(), SignatureAlgorithm::Ed25519);
    let key = workload.public_key();
    let made = jws::sign_wit_svid(&claims(), key, SignatureAlgorithm::EcdsaSha256, "k", &signer).await;
    assert!(matches!(made, Err(PkiError::NotJose(SignatureAlgorithm::Ed25519))), "{made:?}");
}

#[tokio::test]
async fn a_wit_svid_has_the_headers_and_claims_of_the_standard_and_no_others() {
    let (authority, workload) = (Authority::new(KeyType::EcP256), signer(KeyType::EcP256));
    let token = authority.sign(&claims(), &workload).await;
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .map(|part| {
            use base64::Engine;
            serde_json::from_slice(&steeple_spiffe::jwk::BASE64URL.decode(part).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(parts[0], json!({"alg": "ES256", "kid": "Authority", "typ": "wit+jwt"}));
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(members(&parts[1]), "cnf exp iat jti sub");
    assert_eq!(members(&parts[1]["cnf"]), "jwk");
    assert_eq!(members(&parts[1]["cnf"]["jwk"]), "alg crv kty x y");
    assert_eq!(WitSvid::parse_unverified(&token).unwrap().public_key, *workload.public_key());
}
