//! With recorded chains. Those that nobody would issue are made and refused in the tests of the room that makes them.

use super::*;
use crate::x509::parse_pem;
use crate::{Bundle, BundleSet, TrustDomain, X509Authority, X509Svid};

const SECOND: Duration = Duration::from_secs(1);

fn minted() -> (Vec<Certificate>, Vec<Certificate>) {
    let chain = parse_pem(include_str!("../../../tests/data/minted.pem")).unwrap();
    let roots = parse_pem(include_str!("../../../tests/data/minted.roots.pem")).unwrap();
    (chain, roots)
}

fn nested() -> (Vec<Certificate>, Vec<Certificate>) {
    let chain = parse_pem(include_str!("../../../tests/data/downstream-minted.pem")).unwrap();
    let roots = parse_pem(include_str!("../../../tests/data/downstream-minted.roots.pem")).unwrap();
    (chain, roots)
}

#[test]
fn accepts_a_leaf_below_its_root() {
    let (chain, roots) = minted();
    let id = verify_x509_svid(&chain, &roots, chain[0].not_before()).unwrap();
    assert_eq!(id.as_str(), "spiffe://example.org/minted");
}

#[test]
fn accepts_a_leaf_below_two_intermediates_in_any_order() {
    let (mut chain, roots) = nested();
    let now = chain[0].not_before();
    let id = verify_x509_svid(&chain, &roots, now).unwrap();
    assert_eq!(id.as_str(), "spiffe://example.org/minted-below");
    chain.swap(1, 2);
    assert!(verify_x509_svid(&chain, &roots, now).is_ok());
}

#[test]
fn an_authority_need_not_be_self_signed() {
    let (chain, _) = nested();
    assert!(verify_x509_svid(&chain[..1], &chain[1..2], chain[0].not_before()).is_ok());
}

#[test]
fn a_missing_authority_and_a_missing_intermediate_are_unknown() {
    let (chain, roots) = nested();
    let (_, stranger) = minted();
    let now = chain[0].not_before();
    assert_eq!(verify_x509_svid(&chain, &stranger, now).unwrap_err(), X509Error::UnknownAuthority);
    assert_eq!(verify_x509_svid(&chain, &[], now).unwrap_err(), X509Error::UnknownAuthority);
    assert_eq!(verify_x509_svid(&chain[..1], &roots, now).unwrap_err(), X509Error::UnknownAuthority);
    let error = X509Error::UnknownAuthority.to_string();
    assert_eq!(error, "x509: certificate signed by unknown authority");
}

#[test]
fn time_decides_only_where_the_authority_is_known() {
    let (chain, roots) = minted();
    let (_, stranger) = nested();
    let early = chain[0].not_before() - SECOND;
    let late = chain[0].not_after() + SECOND;
    let error = verify_x509_svid(&chain, &roots, early).unwrap_err();
    assert_eq!(error, X509Error::NotYetValid { now: early, not_before: chain[0].not_before() });
    let error = verify_x509_svid(&chain, &roots, late).unwrap_err();
    assert_eq!(error, X509Error::Expired { now: late, not_after: chain[0].not_after() });
    assert_eq!(
        error.to_string(),
        "x509: certificate has expired or is not yet valid: current time 2026-11-24T17:48:18Z is after \
         2026-11-24T17:48:17Z"
    );
    let mid = chain[0].not_before();
    assert_eq!(verify_x509_svid(&chain, &stranger, mid).unwrap_err(), X509Error::UnknownAuthority);
}

#[test]
fn an_authority_past_its_end_vouches_for_nobody_but_is_known() {
    let (chain, roots) = minted();
    let (_, stranger) = nested();
    let late = roots[0].not_after() + SECOND;
    // Either the leaf's end or the authority's may be told; both are the same kind of news.
    let error = verify_x509_svid(&chain, &roots, late).unwrap_err();
    assert!(!matches!(error, X509Error::UnknownAuthority), "{error}");
    let error = verify_chain(&chain, &[stranger[0].clone(), roots[0].clone()], late).unwrap_err();
    assert!(!matches!(error, X509Error::UnknownAuthority), "{error}");
}

