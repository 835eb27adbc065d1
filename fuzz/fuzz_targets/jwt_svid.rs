//! JWT-SVIDs. Validation answers whatever reading answers, and nothing that was not signed is valid.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::{BundleSet, JwtSvid, TrustDomain, jwt};

fuzz_target!(|token: &str| {
    let read = JwtSvid::parse_unverified(token);
    if let Ok(svid) = &read {
        assert_eq!(JwtSvid::parse_unverified(&svid.token).as_ref(), Ok(svid));
    }
    if let Ok(valid) = jwt::validate(token, &*BUNDLES, "aud1", now()) {
        assert_eq!(read, Ok(valid));
    }
});

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Keys by which tokens are looked up. Nobody has the private ones any more; the first inputs are mutations of what was
/// signed with others.
const DOCUMENT: &[u8] = include_bytes!("../static.test.json");

/// Signed with the key `jwt`, so that there is an input that is valid.
const VALID: &str = include_str!("../corpus/jwt_svid/valid");

static BUNDLES: LazyLock<BundleSet> = LazyLock::new(|| {
    let trust_domain = TrustDomain::parse("static.test").expect("a name");
    let bundles = BundleSet::from_iter(jwks::parse(&trust_domain, DOCUMENT, jwks::Mode::Standard));
    assert!(jwt::validate(VALID, &bundles, "aud1", now()).is_ok());
    bundles
});
