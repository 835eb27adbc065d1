//! JWT-SVIDs. Validation answers whatever reading answers, and nothing that was not signed is valid.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::{BundleSet, JwtSvid, TrustDomain, jwt};

fuzz_target!(|token: &str| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let read = JwtSvid::parse_unverified(token);
    if let Ok(svid) = &read {
        assert_eq!(JwtSvid::parse_unverified(&svid.token).as_ref(), Ok(svid));
    }
    if let Ok(valid) = jwt::validate(token, &*BUNDLES, "aud1", now) {
        assert_eq!(read, Ok(valid));
    }
});

/// Keys by which tokens are looked up. None of the corpus is signed by them: it is mutated from there.
const DOCUMENT: &[u8] = include_bytes!("../../crates/spiffe/tests/data/static.test.json");

static BUNDLES: LazyLock<BundleSet> = LazyLock::new(|| {
    let trust_domain = TrustDomain::parse("static.test").expect("a name");
    BundleSet::from_iter(jwks::parse(&trust_domain, DOCUMENT, jwks::Mode::Standard))
});
