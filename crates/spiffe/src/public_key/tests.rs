use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;

use super::*;
use crate::jwk::Jwk;

/// One key of each kind.
const KEYS: [(PublicKeyKind, &str); 6] = [
    (PublicKeyKind::EcP256, include_str!("../../tests/data/keys/p256.b64")),
    (PublicKeyKind::EcP384, include_str!("../../tests/data/keys/p384.b64")),
    (PublicKeyKind::EcP521, include_str!("../../tests/data/keys/p521.b64")),
    (PublicKeyKind::Rsa(2048), include_str!("../../tests/data/keys/rsa2048.b64")),
    (PublicKeyKind::Rsa(1024), include_str!("../../tests/data/keys/rsa1024.b64")),
    (PublicKeyKind::Ed25519, include_str!("../../tests/data/keys/ed25519.b64")),
];

fn decode(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text.trim()).unwrap()
}

#[test]
fn keys_of_every_kind_survive_the_way_through_a_jwk() {
    for (kind, text) in KEYS {
        let key = PublicKey::from_spki_der(&decode(text)).unwrap();
        assert_eq!(key.kind(), kind);
        let json = serde_json::to_string(&Jwk::new(&key)).unwrap();
        let read: Jwk = serde_json::from_str(&json).unwrap();
        assert_eq!(read.public_key().unwrap(), key, "{json}");
        assert_eq!(read.public_key().unwrap().spki_der(), decode(text));
    }
}

#[test]
fn refuses_keys_of_other_kinds_and_sizes() {
    let p224 = decode(include_str!("../../tests/data/keys/p224.b64"));
    let error = PublicKey::from_spki_der(&p224).unwrap_err();
    assert_eq!(error.to_string(), "unsupported public key: elliptic curve");
    for bits in [512, 1016, 8200] {
        let error = PublicKey::from_rsa_numbers(&vec![0xff; bits / 8], &[1, 0, 1]).unwrap_err();
        assert_eq!(error.to_string(), format!("unsupported public key: RSA key of {bits} bits"));
    }
    assert!(matches!(PublicKey::from_ed25519(&[1; 31]), Err(PublicKeyError::Malformed(_))));
    assert!(matches!(PublicKey::from_ec_point(PublicKeyKind::Ed25519, &[], &[]), Err(PublicKeyError::Unsupported(_))));
}

#[test]
fn refuses_a_compressed_point() {
    let key = PublicKey::from_spki_der(&decode(KEYS[0].1)).unwrap();
    let compressed = [&[2 + (key.bits()[64] & 1)], &key.bits()[1..33]].concat();
    let error = PublicKey::assemble(rfc5912::ID_EC_PUBLIC_KEY, Some(AnyRef::from(&rfc5912::SECP_256_R_1)), &compressed);
    assert_eq!(error.unwrap_err().to_string(), "unsupported public key: EC point that is not uncompressed");
}

#[test]
fn says_what_spire_says_about_garbage() {
    let text = |der: &[u8]| PublicKey::from_spki_der(der).unwrap_err().to_string();
    assert_eq!(text(b""), "asn1: syntax error: sequence truncated");
    assert!(text(b"garbage").ends_with("publicKeyInfo @2"));
    assert_eq!(text(&vec![0; PublicKey::MAX_LEN + 1]), "public key is too long");
    let trailing = [decode(KEYS[0].1), vec![0]].concat();
    assert_eq!(text(&trailing), "asn1: structure error: malformed publicKeyInfo");
}

#[test]
fn a_wrong_signature_has_the_text_of_its_family() {
    for (kind, text) in KEYS {
        let key = PublicKey::from_spki_der(&decode(text)).unwrap();
        let error = key.verify(kind.signature_algorithm(), b"message", &[1; 64]).unwrap_err();
        assert_eq!(error, PublicKeyError::Signature(kind));
        let family = match kind {
            PublicKeyKind::Rsa(_) => "crypto/rsa: verification error",
            PublicKeyKind::Ed25519 => "x509: Ed25519 verification failure",
            _ => "x509: ECDSA verification failure",
        };
        assert_eq!(error.to_string(), family);
    }
}

#[test]
fn tokens_are_verified_with_the_curve_of_their_algorithm_and_no_weak_key() {
    for (kind, text) in KEYS {
        let key = PublicKey::from_spki_der(&decode(text)).unwrap();
        let fitting = SignatureAlgorithm::JOSE
            .into_iter()
            .filter(|&algorithm| key.verify_jws(algorithm, b"message", &[1; 64]) != Err(PublicKeyError::Algorithm));
        let expected = match kind {
            PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521 => 1,
            PublicKeyKind::Rsa(2048) => 6,
            _ => 0,
        };
        assert_eq!(fitting.count(), expected, "{kind}");
    }
}

#[test]
fn every_pair_of_key_and_algorithm_has_an_answer() {
    for (kind, text) in KEYS {
        let key = PublicKey::from_spki_der(&decode(text)).unwrap();
        for algorithm in SignatureAlgorithm::JOSE.into_iter().chain([SignatureAlgorithm::Ed25519]) {
            assert!(key.verify(algorithm, b"message", b"").is_err(), "{kind} {algorithm:?}");
        }
    }
}

proptest! {
    #[test]
    fn reading_answers_a_key_with_damage(which in 0..6_usize, at in 0..300_usize, value: u8) {
        let mut der = decode(KEYS[which].1);
        let at = at % der.len();
        der[at] = value;
        let _ = PublicKey::from_spki_der(&der).map(|key| Jwk::new(&key).public_key());
        let _ = PublicKey::of_pkcs8(&der);
    }
}
