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
    bundle.wit_authorities.push(wit_authority("wit".into(), &bundle.jwt_authorities[0].public_key));
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
            json!({"keys": [{"use": "x509-svid", "x5c": [certificate]}, {"use": "jwt-svid", "kty": "EC"}]}),
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
        let error = jwks::parse(&domain(), document.to_string().as_bytes(), Mode::Strict).unwrap_err();
        assert_eq!(error.to_string(), text, "{document}");
    }
    let error = jwks::parse(&domain(), b"-----BEGIN", Mode::Standard).unwrap_err().to_string();
    assert!(error.starts_with("unable to parse JWKS: "), "{error}");
    assert_eq!(jwks::parse(&domain(), &vec![b' '; jwks::MAX_LEN + 1], Mode::Standard), Err(BundleError::TooLong));
    assert!(jwks::parse(&domain(), "[".repeat(100_000).as_bytes(), Mode::Standard).is_err());
}

#[test]
fn an_x509_key_without_a_certificate_is_ignored() {
    for key in [json!({"use": "x509-svid"}), json!({"use": "x509-svid", "kty": "EC", "x5c": []})] {
        let document = json!({"keys": [key]}).to_string();
        assert_eq!(jwks::parse(&domain(), document.as_bytes(), Mode::Standard).unwrap(), Bundle::new(domain()));
    }
}

#[test]
fn of_several_certificates_of_a_key_the_first_counts() {
    let certificates: Vec<Certificate> = ["ec-p256-bundle-show", "ec-p384-bundle-show"]
        .map(|name| shown(name).x509_authorities[0].certificate.clone())
        .into();
    let encoded: Vec<String> = certificates.iter().map(|c| BASE64_STANDARD.encode(c.der())).collect();
    let document = json!({"keys": [{"use": "x509-svid", "x5c": encoded}]}).to_string();
    let bundle = jwks::parse(&domain(), document.as_bytes(), Mode::Standard).unwrap();
    assert_eq!(bundle.x509_certificates().collect::<Vec<_>>(), [&certificates[0]]);
}

#[test]
fn keys_of_a_curve_or_size_that_nobody_here_knows_are_ignored_whatever_they_hold() {
    for key in [
        json!({"use": "jwt-svid", "kid": "k", "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"use": "wit-svid", "kid": "k", "kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"use": "jwt-svid", "kid": "k", "kty": "RSA", "n": "AA", "e": "AQAB"}),
        json!({"use": "jwt-svid", "kid": 7, "kty": "AKP", "x": {"deep": []}}),
        json!({"use": "other", "kty": 7}),
        json!("no object"),
    ] {
        let document = json!({"keys": [key]}).to_string();
        let bundle = jwks::parse(&domain(), document.as_bytes(), Mode::Standard);
        assert_eq!(bundle.unwrap(), Bundle::new(domain()), "{document}");
        assert!(jwks::parse(&domain(), document.as_bytes(), Mode::Strict).is_err(), "{document}");
    }
}

#[test]
fn members_that_the_standard_does_not_know_are_neither_needed_nor_refused() {
    let mut document: Value = serde_json::from_str(&data("bundles/ec-p256-bundle-show-spiffe.json")).unwrap();
    let plain = jwks::parse(&domain(), document.to_string().as_bytes(), Mode::Standard).unwrap();
    document["more"] = json!([1]);
    document["keys"][0]["more"] = json!({"a": 1});
    document["keys"][1]["alg"] = json!("ES256");
    assert_eq!(jwks::parse(&domain(), document.to_string().as_bytes(), Mode::Standard).unwrap(), plain);
}

#[test]
fn uses_are_case_sensitive() {
    let document: String = data("bundles/ec-p256-bundle-show-spiffe.json").replace("-svid\"", "-SVID\"");
    let read = jwks::parse(&domain(), document.as_bytes(), Mode::Standard).unwrap();
    assert_eq!((read.x509_authorities, read.jwt_authorities, read.wit_authorities), (vec![], vec![], vec![]));
}

#[test]
fn an_empty_array_of_keys_is_a_bundle_without_authorities() {
    for mode in [Mode::Standard, Mode::Strict] {
        assert_eq!(jwks::parse(&domain(), b"{\"keys\": []}", mode).unwrap(), Bundle::new(domain()));
    }
}