#[test]
fn only_the_leafs_own_trust_domain_vouches_for_it() {
    let (chain, roots) = minted();
    let now = chain[0].not_before();
    let bundle = |name: &str, root: &Certificate| {
        let mut bundle = Bundle::new(TrustDomain::parse(name).unwrap());
        bundle.x509_authorities.push(X509Authority { certificate: root.clone(), tainted: false });
        bundle
    };
    let own = BundleSet::from_iter([bundle("example.org", &roots[0])]);
    assert!(verify_x509_svid_in(&chain, &own, now).is_ok());
    let other = BundleSet::from_iter([bundle("other.test", &roots[0])]);
    let error = verify_x509_svid_in(&chain, &other, now).unwrap_err();
    assert_eq!(error.to_string(), "could not get X509 bundle: no X.509 bundle for trust domain \"example.org\" found");
    let wrong = BundleSet::from_iter([bundle("example.org", &nested().1[0]), bundle("other.test", &roots[0])]);
    assert_eq!(verify_x509_svid_in(&chain, &wrong, now).unwrap_err(), X509Error::UnknownAuthority);
    let closure = |_: &TrustDomain| Some(std::sync::Arc::new(bundle("example.org", &roots[0])));
    assert!(verify_x509_svid_in(&chain, &closure, now).is_ok());
}

#[test]
fn an_authority_is_no_svid() {
    let (chain, roots) = minted();
    let now = chain[0].not_before();
    assert_eq!(verify_x509_svid(&roots, &roots, now).unwrap_err(), X509Error::LeafIsCa);
    assert_eq!(verify_x509_svid(&[], &roots, now).unwrap_err(), X509Error::EmptyChain);
}

#[test]
fn an_svid_is_read_with_its_key_and_refused_with_another() {
    let (chain, _) = minted();
    let key = include_bytes!("../../../tests/data/minted.key.pkcs8.der");
    let svid = X509Svid::parse(chain[0].der(), key).unwrap();
    assert_eq!(svid.id.as_str(), "spiffe://example.org/minted");
    assert_eq!(svid.chain, chain);
    assert!(!format!("{svid:?}").contains("key"), "{svid:?}");

    let other = parse_pem(include_str!("../../../tests/data/minted-dns.pem")).unwrap();
    assert_eq!(X509Svid::parse(other[0].der(), key).unwrap_err(), X509Error::KeyMismatch);
    assert!(matches!(X509Svid::parse(chain[0].der(), b"key"), Err(X509Error::Key(_))));
    assert_eq!(X509Svid::parse(b"", key).unwrap_err(), X509Error::EmptyChain);
    let below_a_leaf = [chain[0].der(), other[0].der()].concat();
    let error = X509Svid::parse(&below_a_leaf, key).unwrap_err();
    assert_eq!(error.to_string(), "signing certificate must have CA flag set to true");
}

#[test]
fn authorities_of_every_kind_of_key_are_understood() {
    let chains = [
        ("P-384 with SHA-256", include_str!("../../../tests/data/foreign/ec-p384-sha256.pem")),
        ("P-521", include_str!("../../../tests/data/foreign/ec-p521.pem")),
        ("RSA 3072 with SHA-384", include_str!("../../../tests/data/foreign/rsa-3072.pem")),
        ("RSA with PSS", include_str!("../../../tests/data/foreign/rsa-pss.pem")),
        ("Ed25519", include_str!("../../../tests/data/foreign/ed25519.pem")),
    ];
    for (name, text) in chains {
        let chain = parse_pem(text).unwrap();
        let id = verify_x509_svid(&chain[..1], &chain[1..], chain[0].not_before() + SECOND);
        assert_eq!(id.unwrap().as_str(), "spiffe://example.org/foreign", "{name}");
    }
}

#[test]
fn all_paths_are_found_and_an_authority_that_was_sent_along_adds_none() {
    let (mut chain, roots) = nested();
    let now = chain[0].not_before();
    let whole: Vec<_> = chain.iter().chain(&roots).cloned().collect();
    assert_eq!(verified_paths(&chain, &roots, now).unwrap(), std::slice::from_ref(&whole));
    // Two authorities, one above the other, are two ways to end.
    let both = [roots[0].clone(), chain[2].clone()];
    let paths = verified_paths(&chain, &both, now).unwrap();
    assert_eq!(paths, [whole[..3].to_vec(), whole.clone()]);
    chain.push(roots[0].clone());
    assert_eq!(verified_paths(&chain, &roots, now).unwrap(), [whole]);
    assert_eq!(verified_paths(&chain, &[], now), Err(X509Error::UnknownAuthority));
}

#[test]
fn a_leaf_that_is_an_authority_itself_is_its_own_path() {
    let (chain, _) = minted();
    let (leaf, end) = (&chain[..1], chain[0].not_after());
    assert_eq!(verified_paths(leaf, leaf, end).unwrap(), [leaf.to_vec()]);
    assert!(matches!(verified_paths(leaf, leaf, end + SECOND), Err(X509Error::Expired { .. })));
}
