//! Chains that nobody should issue, made here, are refused by the room that verifies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use steeple_pki::certificate::svid_subject;
use steeple_pki::{
    Extension, Issuer, KeyType, Kind, LocalSigner, Name, ObjectIdentifier, PrivateKey, Serial, Signer, Subject,
    Template, issue, self_signed,
};
use steeple_spiffe::x509::{self, X509Svid};
use steeple_spiffe::{
    Bundle, BundleSet, Certificate, SpiffeId, TrustDomain, X509Error, verify_x509_svid, verify_x509_svid_in,
};

const ID: &str = "spiffe://example.org/a";
const KEY_USAGE: &str = "2.5.29.15";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const ALT_NAME: &str = "2.5.29.17";

struct Authority {
    certificate: Certificate,
    signer: LocalSigner,
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn signer() -> LocalSigner {
    LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()))
}

fn template(kind: Kind) -> Template {
    let serial = Serial::random().unwrap();
    let subject = match kind {
        Kind::Ca => Subject { serial_number: serial.to_string(), ..svid_subject() },
        Kind::Svid => svid_subject(),
    };
    Template {
        serial,
        subject: Name::try_from(&subject).unwrap(),
        uri_san: Some(SpiffeId::parse(if kind == Kind::Ca { "spiffe://example.org" } else { ID }).unwrap()),
        dns_sans: vec![],
        not_before: at(1_000),
        not_after: at(2_000),
        kind,
        policies: vec![],
        extra_extensions: vec![],
    }
}

fn with(oid: &str, critical: bool, value: &[u8]) -> Template {
    let extension = Extension { oid: ObjectIdentifier::new_unwrap(oid), critical, value: value.into() };
    Template { extra_extensions: vec![extension], ..template(Kind::Svid) }
}

async fn root(template: &Template) -> Authority {
    let signer = signer();
    Authority { certificate: self_signed(template, &signer).await.unwrap(), signer }
}

impl Authority {
    async fn issue(&self, template: &Template, key: &LocalSigner) -> Certificate {
        issue(template, key.public_key(), &Issuer::new(&self.certificate, &self.signer)).await.unwrap()
    }

    async fn below(&self, template: &Template) -> Authority {
        let signer = signer();
        Authority { certificate: self.issue(template, &signer).await, signer }
    }

    /// What a verifier says about a leaf of this authority.
    async fn verdict(&self, template: &Template) -> Result<SpiffeId, X509Error> {
        let leaf = self.issue(template, &signer()).await;
        verify_x509_svid(&[leaf], std::slice::from_ref(&self.certificate), at(1_500))
    }
}

