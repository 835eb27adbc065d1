use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::jwks::{Mode, Options};
use super::*;

fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// The bundle that `bundle show -output json` printed.
fn shown(name: &str) -> Bundle {
    let shown: Value = serde_json::from_str(&data(&format!("bundles/{name}.json"))).unwrap();
    let decode = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let list = |name: &str| shown[name].as_array().unwrap().clone();
    let mut bundle = Bundle::new(TrustDomain::parse(shown["trust_domain"].as_str().unwrap()).unwrap());
    bundle.sequence_number = shown["sequence_number"].as_str().unwrap().parse().unwrap();
    for authority in list("x509_authorities") {
        let certificate = Certificate::from_der(&decode(&authority["asn1"])).unwrap();
        bundle.x509_authorities.push(X509Authority { certificate, tainted: authority["tainted"] == true });
    }
    for authority in list("jwt_authorities") {
        bundle.jwt_authorities.push(JwtAuthority {
            key_id: authority["key_id"].as_str().unwrap().into(),
            public_key: PublicKey::from_spki_der(&decode(&authority["public_key"])).unwrap(),
            expires_at: None,
            tainted: authority["tainted"] == true,
        });
    }
    bundle
}

fn body(name: &str) -> String {
    let answer = data(&format!("bundles/{name}.http"));
    let (head, body) = answer.split_once("\r\n\r\n").or_else(|| answer.split_once("\n\n")).unwrap();
    if !head.contains("chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, tail)) = rest.split_once('\n') {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        whole += &tail[..size];
        rest = tail[size..].trim_start();
        if size == 0 {
            break;
        }
    }
    whole
}

#[test]
fn writes_every_recorded_document_to_the_byte() {
    let ten_minutes = Some(Duration::from_secs(600));
    let mut documents = Vec::new();
    for folder in ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] {
        let expected = data(&format!("bundles/{folder}-bundle-show-spiffe.json"));
        documents.push((shown(&format!("{folder}-bundle-show")), None, expected.trim_end().to_owned()));
    }
    let expected = data("bundles/ec-p256-bundle-show-spiffe-tainted.json");
    documents.push((shown("ec-p256-bundle-show-tainted"), None, expected.trim_end().to_owned()));
    for (folder, profile) in [("ec-p384", "web"), ("rsa-2048", "spiffe"), ("rsa-4096", "spiffe")] {
        let expected = body(&format!("{folder}-bundle-endpoint-https_{profile}"));
        documents.push((shown(&format!("{folder}-bundle-show")), ten_minutes, expected));
    }
    // SPIRE writes JWT keys in any order; here in the other one.
    let mut reversed = shown("ec-p256-bundle-show-tainted");
    reversed.jwt_authorities.reverse();
    documents.push((reversed, ten_minutes, body("ec-p256-bundle-endpoint-https_spiffe")));

    let total = documents.len();
    let equal = documents.into_iter().filter(|(bundle, refresh_hint, expected)| {
        let options = Options { refresh_hint: *refresh_hint, ..Options::default() };
        jwks::marshal(bundle, options) == expected.trim_end().as_bytes()
    });
    let equal = equal.count();
    println!("bundle documents: {equal} of {total} equal");
    assert_eq!((equal, total), (9, 9));
}

#[test]
fn reads_every_recorded_document_back() {
    for folder in ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] {
        let bundle = shown(&format!("{folder}-bundle-show"));
        let document = data(&format!("bundles/{folder}-bundle-show-spiffe.json"));
        for mode in [Mode::Standard, Mode::Strict] {
            assert_eq!(jwks::parse(&domain(), document.as_bytes(), mode).unwrap(), bundle, "{folder}");
        }
        let pem = data(&format!("bundles/{folder}-bundle-show.pem"));
        assert_eq!(pem::marshal(&bundle), pem, "{folder}");
        assert_eq!(pem::parse(&domain(), &pem).unwrap().x509_authorities, bundle.x509_authorities, "{folder}");
    }
}

