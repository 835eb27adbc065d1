use std::sync::Arc;

use proptest::prelude::*;
use steeple_spiffe::x509::KeyUsage;
use steeple_spiffe::{X509Error, verify_x509_svid};

use super::*;
use crate::{KeyType, LocalSigner, PrivateKey, SignError};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn signer() -> LocalSigner {
    LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()))
}

fn template(kind: Kind, id: &str) -> Template {
    Template {
        serial: Serial::random().unwrap(),
        subject: Name::try_from(&svid_subject()).unwrap(),
        uri_san: Some(SpiffeId::parse(id).unwrap()),
        dns_sans: vec![],
        not_before: at(1_000),
        not_after: at(2_000),
        kind,
        policies: vec![],
        extra_extensions: vec![],
    }
}

#[tokio::test]
async fn times_are_cut_to_the_second_and_may_lie_behind_2049() {
    let mut template = template(Kind::Ca, "spiffe://example.org");
    template.not_before = at(1_000) + Duration::from_millis(999);
    template.not_after = at(4_000_000_000) + Duration::from_nanos(1);
    let certificate = self_signed(&template, &signer()).await.unwrap();
    assert_eq!(certificate.not_before(), at(1_000));
    assert_eq!(certificate.not_after(), at(4_000_000_000));
    template.not_before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert!(matches!(self_signed(&template, &signer()).await, Err(PkiError::Encoding(_))));
}

#[tokio::test]
async fn names_are_critical_when_there_is_no_subject() {
    let mut template = template(Kind::Svid, "spiffe://example.org/a");
    let signer = signer();
    let usual = self_signed(&template, &signer).await.unwrap();
    template.subject = Name::try_from(&Subject::default()).unwrap();
    let bare = self_signed(&template, &signer).await.unwrap();
    let critical = b"\x06\x03\x55\x1d\x11\x01\x01\xff\x04";
    let holds = |certificate: &Certificate| certificate.der().windows(critical.len()).any(|window| window == critical);
    assert!(!holds(&usual));
    assert!(holds(&bare));
}

#[tokio::test]
async fn an_extra_extension_takes_the_place_of_our_own() {
    let mut template = template(Kind::Ca, "spiffe://example.org");
    let names = subject_alt_name(&["extra.test".into()], None).unwrap().unwrap();
    template.extra_extensions = vec![extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, false, names)];
    let certificate = self_signed(&template, &signer()).await.unwrap();
    assert_eq!(certificate.dns_sans(), ["extra.test"]);
    assert!(certificate.uri_sans().is_empty());
}

#[tokio::test]
async fn policies_are_written_as_policies() {
    let mut template = template(Kind::Ca, "spiffe://example.org");
    template.policies = vec![ObjectIdentifier::new_unwrap("1.2.3"), ObjectIdentifier::new_unwrap("1.2.4")];
    let certificate = self_signed(&template, &signer()).await.unwrap();
    let written = b"\x06\x03\x55\x1d\x20\x04\x0e\x30\x0c\x30\x04\x06\x02\x2a\x03\x30\x04\x06\x02\x2a\x04";
    assert!(certificate.der().windows(written.len()).any(|window| window == written));
}

#[tokio::test]
async fn a_dns_name_that_is_not_ascii_is_refused() {
    let mut template = template(Kind::Svid, "spiffe://example.org/a");
    template.dns_sans = vec!["café.test".into()];
    assert!(matches!(self_signed(&template, &signer()).await, Err(PkiError::Encoding(_))));
}

#[tokio::test]
async fn an_svid_below_a_new_authority_verifies_for_every_type_of_key() {
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
        let authority = LocalSigner(Arc::new(PrivateKey::generate(key_type).unwrap()));
        let root = self_signed(&template(Kind::Ca, "spiffe://example.org"), &authority).await.unwrap();
        let workload = PrivateKey::generate(KeyType::EcP384).unwrap();
        let template = template(Kind::Svid, "spiffe://example.org/a");
        let svid = issue(&template, workload.public_key(), &Issuer::new(&root, &authority)).await.unwrap();
        assert_eq!(svid.serial_decimal(), template.serial.to_string());
        assert_eq!(verify_x509_svid(&[svid], &[root], at(1_500)).unwrap().path(), "/a");
    }
}

#[tokio::test]
async fn a_failing_signer_fails_the_issue() {
    #[derive(Debug)]
    struct Gone(LocalSigner);

    #[async_trait::async_trait]
    impl Signer for Gone {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            self.0.algorithm()
        }

        async fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
            Err(SignError::other("the key is gone"))
        }
    }

    let error = self_signed(&template(Kind::Ca, "spiffe://example.org"), &Gone(signer())).await.unwrap_err();
    assert_eq!(error.to_string(), "the key is gone");
}