#[tokio::test]
async fn leaves_that_break_the_standard_are_refused() {
    let root = root(&template(Kind::Ca)).await;
    assert!(root.verdict(&template(Kind::Svid)).await.is_ok());

    let no_uri = Template { uri_san: None, ..template(Kind::Svid) };
    assert_eq!(root.verdict(&no_uri).await, Err(X509Error::NoUri));
    let uri = |text: &str| [&[0x86, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let names = |uris: &[&str]| {
        let names = uris.iter().flat_map(|text| uri(text)).collect::<Vec<u8>>();
        [&[0x30, u8::try_from(names.len()).unwrap()], names.as_slice()].concat()
    };
    let two = with(ALT_NAME, false, &names(&["spiffe://a.test/x", "spiffe://a.test/y"]));
    assert_eq!(root.verdict(&two).await, Err(X509Error::SeveralUris));
    let http = with(ALT_NAME, false, &names(&["https://a.test/x"]));
    assert!(matches!(root.verdict(&http).await, Err(X509Error::Id(_))));

    let authority = with(BASIC_CONSTRAINTS, true, b"\x30\x03\x01\x01\xff");
    assert_eq!(root.verdict(&authority).await, Err(X509Error::LeafIsCa));
    let cert_sign = with(KEY_USAGE, true, b"\x03\x02\x02\x84");
    assert_eq!(root.verdict(&cert_sign).await, Err(X509Error::LeafKeyUsage("KeyCertSign")));
    let crl_sign = with(KEY_USAGE, true, b"\x03\x02\x01\x82");
    assert_eq!(root.verdict(&crl_sign).await, Err(X509Error::LeafKeyUsage("KeyCrlSign")));
    let unknown = with("1.2.3.4", true, b"\x05\x00");
    assert!(matches!(root.verdict(&unknown).await, Err(X509Error::Path(_))));
}

#[tokio::test]
async fn a_leaf_with_the_id_of_a_trust_domain_is_refused() {
    let root = root(&template(Kind::Ca)).await;
    let id = SpiffeId::parse("spiffe://example.org").unwrap();
    let bare = Template { uri_san: Some(id.clone()), ..template(Kind::Svid) };
    assert_eq!(root.verdict(&bare).await, Err(X509Error::LeafWithoutPath(id.clone())));
    let key = signer();
    let leaf = root.issue(&bare, &key).await;
    let error = X509Svid::parse(leaf.der(), &key.0.to_pkcs8_der().unwrap()).unwrap_err();
    assert_eq!(error, X509Error::LeafWithoutPath(id));
}

#[tokio::test]
async fn an_x509_svid_that_was_changed_is_refused() {
    let root = root(&template(Kind::Ca)).await;
    let key = signer();
    let leaf = root.issue(&template(Kind::Svid), &key).await;
    let verdict = |der: &[u8]| {
        let leaf = Certificate::from_der(der).unwrap();
        verify_x509_svid(&[leaf], std::slice::from_ref(&root.certificate), at(1_500))
    };
    assert!(verdict(leaf.der()).is_ok());
    let replaced = |from: &[u8], to: &[u8]| {
        let start = leaf.der().windows(from.len()).position(|window| window == from).unwrap();
        [&leaf.der()[..start], to, &leaf.der()[start + from.len()..]].concat()
    };
    let other_id = replaced(ID.as_bytes(), ID.replace("/a", "/b").as_bytes());
    assert_eq!(verdict(&other_id), Err(X509Error::UnknownAuthority));
    let other_key = replaced(key.public_key().spki_der(), signer().public_key().spki_der());
    assert_eq!(verdict(&other_key), Err(X509Error::UnknownAuthority));
}

#[tokio::test]
async fn a_leaf_may_have_other_names_beside_its_spiffe_id() {
    let root = root(&template(Kind::Ca)).await;
    let named = Template { dns_sans: vec!["a.test".into(), "b.test".into()], ..template(Kind::Svid) };
    assert_eq!(root.verdict(&named).await.unwrap().as_str(), ID);
}

/// Basic constraints of a CA with a path length.
fn with_length(length: u8) -> Template {
    let extension = Extension {
        oid: ObjectIdentifier::new_unwrap(BASIC_CONSTRAINTS),
        critical: true,
        value: [b"\x30\x06\x01\x01\xff\x02\x01", [length].as_slice()].concat(),
    };
    Template { extra_extensions: vec![extension], ..template(Kind::Ca) }
}

#[tokio::test]
async fn a_path_longer_than_an_authority_allows_is_refused() {
    let root = root(&template(Kind::Ca)).await;
    let last = root.below(&with_length(0)).await;
    let leaf = last.issue(&template(Kind::Svid), &signer()).await;
    let roots = [root.certificate];
    assert!(verify_x509_svid(&[leaf, last.certificate.clone()], &roots, at(1_500)).is_ok());
    let below = last.below(&template(Kind::Ca)).await;
    let leaf = below.issue(&template(Kind::Svid), &signer()).await;
    let chain = [leaf, below.certificate.clone(), last.certificate.clone()];
    assert!(matches!(verify_x509_svid(&chain, &roots, at(1_500)), Err(X509Error::Path(_))));
}

#[tokio::test]
async fn a_root_with_a_path_length_below_zero_is_no_certificate() {
    assert!(self_signed(&with_length(0x80), &signer()).await.is_err());
    assert!(self_signed(&with_length(0x7f), &signer()).await.is_ok());
}

#[tokio::test]
async fn the_path_length_of_a_root_counts_too() {
    for (length, is_allowed) in [(0, false), (1, true), (2, true)] {
        let root = root(&with_length(length)).await;
        assert_eq!(root.certificate.path_len(), Some(length));
        assert!(root.verdict(&template(Kind::Svid)).await.is_ok());
        let middle = root.below(&template(Kind::Ca)).await;
        let chain = [middle.issue(&template(Kind::Svid), &signer()).await, middle.certificate.clone()];
        let verdict = verify_x509_svid(&chain, std::slice::from_ref(&root.certificate), at(1_500));
        assert_eq!(verdict.is_ok(), is_allowed, "{length}: {verdict:?}");
        // Where another certificate of the same authority allows it, it is allowed.
        let longer = self_signed(&template(Kind::Ca), &root.signer).await.unwrap();
        let other = Template { subject: Name::from_der(root.certificate.subject_der()).unwrap(), ..template(Kind::Ca) };
        let same = self_signed(&other, &root.signer).await.unwrap();
        assert!(verify_x509_svid(&chain, &[root.certificate, longer, same], at(1_500)).is_ok());
    }
}

#[tokio::test]
async fn a_name_outside_of_its_authoritys_constraints_is_refused() {
    // Name constraints that permit DNS names below a.test alone.
    let extension = Extension {
        oid: ObjectIdentifier::new_unwrap("2.5.29.30"),
        critical: true,
        value: b"\x30\x0c\xa0\x0a\x30\x08\x82\x06a.test".into(),
    };
    let root = root(&Template { extra_extensions: vec![extension], ..template(Kind::Ca) }).await;
    let named = |name: &str| Template { dns_sans: vec![name.into()], ..template(Kind::Svid) };
    assert!(root.verdict(&named("x.a.test")).await.is_ok());
    assert!(matches!(root.verdict(&named("b.test")).await, Err(X509Error::Path(_))));
}

/// Name constraints that permit URIs with the first host alone, or exclude those with the second one.
fn uri_constraints(permitted: Option<&str>, excluded: Option<&str>) -> Template {
    let wrap = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
    let subtrees = |tag: u8, host: &str| wrap(tag, &wrap(0x30, &wrap(0x86, host.as_bytes())));
    let permitted = permitted.map(|host| subtrees(0xa0, host)).unwrap_or_default();
    let excluded = excluded.map(|host| subtrees(0xa1, host)).unwrap_or_default();
    let value = wrap(0x30, &[permitted, excluded].concat());
    let extension = Extension { oid: ObjectIdentifier::new_unwrap("2.5.29.30"), critical: true, value };
    Template { extra_extensions: vec![extension], ..template(Kind::Ca) }
}

#[tokio::test]
async fn an_id_lies_within_the_uri_constraints_of_its_authority_or_is_refused() {
    for (permitted, excluded, is_allowed) in [
        (Some("example.org"), None, true),
        (Some("other.test"), None, false),
        (Some(".org"), None, true),
        (Some(".example.org"), None, false),
        (None, Some("other.test"), true),
        (None, Some("example.org"), false),
        (Some(".org"), Some("example.org"), false),
    ] {
        let root = root(&uri_constraints(permitted, excluded)).await;
        let verdict = root.verdict(&template(Kind::Svid)).await;
        let middle = root.below(&template(Kind::Ca)).await;
        let chain = [middle.issue(&template(Kind::Svid), &signer()).await, middle.certificate.clone()];
        let through = verify_x509_svid(&chain, std::slice::from_ref(&root.certificate), at(1_500));
        for verdict in [verdict, through] {
            match verdict {
                Ok(_) => assert!(is_allowed, "{permitted:?} {excluded:?}"),
                Err(error) => {
                    assert!(!is_allowed && matches!(error, X509Error::Path(_)), "{permitted:?} {excluded:?}: {error}");
                }
            }
        }
    }
    // What lies between must keep to them as well.
    let root = root(&uri_constraints(Some("example.org"), None)).await;
    let other = Template { uri_san: Some(SpiffeId::parse("spiffe://other.test").unwrap()), ..template(Kind::Ca) };
    let middle = root.below(&other).await;
    let chain = [middle.issue(&template(Kind::Svid), &signer()).await, middle.certificate];
    assert!(matches!(verify_x509_svid(&chain, &[root.certificate], at(1_500)), Err(X509Error::Path(_))));
}

#[tokio::test]
async fn uri_constraints_that_come_with_a_chain_are_refused_as_such() {
    let root = root(&template(Kind::Ca)).await;
    let middle = root.below(&uri_constraints(Some("example.org"), None)).await;
    let leaf = middle.issue(&template(Kind::Svid), &signer()).await;
    let chain = [leaf, middle.certificate.clone()];
    let error = verify_x509_svid(&chain, &[root.certificate], at(1_500)).unwrap_err();
    assert_eq!(error, X509Error::UriConstraints);
    assert_eq!(
        error.to_string(),
        "x509: name constraints for URIs are not supported below the authorities of the bundle"
    );
    // The same certificate in the bundle is one that is known.
    assert!(verify_x509_svid(&chain[..1], &[middle.certificate], at(1_500)).is_ok());
}

#[tokio::test]
async fn authorities_below_an_upstream_root_vouch_through_their_chain() {
    let upstream = root(&template(Kind::Ca)).await;
    let between = upstream.below(&template(Kind::Ca)).await;
    let own = between.below(&template(Kind::Ca)).await;
    let downstream = own.below(&template(Kind::Ca)).await;
    let leaf = downstream.issue(&template(Kind::Svid), &signer()).await;
    let chain = [leaf, downstream.certificate.clone(), own.certificate.clone(), between.certificate.clone()];
    let roots = [upstream.certificate.clone()];
    assert_eq!(verify_x509_svid(&chain, &roots, at(1_500)).unwrap().as_str(), ID);
    // One that is missing breaks the chain, whichever it is; the root itself may stand in it.
    for without in 1..chain.len() {
        let rest: Vec<Certificate> =
            chain.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, c)| c.clone()).collect();
        assert_eq!(verify_x509_svid(&rest, &roots, at(1_500)), Err(X509Error::UnknownAuthority), "{without}");
    }
    let with_root = [&chain[..], &roots[..]].concat();
    assert!(verify_x509_svid(&with_root, &roots, at(1_500)).is_ok());
    let svid = X509Svid::new(chain.to_vec(), signer().0.to_pkcs8_der().unwrap());
    assert_eq!(svid.unwrap_err(), X509Error::KeyMismatch);
}

