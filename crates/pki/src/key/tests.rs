use der::Tag;
use proptest::prelude::*;
use steeple_spiffe::asn1;

use super::*;

const TYPES: [KeyType; 3] = [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048];

#[test]
fn names_of_types_are_read_in_any_case() {
    for (name, key_type) in [
        ("ec-p256", KeyType::EcP256),
        ("EC-P384", KeyType::EcP384),
        ("Rsa-2048", KeyType::Rsa2048),
        ("rsa-4096", KeyType::Rsa4096),
    ] {
        assert_eq!(name.parse::<KeyType>().unwrap(), key_type);
        assert_eq!(key_type.to_string(), name.to_lowercase());
    }
    assert_eq!(
        "ed25519".parse::<KeyType>().unwrap_err().to_string(),
        "key type \"ed25519\" is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]"
    );
}

#[test]
fn a_new_key_survives_the_round_trip() {
    for key_type in TYPES {
        let key = PrivateKey::generate(key_type).unwrap();
        assert_eq!(key.key_type(), key_type);
        let document = key.to_pkcs8_der().unwrap();
        let read = PrivateKey::from_pkcs8_der(&document).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        assert_eq!(read.to_pkcs8_der().unwrap(), document);
        let read = PrivateKey::from_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        assert_eq!(PublicKey::of_pkcs8(&document).unwrap(), *key.public_key());
    }
}

#[test]
fn signatures_over_a_message_and_over_its_digest_verify() {
    let message = b"message";
    for key_type in TYPES {
        let key = PrivateKey::generate(key_type).unwrap();
        let mut signed = 0;
        for algorithm in SignatureAlgorithm::JOSE {
            let digest = algorithm.digest(message).unwrap();
            let signatures = [key.sign(algorithm, message), key.sign_digest(algorithm, &digest)];
            for signature in signatures {
                match signature {
                    Ok(signature) => {
                        key.public_key().verify(algorithm, message, &signature).unwrap();
                        assert!(key.public_key().verify(algorithm, b"another", &signature).is_err());
                        signed += 1;
                    }
                    Err(error) => assert!(matches!(error, SignError::Key(PublicKeyError::Algorithm)), "{error}"),
                }
            }
        }
        assert_eq!(signed, if key_type == KeyType::Rsa2048 { 12 } else { 2 });
    }
}

#[test]
fn refuses_a_digest_of_another_length() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    for length in [0, 20, 31, 33, 48] {
        let error = key.sign_digest(SignatureAlgorithm::EcdsaSha256, &vec![1; length]).unwrap_err();
        assert!(matches!(error, SignError::DigestLength), "{length}");
    }
}

#[test]
fn says_nothing_about_a_key_when_printed() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(EC P-256)");
}

#[test]
fn reads_the_older_forms_of_pem() {
    for (text, key_type) in [
        (include_str!("testdata/ec-p256-sec1.pem"), KeyType::EcP256),
        (include_str!("testdata/rsa-2048-pkcs1.pem"), KeyType::Rsa2048),
    ] {
        let key = PrivateKey::from_pem(text).unwrap();
        assert_eq!(key.key_type(), key_type);
        let algorithm = key_type.signature_algorithm();
        let signature = key.sign(algorithm, b"message").unwrap();
        key.public_key().verify(algorithm, b"message", &signature).unwrap();
    }
}

#[test]
fn refuses_keys_of_kinds_that_are_not_generated() {
    let error = PrivateKey::from_pem(include_str!("testdata/ec-p521-pkcs8.pem")).unwrap_err();
    assert_eq!(error.to_string(), "private keys of kind EC P-521 are not supported");
}

#[test]
fn refuses_what_is_no_private_key() {
    assert!(matches!(PrivateKey::from_pkcs8_der(b"garbage"), Err(PkiError::PrivateKey)));
    assert_eq!(PrivateKey::from_pem("").unwrap_err().to_string(), "no PEM blocks");
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let public = pem::encode("PUBLIC KEY", key.public_key().spki_der());
    assert!(matches!(PrivateKey::from_pem(&public), Err(PkiError::Pem(PemError::UnexpectedLabel { .. }))));
    let two = key.to_pkcs8_pem().unwrap().repeat(2);
    assert!(matches!(PrivateKey::from_pem(&two), Err(PkiError::PrivateKey)));
}

#[test]
fn a_key_survives_the_way_through_a_private_jwk() {
    for key_type in TYPES {
        let key = PrivateKey::generate(key_type).unwrap();
        let json = key.to_jwk().unwrap();
        let read = PrivateKey::from_jwk(&json).unwrap();
        assert_eq!(read.to_pkcs8_der().unwrap(), key.to_pkcs8_der().unwrap());
    }
}