#[tokio::test]
async fn what_another_key_signed_does_not_verify() {
    let (authority, stranger) = (signer(), signer());
    let root = self_signed(&template(Kind::Ca, "spiffe://example.org"), &authority).await.unwrap();
    let leaf = template(Kind::Svid, "spiffe://example.org/a");
    let svid = issue(&leaf, stranger.public_key(), &Issuer::new(&root, &stranger)).await.unwrap();
    assert_eq!(verify_x509_svid(&[svid], &[root], at(1_500)).unwrap_err(), X509Error::UnknownAuthority);
}

#[test]
fn serials_are_never_zero_and_fill_128_bits() {
    assert_eq!(Serial::new(0), None);
    assert_eq!(Serial::new(u128::MAX).unwrap().to_string(), u128::MAX.to_string());
    let serials: Vec<u128> = (0..200).map(|_| Serial::random().unwrap().0).collect();
    assert_eq!(serials.iter().fold(0, |seen, serial| seen | serial), u128::MAX);
    assert_eq!(serials.iter().fold(u128::MAX, |all, serial| all & serial), 0);
}

#[test]
fn issuing_may_move_between_threads() {
    fn is_send(_: &impl Send) {}
    let (template, signer) = (template(Kind::Ca, "spiffe://example.org"), signer());
    is_send(&self_signed(&template, &signer));
}

#[test]
fn a_name_keeps_its_bytes() {
    let subject = svid_subject();
    let name = Name::try_from(&subject).unwrap();
    assert_eq!(name.to_subject(), subject);
    assert_eq!(Name::from_der(name.as_der()).unwrap(), name);
    assert!(!name.is_empty());
    assert!(Name::from_der(b"garbage").is_err());
}

prop_compose! {
    fn any_template()(
        serial in 1..=u128::MAX,
        common_name in "[ -~]{0,12}",
        organizations in prop::collection::vec("[a-zA-Z]{1,9}", 0..3),
        path in "(/[a-zA-Z0-9_-]{1,9}){0,4}",
        dns_sans in prop::collection::vec("[a-z*-]{1,9}(\\.[a-z]{1,9}){0,2}", 0..3),
        begin in 0..5_000_000_000_u64,
        ttl in 0..5_000_000_000_u64,
        is_ca: bool,
        policies in prop::collection::vec(1..40_u32, 0..3),
    ) -> Template {
        let subject = Subject { common_name, organizations, ..Subject::default() };
        Template {
            serial: Serial::new(serial).unwrap(),
            subject: Name::try_from(&subject).unwrap(),
            uri_san: Some(SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()),
            dns_sans,
            not_before: at(begin),
            not_after: at(begin + ttl),
            kind: if is_ca { Kind::Ca } else { Kind::Svid },
            policies: policies.iter().map(|n| format!("1.2.{n}").parse().unwrap()).collect(),
            extra_extensions: vec![],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn certificates_survive_the_round_trip(template in any_template()) {
        let (authority, workload) = (signer(), signer());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let root = runtime.block_on(self_signed(&self::template(Kind::Ca, "spiffe://example.org"), &authority)).unwrap();
        let issuer = Issuer::new(&root, &authority);
        let made = runtime.block_on(issue(&template, workload.public_key(), &issuer)).unwrap();
        let read = Certificate::from_der(made.der()).unwrap();
        prop_assert_eq!(&read, &made);
        let Template { serial, subject, uri_san, dns_sans, not_before, not_after, kind, policies: _, extra_extensions: _ } =
            template;
        prop_assert_eq!(read.serial_decimal(), serial.to_string());
        prop_assert_eq!(read.subject_der(), subject.as_der());
        prop_assert_eq!(read.subject(), subject.to_subject());
        prop_assert_eq!(read.issuer_der(), root.subject_der());
        prop_assert_eq!(read.spiffe_id().ok(), uri_san);
        prop_assert_eq!(read.dns_sans(), dns_sans);
        prop_assert_eq!((read.not_before(), read.not_after()), (not_before, not_after));
        prop_assert_eq!(read.is_ca(), kind == Kind::Ca);
        prop_assert_eq!(read.key_usage().unwrap().contains(KeyUsage::KEY_CERT_SIGN), kind == Kind::Ca);
        prop_assert_eq!(read.authority_key_id(), root.subject_key_id());
        prop_assert_eq!(&read.public_key().unwrap(), workload.public_key());
        prop_assert_eq!(steeple_spiffe::x509::parse_pem(&read.to_pem()).unwrap(), vec![made]);
    }
}