#[tokio::test]
async fn while_authorities_rotate_those_of_old_and_new_are_accepted_and_of_a_removed_one_no_more() {
    let (old, new) = (root(&template(Kind::Ca)).await, root(&template(Kind::Ca)).await);
    let below_old = [old.issue(&template(Kind::Svid), &signer()).await];
    let below_new = [new.issue(&template(Kind::Svid), &signer()).await];
    let both = [old.certificate.clone(), new.certificate.clone()];
    for chain in [&below_old, &below_new] {
        assert!(verify_x509_svid(chain, &both, at(1_500)).is_ok());
    }
    assert_eq!(verify_x509_svid(&below_old, &both[1..], at(1_500)), Err(X509Error::UnknownAuthority));
}

#[tokio::test]
async fn a_bundle_without_authorities_vouches_for_nobody() {
    let root = root(&template(Kind::Ca)).await;
    let chain = [root.issue(&template(Kind::Svid), &signer()).await];
    let empty = BundleSet::from_iter([Bundle::new(TrustDomain::parse("example.org").unwrap())]);
    assert_eq!(verify_x509_svid_in(&chain, &empty, at(1_500)), Err(X509Error::UnknownAuthority));
}

#[tokio::test]
async fn an_svid_that_cannot_sign_is_no_own_svid_but_verifies() {
    let root = root(&template(Kind::Ca)).await;
    let encipherment_alone = with(KEY_USAGE, true, b"\x03\x02\x05\x20");
    assert!(root.verdict(&encipherment_alone).await.is_ok());
    let key = signer();
    let leaf = root.issue(&encipherment_alone, &key).await;
    let error = X509Svid::parse(leaf.der(), &key.0.to_pkcs8_der().unwrap()).unwrap_err();
    assert_eq!(error, X509Error::LeafNotSigning);
}

