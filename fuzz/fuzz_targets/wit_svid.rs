//! WIT-SVIDs. Validation answers whatever reading answers, and no proof is taken that nobody has signed.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::{BundleSet, TrustDomain, WitSvid, wit};

fuzz_target!(|token: &str| {
    if let Ok(svid) = WitSvid::parse_unverified(token) {
        assert_eq!(WitSvid::parse_unverified(&svid.token).as_ref(), Ok(&svid));
        assert!(svid.public_key.kind().signs_jws_with(svid.algorithm));
        assert!(!svid.claims.contains_key("aud"));
    }
    if let Ok(unproven) = wit::validate(token, &*BUNDLES, SystemTime::UNIX_EPOCH) {
        assert!(unproven.prove(b"message", token.as_bytes()).is_err());
    }
});

/// Keys by which tokens are looked up. Nobody has the private ones any more; the first inputs are mutations of what was
/// signed with others.
const DOCUMENT: &[u8] = include_bytes!("../static.test.json");

/// Signed with the key `wit`, so that there is an input that is valid.
const VALID: &str = include_str!("../corpus/wit_svid/valid");

static BUNDLES: LazyLock<BundleSet> = LazyLock::new(|| {
    let trust_domain = TrustDomain::parse("static.test").expect("a name");
    let bundles = BundleSet::from_iter(jwks::parse(&trust_domain, DOCUMENT, jwks::Mode::Standard));
    assert!(wit::validate(VALID, &bundles, SystemTime::UNIX_EPOCH).is_ok());
    bundles
});
