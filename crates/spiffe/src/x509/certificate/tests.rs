use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::x509::{self, parse_chain_der, parse_pem};

fn only(pem: &str) -> Certificate {
    parse_pem(pem).unwrap().remove(0)
}

#[test]
fn reads_what_a_leaf_says() {
    let leaf = only(include_str!("../../../tests/data/minted-dns.pem"));
    assert_eq!(leaf.uri_sans(), ["spiffe://example.org/minted-dns"]);
    assert_eq!(leaf.dns_sans(), ["b.example.org", "a.example.org"]);
    assert_eq!(leaf.spiffe_id().unwrap().path(), "/minted-dns");
    assert_eq!(leaf.subject_string(), "CN=b.example.org,O=SPIRE,C=US");
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap();
    let expected = KeyUsage::DIGITAL_SIGNATURE.and(KeyUsage::KEY_ENCIPHERMENT).and(KeyUsage::KEY_AGREEMENT);
    assert_eq!(usage, expected);
    assert!(!usage.contains(KeyUsage::KEY_CERT_SIGN));
    assert_eq!(leaf.extended_key_usages(), [rfc5280::ID_KP_SERVER_AUTH, rfc5280::ID_KP_CLIENT_AUTH]);
    assert_eq!(leaf.not_after().duration_since(leaf.not_before()).unwrap(), Duration::from_secs(610));
    let root = only(include_str!("../../../tests/data/ca-self-signed.pem"));
    assert_eq!(leaf.authority_key_id(), root.subject_key_id());
    assert_eq!(leaf.issuer_der(), root.subject_der());
}

#[test]
fn reads_what_an_authority_says() {
    let root = only(include_str!("../../../tests/data/ca-self-signed.pem"));
    assert!(root.is_ca());
    assert_eq!(root.key_usage(), Some(KeyUsage::KEY_CERT_SIGN.and(KeyUsage::CRL_SIGN)));
    assert_eq!(root.authority_key_id(), None);
    assert_eq!(root.extended_key_usages(), []);
    assert_eq!(root.serial_hex(), "1646482ac35dfa918eb583985ed9f01c");
    assert_eq!(root.serial_decimal(), "29607940408903065950321920228539887644");
    assert_eq!(root.subject_string(), "SERIALNUMBER=29607940408903065950321920228539887644,O=SPIFFE,C=US");
    assert_eq!(root.not_before(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_538_886));
    assert_eq!(root.public_key().unwrap().spki_der(), root.spki_der());
    assert_eq!(
        format!("{root:?}"),
        "Certificate { subject: \"SERIALNUMBER=29607940408903065950321920228539887644,O=SPIFFE,C=US\", serial: \
         \"1646482ac35dfa918eb583985ed9f01c\", uris: [\"spiffe://example.org\"], .. }"
    );
}

#[test]
fn both_ends_belong_to_the_validity() {
    let leaf = only(include_str!("../../../tests/data/minted.pem"));
    let second = Duration::from_secs(1);
    assert!(!leaf.is_valid_at(leaf.not_before() - second));
    assert!(leaf.is_valid_at(leaf.not_before()));
    assert!(leaf.is_valid_at(leaf.not_after()));
    assert!(!leaf.is_valid_at(leaf.not_after() + second));
}

#[test]
fn pem_and_concatenated_der_lead_back() {
    let text = include_str!("../../../tests/data/downstream-minted.pem");
    let chain = parse_pem(text).unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(x509::to_pem(&chain), text);
    let concatenated: Vec<u8> = chain.iter().flat_map(|certificate| certificate.der()).copied().collect();
    assert_eq!(parse_chain_der(&concatenated).unwrap(), chain);
    assert_eq!(parse_chain_der(b"").unwrap(), []);
}

#[test]
fn refuses_what_is_no_certificate() {
    for garbage in [b"".as_slice(), b"garbage", b"\x30\x00", b"\x30\x80\x00\x00"] {
        assert_eq!(Certificate::from_der(garbage).unwrap_err().to_string(), "x509: malformed certificate");
    }
    let leaf = only(include_str!("../../../tests/data/minted.pem"));
    let trailing = [leaf.der(), b"\0"].concat();
    assert!(Certificate::from_der(&trailing).is_err());
    assert!(parse_chain_der(&trailing).is_err());
    assert_eq!(Certificate::from_der(&vec![0; x509::MAX_CERTIFICATE_LEN + 1]).unwrap_err(), X509Error::TooLong);
    assert_eq!(parse_chain_der(&vec![0; x509::MAX_CHAIN_LEN + 1]).unwrap_err(), X509Error::TooLong);
    let key = pem::encode("PRIVATE KEY", b"x");
    assert!(matches!(parse_pem(&key), Err(X509Error::Pem(pem::PemError::UnexpectedLabel { .. }))));
    assert_eq!(parse_pem("").unwrap_err().to_string(), "no PEM blocks");
}

#[test]
fn prints_numbers_of_any_size_in_decimal() {
    assert_eq!(decimal(b""), "0");
    assert_eq!(decimal(&[1]), "1");
    assert_eq!(decimal(&1_000_000_000_u32.to_be_bytes()), "1000000000");
    assert_eq!(decimal(&u64::MAX.to_be_bytes()), u64::MAX.to_string());
    assert_eq!(decimal(&u128::MAX.to_be_bytes()), u128::MAX.to_string());
    let hundred_and_sixty_bits = "1461501637330902918203684832716283019655932542975";
    assert_eq!(decimal(&[0xff; 20]), hundred_and_sixty_bits);
}

#[test]
fn negative_and_endless_serials_are_refused() {
    assert!(unsigned(IntRef::new(&[0x80]).unwrap()).is_err());
    assert!(unsigned(IntRef::new(&[1; 65]).unwrap()).is_err());
    assert_eq!(unsigned(IntRef::new(&[0]).unwrap()).unwrap(), b"");
    assert_eq!(unsigned(IntRef::new(&[0, 0x80]).unwrap()).unwrap(), [0x80]);
}

proptest! {
    #[test]
    fn decimal_is_right_for_every_number_of_128_bits(number: u128) {
        prop_assert_eq!(decimal(&number.to_be_bytes()), number.to_string());
    }

    #[test]
    fn reading_answers_a_certificate_with_damage(at in 0..600_usize, value: u8, cut in 0..600_usize) {
        let mut der = only(include_str!("../../../tests/data/minted-dns.pem")).der().to_vec();
        let at = at % der.len();
        der[at] = value;
        let _ = Certificate::from_der(&der).map(|certificate| {
            let _ = (certificate.subject_string(), certificate.serial_decimal(), certificate.public_key());
        });
        let _ = Certificate::from_der(&der[..cut % der.len()]);
    }

    #[test]
    fn reading_answers_any_bytes(bytes: Vec<u8>) {
        let _ = Certificate::from_der(&bytes);
        let _ = parse_chain_der(&bytes);
    }
}