#[tokio::test]
async fn any_extended_key_usage_is_accepted() {
    let root = root(&template(Kind::Ca)).await;
    let code_signing = with("2.5.29.37", false, b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x03");
    assert!(root.verdict(&code_signing).await.is_ok());
}

#[tokio::test]
async fn a_leaf_cannot_sign_another() {
    let root = root(&template(Kind::Ca)).await;
    let middle = root.below(&template(Kind::Svid)).await;
    let leaf = middle.issue(&template(Kind::Svid), &signer()).await;
    let chain = [leaf, middle.certificate.clone()];
    assert!(verify_x509_svid(&chain, &[root.certificate], at(1_500)).is_err());
}

#[tokio::test]
async fn an_intermediate_past_its_end_is_told_from_an_unknown_one() {
    let root = root(&template(Kind::Ca)).await;
    let middle = root.below(&Template { not_after: at(1_200), ..template(Kind::Ca) }).await;
    let leaf = middle.issue(&template(Kind::Svid), &signer()).await;
    let chain = [leaf, middle.certificate.clone()];
    let roots = [root.certificate];
    assert!(verify_x509_svid(&chain, &roots, at(1_100)).is_ok());
    let expected = X509Error::Expired { now: at(1_500), not_after: at(1_200) };
    assert_eq!(verify_x509_svid(&chain, &roots, at(1_500)), Err(expected));
}

#[tokio::test]
async fn an_authority_outside_its_time_is_told_from_an_unknown_one() {
    let root = root(&template(Kind::Ca)).await;
    let longer = Template { not_before: at(500), not_after: at(3_000), ..template(Kind::Svid) };
    let chain = [root.issue(&longer, &signer()).await];
    let roots = [root.certificate];
    let late = X509Error::Expired { now: at(2_500), not_after: at(2_000) };
    assert_eq!(verify_x509_svid(&chain, &roots, at(2_500)), Err(late));
    let early = X509Error::NotYetValid { now: at(600), not_before: at(1_000) };
    assert_eq!(verify_x509_svid(&chain, &roots, at(600)), Err(early));
}

#[tokio::test]
async fn an_authority_that_was_replaced_under_its_name_is_unknown() {
    let named = template(Kind::Ca);
    let (old, new) = (root(&named).await, root(&named).await);
    let chain = [new.issue(&template(Kind::Svid), &signer()).await];
    assert_eq!(
        verify_x509_svid(&chain, std::slice::from_ref(&old.certificate), at(1_500)),
        Err(X509Error::UnknownAuthority)
    );
    let of_another_type = LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP384).unwrap()));
    let older = self_signed(&named, &of_another_type).await.unwrap();
    assert_eq!(verify_x509_svid(&chain, std::slice::from_ref(&older), at(1_500)), Err(X509Error::UnknownAuthority));
    assert!(verify_x509_svid(&chain, &[older, old.certificate, new.certificate], at(1_500)).is_ok());
}

