use proptest::prelude::*;

use super::*;
use crate::certificate::svid_subject;
use crate::{KeyType, Subject};

fn subject() -> Name {
    Name::try_from(&svid_subject()).unwrap()
}

#[test]
fn says_what_spire_says_about_garbage() {
    let text = |der| CertificateRequest::parse_and_verify(der).unwrap_err().to_string();
    assert_eq!(text(b""), "asn1: syntax error: sequence truncated");
    assert!(text(b"garbage").starts_with("asn1: structure error: tags don't match (16 vs {class:1 tag:7 length:97 "));
    assert!(text(b"garbage").ends_with("} certificateRequest @2"));
    assert_eq!(text(b"\x30\x00"), "asn1: structure error: malformed certificateRequest");
    assert_eq!(text(&vec![0x30; MAX_LEN + 1]), "certificate request is too long");
}

#[test]
fn a_request_that_was_changed_is_not_signed() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let id = SpiffeId::parse("spiffe://example.org/aaaa").unwrap();
    let mut request = build(&subject(), Some(&id), &[], &key).unwrap();
    let at = request.windows(4).position(|window| window == b"aaaa").unwrap();
    request[at] = b'b';
    assert!(matches!(CertificateRequest::parse_and_verify(&request), Err(PkiError::RequestSignature(_))));
}

#[test]
fn a_request_for_a_key_that_others_hold_is_not_signed() {
    let [own, foreign] = [(); 2].map(|()| PrivateKey::generate(KeyType::EcP256).unwrap());
    let info = info_der(&subject(), None, &[], &[], foreign.public_key()).unwrap();
    let signature = own.sign(SignatureAlgorithm::EcdsaSha256, &info).unwrap();
    let request = signed_der(info, SignatureAlgorithm::EcdsaSha256, &signature).unwrap();
    let error = CertificateRequest::parse_and_verify(&request).unwrap_err();
    assert_eq!(error.to_string(), "x509: ECDSA verification failure");
}

#[test]
fn a_request_without_attributes_member_is_read() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let info = [VERSION_0, subject().as_der(), key.public_key().spki_der()].concat();
    let info = asn1::wrap(Tag::Sequence, info).unwrap();
    let signature = key.sign(SignatureAlgorithm::EcdsaSha256, &info).unwrap();
    let request = signed_der(info, SignatureAlgorithm::EcdsaSha256, &signature).unwrap();
    assert!(CertificateRequest::parse_and_verify(&request).unwrap().extensions.is_empty());
}

#[test]
fn further_extensions_stand_behind_the_names() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
    let extra = Extension { oid: ObjectIdentifier::new_unwrap("1.2.3.4"), critical: true, value: vec![5, 0] };
    let info = info_der(&subject(), Some(&id), &[], std::slice::from_ref(&extra), key.public_key()).unwrap();
    let signature = key.sign(SignatureAlgorithm::EcdsaSha256, &info).unwrap();
    let request = signed_der(info, SignatureAlgorithm::EcdsaSha256, &signature).unwrap();
    let read = CertificateRequest::parse_and_verify(&request).unwrap();
    assert_eq!((&read.uri_sans[..], &read.extensions[1..]), (&[id.to_string()][..], &[extra][..]));
}

#[test]
fn rsa_keys_make_requests_too() {
    let key = PrivateKey::generate(KeyType::Rsa2048).unwrap();
    let request = build(&subject(), None, &[], &key).unwrap();
    assert_eq!(CertificateRequest::parse_and_verify(&request).unwrap().public_key, *key.public_key());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_survive_the_round_trip(
        common_name in ".{0,9}",
        path in prop::option::of("(/[a-z]{1,9}){0,3}"),
        dns in prop::collection::vec("[a-z.*-]{1,9}", 0..3),
    ) {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let subject = Name::try_from(&Subject { common_name, ..Subject::default() }).unwrap();
        let id = path.map(|path| SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap());
        let request = build(&subject, id.as_ref(), &dns, &key).unwrap();
        let read = CertificateRequest::parse_and_verify(&request).unwrap();
        prop_assert_eq!(&read.public_key, key.public_key());
        prop_assert_eq!(read.subject, subject);
        prop_assert_eq!(read.uri_sans, id.iter().map(ToString::to_string).collect::<Vec<_>>());
        prop_assert_eq!(read.dns_sans, dns);
    }

    #[test]
    fn reading_answers_a_request_with_damage(at in 0..300_usize, value: u8, cut in 0..300_usize) {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
        let mut request = build(&subject(), Some(&id), &["a.test".into()], &key).unwrap();
        let (at, cut) = (at % request.len(), cut % request.len());
        let _ = CertificateRequest::parse_and_verify(&request[..cut]);
        let changed = request[at] != value;
        request[at] = value;
        prop_assert_eq!(CertificateRequest::parse_and_verify(&request).is_err(), changed);
    }

    #[test]
    fn reading_answers_any_bytes(bytes: Vec<u8>) {
        let _ = CertificateRequest::parse_and_verify(&bytes);
    }
}