#[test]
fn sequence_and_refresh_hint_are_integers_of_64_bits() {
    let read = |member: &str, value: &str| {
        let document = format!("{{\"keys\": [], \"{member}\": {value}}}");
        jwks::parse(&domain(), document.as_bytes(), Mode::Standard)
    };
    let largest = u64::MAX.to_string();
    assert_eq!(read("spiffe_sequence", &largest).unwrap().sequence_number, u64::MAX);
    let hint = read("spiffe_refresh_hint", &largest).unwrap().refresh_hint;
    assert_eq!(hint, Some(Duration::from_secs(u64::MAX)));
    for member in ["spiffe_sequence", "spiffe_refresh_hint"] {
        for value in ["-1", "1.5", "\"1\"", "18446744073709551616", "{}"] {
            assert!(matches!(read(member, value), Err(BundleError::Json(_))), "{member} {value}");
        }
    }
}

#[test]
fn keys_are_written_with_type_and_use_and_nothing_that_is_not_theirs() {
    let mut bundle = shown("ec-p256-bundle-show");
    bundle.wit_authorities.push(wit_authority("wit".into(), &bundle.jwt_authorities[0].public_key));
    let document = jwks::marshal(&bundle, Options { wit_authorities: true, ..Options::default() });
    let document: Value = serde_json::from_slice(&document).unwrap();
    let of_use = |name: &str| {
        let keys = document["keys"].as_array().unwrap().iter().filter(|key| key["use"] == name);
        let members = keys.map(|key| key.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "));
        members.collect::<Vec<_>>()
    };
    assert_eq!(of_use("x509-svid"), ["crv kty use x x5c y"]);
    assert_eq!(of_use("jwt-svid"), ["crv kid kty use x y"]);
    assert_eq!(of_use("wit-svid"), ["crv kid kty use x y"]);
    let x5c = document["keys"][0]["x5c"].as_array().unwrap();
    let certificate = BASE64_STANDARD.encode(bundle.x509_authorities[0].certificate.der());
    assert_eq!(*x5c, [Value::from(certificate)]);
}

#[test]
fn the_workload_api_has_the_wit_keys_alone() {
    let mut bundle = shown("ec-p256-bundle-show");
    bundle.wit_authorities.push(wit_authority("wit".into(), &bundle.jwt_authorities[0].public_key));
    let document: Value = serde_json::from_slice(&jwks::wit_keys_document(&bundle)).unwrap();
    assert_eq!(document["keys"].as_array().unwrap().len(), 1);
    assert_eq!(document["keys"][0]["kid"], "wit");
    let read = jwks::parse_wit_keys_document(&domain(), &jwks::wit_keys_document(&bundle)).unwrap();
    assert_eq!(read.wit_authorities, bundle.wit_authorities);
    assert_eq!((read.jwt_authorities, read.x509_authorities), (vec![], vec![]));
    let without_name = json!({"keys": [{"kty": "EC", "crv": "P-256"}]}).to_string();
    let error = jwks::parse_wit_keys_document(&domain(), without_name.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "error adding authority 0 of JWKS: keyID cannot be empty");
}

#[test]
fn an_authority_of_one_kind_is_none_of_another() {
    let mut bundle = shown("ec-p256-bundle-show");
    let JwtAuthority { key_id, public_key, expires_at, tainted } = bundle.jwt_authorities.remove(0);
    bundle.wit_authorities.push(WitAuthority { key_id: key_id.clone(), public_key, expires_at, tainted });
    assert!(bundle.jwt_authority(&key_id).is_none());
    assert!(bundle.wit_authority(&key_id).is_some());
}

#[test]
fn a_map_holds_bundles_by_trust_domain_without_refresh_hints() {
    let mut own = shown("ec-p256-bundle-show");
    own.refresh_hint = Some(Duration::from_secs(5));
    let other = Bundle { trust_domain: TrustDomain::parse("other.test").unwrap(), ..shown("rsa-2048-bundle-show") };
    let set = BundleSet::from_iter([own.clone(), other]);
    let document = map::marshal(&set);
    let json: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(json["trust_domains"].as_object().unwrap().keys().collect::<Vec<_>>(), ["example.org", "other.test"]);
    assert!(!String::from_utf8(document.clone()).unwrap().contains("refresh_hint"));
    let read = map::parse(&document).unwrap();
    assert_eq!(*read.get(&domain()).unwrap(), Bundle { refresh_hint: None, ..own }.into());
    assert_eq!(map::marshal(&read), document);

    let hinted = br#"{"trust_domains": {"example.org": {"keys": [], "spiffe_refresh_hint": 5}}}"#;
    assert_eq!(map::parse(hinted).unwrap().get(&domain()).unwrap().refresh_hint, None);
}

#[test]
fn an_empty_map_is_written_and_read() {
    assert_eq!(map::marshal(&BundleSet::new()), b"{\n    \"trust_domains\": {}\n}");
    assert_eq!(map::parse(b"{\"trust_domains\": {}}").unwrap(), BundleSet::new());
    assert_eq!(map::parse(b"{}").unwrap_err(), BundleError::NoTrustDomains);
}

#[test]
fn a_map_with_a_trust_domain_twice_is_refused() {
    let document =
        br#"{"trust_domains": {"example.org": {"keys": []}, "a.test": {"keys": []}, "example.org": {"keys": []}}}"#;
    let error = map::parse(document).unwrap_err();
    assert_eq!(error.to_string(), "trust domain \"example.org\" occurs more than once");
    for (name, text) in [
        ("spiffe://example.org", "bundle of trust domain \"spiffe://example.org\": "),
        ("Example.org", "bundle of trust domain \"Example.org\": "),
    ] {
        let document = json!({"trust_domains": {name: {"keys": []}}}).to_string();
        let error = map::parse(document.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
    let error = map::parse(br#"{"trust_domains": {"a.test": {}}}"#).unwrap_err();
    assert_eq!(error.to_string(), "bundle of trust domain \"a.test\": no authorities found");
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
        wit in prop::collection::btree_set("[!-~]{1,12}", 0..3),
        sequence_number: u64,
        refresh_hint in prop::option::of(1..u64::MAX),
    ) -> Bundle {
        let recorded = shown("rsa-2048-bundle-show");
        let key = &recorded.jwt_authorities[0];
        Bundle {
            x509_authorities: recorded.x509_authorities.iter().filter(|_| x509).cloned().collect(),
            jwt_authorities: jwt.into_iter().map(|key_id| JwtAuthority { key_id, ..key.clone() }).collect(),
            wit_authorities: wit.into_iter().map(|key_id| wit_authority(key_id, &key.public_key)).collect(),
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
        let document = jwks::marshal(&bundle, Options { wit_authorities: true, ..Options::default() });
        for mode in [Mode::Standard, Mode::Strict] {
            prop_assert_eq!(&jwks::parse(&domain(), &document, mode).unwrap(), &bundle);
        }
    }

    #[test]
    fn documents_of_one_kind_of_key_survive_the_round_trip(bundle in bundle()) {
        let document = jwks::jwt_keys_document(&bundle);
        let read = jwks::parse_jwt_keys_document(&domain(), &document).unwrap();
        prop_assert_eq!(jwks::jwt_keys_document(&read), document);
        prop_assert_eq!(read, Bundle { jwt_authorities: bundle.jwt_authorities.clone(), ..Bundle::new(domain()) });
        let document = jwks::wit_keys_document(&bundle);
        let read = jwks::parse_wit_keys_document(&domain(), &document).unwrap();
        prop_assert_eq!(jwks::wit_keys_document(&read), document);
        prop_assert_eq!(read, Bundle { wit_authorities: bundle.wit_authorities, ..Bundle::new(domain()) });
    }

    #[test]
    fn maps_survive_the_round_trip(bundles in prop::collection::btree_map("[a-z0-9._-]{1,9}", bundle(), 0..3)) {
        let set: BundleSet = bundles.into_iter().map(|(name, bundle)| {
            let trust_domain = TrustDomain::from_name(&name).unwrap();
            Bundle { trust_domain, refresh_hint: None, ..bundle }
        }).collect();
        prop_assert_eq!(map::parse(&map::marshal(&set)).unwrap(), set);
    }

    #[test]
    fn pem_survives_the_round_trip(bundle in bundle()) {
        prop_assume!(!bundle.x509_authorities.is_empty());
        let read = pem::parse(&domain(), &pem::marshal(&bundle)).unwrap();
        prop_assert_eq!(read.x509_authorities, bundle.x509_authorities);
    }

    #[test]
    fn parsing_answers_any_bytes(bytes: Vec<u8>) {
        let _ = jwks::parse(&domain(), &bytes, Mode::Standard);
        let _ = map::parse(&bytes);
    }
}

fn wit_authority(key_id: String, public_key: &PublicKey) -> WitAuthority {
    WitAuthority { key_id, public_key: public_key.clone(), expires_at: None, tainted: false }
}