#[test]
fn the_workload_api_has_the_jwt_keys_alone() {
    let mut bundle = shown("ec-p256-bundle-show");
    assert_eq!(
        String::from_utf8(jwks::jwt_keys_document(&bundle)).unwrap(),
        r#"{
    "keys": [
        {
            "kty": "EC",
            "kid": "yj5Fj6DaZWFsYCyr0NvxdSeEBGqfSYoL",
            "crv": "P-256",
            "x": "XhL47wS91P7z5J9c1o--3gPeMptnRcl3AXOHNh7hvlA",
            "y": "tY1GzQ9jhKRRsY-O8GYLjQ1InDT_RHCtf05UPZPlpmU"
        }
    ]
}"#
    );
    let read = jwks::parse_jwt_keys_document(&domain(), &jwks::jwt_keys_document(&bundle)).unwrap();
    assert_eq!(read.jwt_authorities, bundle.jwt_authorities);
    bundle.jwt_authorities.clear();
    assert_eq!(jwks::jwt_keys_document(&bundle), b"{\n    \"keys\": []\n}");
}

#[test]
fn wit_keys_are_written_when_asked_for() {
    let mut bundle = shown("ec-p256-bundle-show");
    let JwtAuthority { key_id, public_key, expires_at, tainted } = bundle.jwt_authorities[0].clone();
    bundle.wit_authorities.push(WitAuthority { key_id, public_key, expires_at, tainted });
    let read = |options| jwks::parse(&domain(), &jwks::marshal(&bundle, options), Mode::Strict).unwrap();
    assert_eq!(read(Options::default()).wit_authorities, []);
    assert_eq!(read(Options { wit_authorities: true, ..Options::default() }), bundle);
}

#[test]
fn unknown_uses_are_ignored_by_the_standard_and_refused_in_strict_mode() {
    let unknown = json!({"keys": [{"use": "other", "kty": "EC"}]}).to_string();
    let missing = json!({"keys": [{"kty": "EC"}]}).to_string();
    for document in [&unknown, &missing] {
        let bundle = jwks::parse(&domain(), document.as_bytes(), Mode::Standard).unwrap();
        assert_eq!(bundle, Bundle::new(domain()));
    }
    let strict = |document: &str| jwks::parse(&domain(), document.as_bytes(), Mode::Strict).unwrap_err().to_string();
    assert_eq!(strict(&unknown), "error adding authority 0 of JWKS: unrecognized use \"other\"");
    assert_eq!(strict(&missing), "error adding authority 0 of JWKS: missing \"use\"");
}

#[test]
fn an_unknown_key_family_is_ignored_by_the_standard_and_refused_in_strict_mode() {
    let document = json!({"keys": [{"use": "jwt-svid", "kid": "k", "kty": "AKP"}]}).to_string();
    assert!(jwks::parse(&domain(), document.as_bytes(), Mode::Standard).unwrap().jwt_authorities.is_empty());
    assert!(jwks::parse(&domain(), document.as_bytes(), Mode::Strict).is_err());
}

#[test]
fn every_defect_of_a_document_has_its_text() {
    let certificate = BASE64_STANDARD.encode(shown("ec-p256-bundle-show").x509_authorities[0].certificate.der());
    let ec = json!({"use": "jwt-svid", "kid": "k", "kty": "EC", "crv": "P-256"});
    let with = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    for (document, text) in [
        (json!({}), "no authorities found"),
        (json!({"keys": null}), "no authorities found"),
        (
            json!({"keys": [{"use": "x509-svid"}]}),
            "error adding authority 0 of JWKS: expected a single certificate in x5c, found 0",
        ),
        (
            json!({"keys": [{"use": "x509-svid", "x5c": [certificate, certificate]}]}),
            "error adding authority 0 of JWKS: expected a single certificate in x5c, found 2",
        ),
        (json!({"keys": [{"use": "x509-svid", "x5c": ["?"]}]}), "error adding authority 0 of JWKS: x5c is not base64"),
        (
            json!({"keys": [{"use": "x509-svid", "x5c": ["AAAA"]}]}),
            "error adding authority 0 of JWKS: x509: malformed certificate",
        ),
        (
            json!({"keys": [{}, {"use": "jwt-svid", "kty": "EC"}]}),
            "error adding authority 1 of JWKS: keyID cannot be empty",
        ),
        (json!({"keys": [with(&ec, "kid", json!(""))]}), "error adding authority 0 of JWKS: keyID cannot be empty"),
        (json!({"keys": [ec]}), "error adding authority 0 of JWKS: JWK member \"x\" is missing"),
        (
            json!({"keys": [with(&ec, "x", json!("?"))]}),
            "error adding authority 0 of JWKS: JWK member \"x\" is not base64url",
        ),
        (
            json!({"keys": [with(&ec, "crv", json!("P-224"))]}),
            "error adding authority 0 of JWKS: unsupported public key: elliptic curve \"P-224\"",
        ),
        (
            json!({"keys": [with(&with(&ec, "x", json!("AAAA")), "y", json!("AAAA"))]}),
            "error adding authority 0 of JWKS: EC coordinates have the wrong length",
        ),
    ] {
        let error = jwks::parse(&domain(), document.to_string().as_bytes(), Mode::Standard).unwrap_err();
        assert_eq!(error.to_string(), text, "{document}");
    }
    let error = jwks::parse(&domain(), b"-----BEGIN", Mode::Standard).unwrap_err().to_string();
    assert!(error.starts_with("unable to parse JWKS: "), "{error}");
    assert_eq!(jwks::parse(&domain(), &vec![b' '; jwks::MAX_LEN + 1], Mode::Standard), Err(BundleError::TooLong));
    assert!(jwks::parse(&domain(), "[".repeat(100_000).as_bytes(), Mode::Standard).is_err());
}