#[test]
fn a_private_jwk_is_written_as_the_reference_writes_it() {
    for mint in [
        include_str!("../../tests/data/artifacts/ec-p256/wit-mint.json"),
        include_str!("../../tests/data/artifacts/ec-p384/wit-mint.json"),
        include_str!("../../tests/data/artifacts/rsa-2048/wit-mint.json"),
    ] {
        let mint: serde_json::Value = serde_json::from_str(mint).unwrap();
        let json = mint["private_key"].as_str().unwrap();
        assert_eq!(*PrivateKey::from_jwk(json).unwrap().to_jwk().unwrap(), json);
    }
    let rsa = PrivateKey::from_pem(include_str!("testdata/rsa-2048-pkcs1.pem")).unwrap().to_jwk().unwrap();
    let members: Vec<&str> = rsa.split('"').skip(1).step_by(4).collect();
    assert_eq!(members, ["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi"]);
}

#[test]
fn refuses_a_private_jwk_whose_halves_do_not_belong_together() {
    for key_type in TYPES {
        let [one, other] = [(); 2].map(|()| PrivateKey::generate(key_type).unwrap().to_jwk().unwrap());
        let [one, other] =
            [one, other].map(|json| serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(&json).unwrap());
        for member in ["d", "x", "n", "p", "qi"] {
            if let Some(value) = other.get(member) {
                let mut mixed = one.clone();
                mixed.insert(member.into(), value.clone());
                let mixed = serde_json::Value::from(mixed).to_string();
                assert!(PrivateKey::from_jwk(&mixed).is_err(), "{key_type} {member}");
                mixed_is_refused_without_it(&one, member);
            }
        }
    }
    for text in ["", "{}", "[]", r#"{"kty":"oct","k":"AAAA","d":"AAAA"}"#, &" ".repeat(20_000)] {
        assert!(PrivateKey::from_jwk(text).is_err(), "{text}");
    }
}

fn mixed_is_refused_without_it(key: &serde_json::Map<String, serde_json::Value>, member: &str) {
    let mut key = key.clone();
    key.remove(member);
    assert!(PrivateKey::from_jwk(&serde_json::Value::from(key).to_string()).is_err(), "{member}");
}

/// ECPrivateKey (RFC 5915) of a scalar, without the public point.
fn sec1(curve: PublicKeyKind, scalar: &[u8]) -> String {
    let (oid, _) = curve.curve().unwrap();
    let parameters = asn1::wrap(Tag::ObjectIdentifier, oid.as_bytes().to_vec()).unwrap();
    let tag = Tag::ContextSpecific { constructed: true, number: der::TagNumber(0) };
    let members = [
        b"\x02\x01\x01".to_vec(),
        asn1::wrap(Tag::OctetString, scalar.to_vec()).unwrap(),
        asn1::wrap(tag, parameters).unwrap(),
    ];
    pem::encode("EC PRIVATE KEY", &asn1::wrap(Tag::Sequence, members.concat()).unwrap()).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Small scalars too: numbers with leading zeros are where forms of keys differ.
    #[test]
    fn keys_survive_the_round_trip_through_each_form(scalar in prop::array::uniform32(any::<u8>()), zeros in 0..32_usize, is_p384: bool) {
        let (curve, width) = if is_p384 { (PublicKeyKind::EcP384, 48) } else { (PublicKeyKind::EcP256, 32) };
        let mut number = vec![0; width];
        number[width - 32..].copy_from_slice(&scalar);
        number[..width - 32 + zeros].fill(0);
        number[width - 1] |= 1;
        // The few numbers above the order of P-256 are no keys.
        prop_assume!(is_p384 || number[..4] != [0xff; 4]);
        let without_point = PrivateKey::from_pem(&sec1(curve, &number)).unwrap();
        // Written as PKCS #8 it lacks the public point as its document did; a JWK always has it.
        let key = PrivateKey::from_jwk(&without_point.to_jwk().unwrap()).unwrap();
        prop_assert_eq!(key.public_key(), without_point.public_key());
        let expected = key.to_pkcs8_der().unwrap();
        let same = |read: PrivateKey| read.public_key() == key.public_key() && read.to_pkcs8_der().unwrap() == expected;
        prop_assert!(same(PrivateKey::from_pkcs8_der(&expected).unwrap()));
        prop_assert!(same(PrivateKey::from_pem(&key.to_pkcs8_pem().unwrap()).unwrap()));
        prop_assert!(same(PrivateKey::from_jwk(&key.to_jwk().unwrap()).unwrap()));
        let public = PublicKey::from_spki_der(key.public_key().spki_der()).unwrap();
        prop_assert_eq!(&public, key.public_key());
        prop_assert_eq!(&steeple_spiffe::jwk::Jwk::new(&public).public_key().unwrap(), &public);
    }
}