#[tokio::test]
async fn a_chain_that_is_no_svid_can_be_verified_too() {
    let root = root(&template(Kind::Ca)).await;
    let node = root.issue(&Template { uri_san: None, ..template(Kind::Svid) }, &signer()).await;
    assert!(x509::verify_chain(&[node], &[root.certificate], at(1_500)).is_ok());
}

fn der(chain: &[Certificate]) -> Vec<u8> {
    chain.iter().flat_map(|certificate| certificate.der()).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Through the bytes that the Workload API has for one.
    #[test]
    fn x509_svids_survive_the_round_trip(
        path in "(/[a-zA-Z0-9_-]{1,9}){1,4}",
        intermediates in 0..3_usize,
        key_type in prop_oneof![Just(KeyType::EcP256), Just(KeyType::EcP384)],
        cut in 1..3_000_usize,
    ) {
        let id = SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let key = LocalSigner(Arc::new(PrivateKey::generate(key_type).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (root, chain) = runtime.block_on(async {
            let mut authorities = vec![root(&template(Kind::Ca)).await];
            for above in 0..intermediates {
                authorities.push(authorities[above].below(&template(Kind::Ca)).await);
            }
            let template = Template { uri_san: Some(id.clone()), ..template(Kind::Svid) };
            let leaf = authorities[intermediates].issue(&template, &key).await;
            let mut above = authorities.into_iter().map(|authority| authority.certificate);
            let root = above.next().unwrap();
            (root, std::iter::once(leaf).chain(above.rev()).collect::<Vec<_>>())
        });
        let (bytes, key) = (der(&chain), key.0.to_pkcs8_der().unwrap());

        let read = X509Svid::parse(&bytes, &key).unwrap();
        prop_assert_eq!(&read.id, &id);
        prop_assert_eq!(&read.chain, &chain);
        prop_assert_eq!(&read.key_pkcs8, &key);
        prop_assert_eq!(der(&read.chain), bytes.as_slice());
        prop_assert_eq!(verify_x509_svid(&read.chain, &[root], at(1_500)), Ok(id));
        // Of a part of the bytes nothing is read but whole certificates.
        let part = &bytes[..cut % bytes.len()];
        if let Ok(shorter) = X509Svid::parse(part, &key) {
            prop_assert_eq!(der(&shorter.chain), part);
        }
        prop_assert!(X509Svid::parse(&[&bytes[..], b"\0"].concat(), &key).is_err());
    }
}
