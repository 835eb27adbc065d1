use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use steeple_pki::{PublicKey, SignatureAlgorithm, jws};
use steeple_spiffe::jwk::{BASE64URL, Jwk};
use steeple_spiffe::{Bundle, BundleSet, JwtAuthority, SpiffeId, WitAuthority, jwt, wit};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Encode, Sequence};

use super::{Recorded, artifact, facts};

#[tokio::test]
async fn makes_every_recorded_token_to_the_byte() {
    let (mut equal, mut total) = (0, 0);
    for (name, facts) in facts("tokens") {
        let recorded = token(&facts);
        let header: Value = serde_json::from_str(facts["header_text"].as_str().unwrap()).unwrap();
        let claims: Map<String, Value> = serde_json::from_str(facts["claims_text"].as_str().unwrap()).unwrap();
        let signature = BASE64URL.decode(recorded.rsplit_once('.').unwrap().1).unwrap();
        let public_key = public_key(&facts);
        let is_ecdsa = header["alg"].as_str().unwrap().starts_with("ES");
        let signature = if is_ecdsa { to_der(&signature) } else { signature };
        let signer = Recorded { public_key, signature };
        let key_id = header["kid"].as_str().unwrap();
        let made = if header["typ"] == "JWT" {
            jws::sign_jwt_svid(&claims, key_id, &signer).await.unwrap()
        } else {
            let jwk: Jwk = serde_json::from_value(claims["cnf"]["jwk"].clone()).unwrap();
            let algorithm = SignatureAlgorithm::from_jose_name(jwk.alg.as_deref().unwrap()).unwrap();
            jws::sign_wit_svid(&claims, &jwk.public_key().unwrap(), algorithm, key_id, &signer).await.unwrap()
        };
        total += 1;
        if made == recorded {
            equal += 1;
        } else {
            println!("{name}\n{made}\n{recorded}");
        }
    }
    println!("tokens: {equal} of {total} equal");
    assert_eq!((equal, total), (25, 25));
}

#[test]
fn validates_every_recorded_jwt_svid() {
    let mut valid = 0;
    let tokens =
        facts("tokens").into_iter().filter(|(_, facts)| !facts["claims_text"].as_str().unwrap().contains("cnf"));
    for (name, facts) in tokens {
        let token = token(&facts);
        let claims: Value = serde_json::from_str(facts["claims_text"].as_str().unwrap()).unwrap();
        let header: Value = serde_json::from_str(facts["header_text"].as_str().unwrap()).unwrap();
        let id = SpiffeId::parse(claims["sub"].as_str().unwrap()).unwrap();
        let mut bundle = Bundle::new(id.trust_domain());
        bundle.jwt_authorities.push(JwtAuthority {
            key_id: header["kid"].as_str().unwrap().into(),
            public_key: public_key(&facts),
            expires_at: None,
            tainted: false,
        });
        let bundles = BundleSet::from_iter([bundle]);
        let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(claims["iat"].as_u64().unwrap());
        for audience in claims["aud"].as_array().unwrap() {
            let svid = jwt::validate(&token, &bundles, audience.as_str().unwrap(), issued).unwrap();
            assert_eq!(svid.id, id, "{name}");
            assert_eq!(svid.issued_at, Some(issued), "{name}");
        }
        let altered = token.replacen('.', ".e", 1);
        assert!(jwt::validate(&altered, &bundles, "aud1", issued).is_err(), "{name}");
        valid += 1;
    }
    println!("JWT-SVIDs: {valid} of 21 valid");
    assert_eq!(valid, 21);
}

#[test]
fn validates_every_recorded_wit_svid() {
    let mut valid = 0;
    for (name, facts) in facts("tokens") {
        let claims: Value = serde_json::from_str(facts["claims_text"].as_str().unwrap()).unwrap();
        if claims.get("cnf").is_none() {
            continue;
        }
        let header: Value = serde_json::from_str(facts["header_text"].as_str().unwrap()).unwrap();
        let id = SpiffeId::parse(claims["sub"].as_str().unwrap()).unwrap();
        let mut bundle = Bundle::new(id.trust_domain());
        bundle.wit_authorities.push(WitAuthority {
            key_id: header["kid"].as_str().unwrap().into(),
            public_key: public_key(&facts),
            expires_at: None,
            tainted: false,
        });
        let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(claims["iat"].as_u64().unwrap());
        let unproven = wit::validate(&token(&facts), &BundleSet::from_iter([bundle]), issued).unwrap();
        let jwk: Jwk = serde_json::from_value(claims["cnf"]["jwk"].clone()).unwrap();
        assert_eq!(*unproven.public_key(), jwk.public_key().unwrap(), "{name}");
        valid += 1;
    }
    println!("WIT-SVIDs: {valid} of 4 valid");
    assert_eq!(valid, 4);
}

fn token(facts: &Value) -> String {
    String::from_utf8(artifact(facts["file"].as_str().unwrap())).unwrap().trim_end().to_owned()
}

fn public_key(facts: &Value) -> PublicKey {
    let spki = BASE64_STANDARD.decode(facts["public_key_spki_base64"].as_str().unwrap()).unwrap();
    PublicKey::from_spki_der(&spki).unwrap()
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

fn to_der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    EcdsaSignature { r: UintRef::new(r).unwrap(), s: UintRef::new(s).unwrap() }.to_der().unwrap()
}