#[test]
fn a_point_that_is_not_on_its_curve_is_no_key() {
    let coordinate = crate::jwk::BASE64URL.encode([7; 32]);
    let key = json!({"use": "jwt-svid", "kid": "k", "kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate});
    let document = json!({"keys": [key]}).to_string();
    let error = jwks::parse(&domain(), document.as_bytes(), Mode::Standard).unwrap_err();
    assert_eq!(error.to_string(), "error adding authority 0 of JWKS: public key is not valid for its algorithm");
}

#[test]
fn what_occurs_twice_is_taken_once() {
    let document: Value = serde_json::from_str(&data("bundles/ec-p256-bundle-show-spiffe.json")).unwrap();
    let mut keys = document["keys"].as_array().unwrap().clone();
    keys.extend(keys.clone());
    let bundle = jwks::parse(&domain(), json!({"keys": keys}).to_string().as_bytes(), Mode::Strict).unwrap();
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len()), (1, 1));
    let pem = data("bundles/ec-p256-bundle-show.pem").repeat(2);
    assert_eq!(pem::parse(&domain(), &pem).unwrap().x509_authorities.len(), 1);
}

#[test]
fn a_set_holds_one_bundle_a_trust_domain() {
    let mut set = BundleSet::new();
    assert!(set.insert(Bundle::new(domain())).is_none());
    let mut newer = Bundle::new(domain());
    newer.sequence_number = 2;
    assert_eq!(set.insert(newer).unwrap().sequence_number, 0);
    assert_eq!((set.len(), set.is_empty()), (1, false));
    assert_eq!(set.get(&domain()).unwrap().sequence_number, 2);
    assert_eq!(set.bundle(&TrustDomain::parse("other.test").unwrap()), None);
    assert_eq!(set.remove(&domain()).unwrap().sequence_number, 2);
    assert_eq!(set.iter().len(), 0);
}

prop_compose! {
    fn bundle()(
        x509 in any::<bool>(),
        jwt in prop::collection::btree_set("[!-~]{1,12}", 0..3),
        sequence_number: u64,
        refresh_hint in prop::option::of(1..u64::MAX),
    ) -> Bundle {
        let recorded = shown("rsa-2048-bundle-show");
        let key = &recorded.jwt_authorities[0];
        Bundle {
            x509_authorities: recorded.x509_authorities.iter().filter(|_| x509).cloned().collect(),
            jwt_authorities: jwt.into_iter().map(|key_id| JwtAuthority { key_id, ..key.clone() }).collect(),
            sequence_number,
            refresh_hint: refresh_hint.map(Duration::from_secs),
            ..Bundle::new(domain())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn documents_survive_the_round_trip(bundle in bundle()) {
        let document = jwks::marshal(&bundle, Options::default());
        prop_assert_eq!(jwks::parse(&domain(), &document, Mode::Strict).unwrap(), bundle);
    }

    #[test]
    fn parsing_answers_any_bytes(bytes: Vec<u8>) {
        let _ = jwks::parse(&domain(), &bytes, Mode::Standard);
    }
}
