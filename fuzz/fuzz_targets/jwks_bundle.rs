//! Bundle documents and maps of them. What is accepted by either mode is written and read back to the same bundle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::bundle::jwks::{self, Mode, Options};
use steeple_spiffe::bundle::map;

fuzz_target!(|document: &[u8]| {
    let trust_domain = TrustDomain::parse("example.org").expect("a name");
    let options = Options { wit_authorities: true, ..Options::default() };
    let strict = jwks::parse(&trust_domain, document, Mode::Strict);
    let standard = jwks::parse(&trust_domain, document, Mode::Standard);
    for bundle in strict.iter().chain(&standard) {
        let written = jwks::marshal(bundle, options);
        assert_eq!(jwks::parse(&trust_domain, &written, Mode::Strict).as_ref(), Ok(bundle));
    }
    if strict.is_ok() {
        assert_eq!(strict, standard, "what the strict mode takes, the standard takes too");
    }
    if let Ok(bundle) = jwks::parse_jwt_keys_document(&trust_domain, document) {
        let read = jwks::parse_jwt_keys_document(&trust_domain, &jwks::jwt_keys_document(&bundle));
        assert_eq!(read, Ok(bundle));
    }
    if let Ok(set) = map::parse(document) {
        assert_eq!(map::parse(&map::marshal(&set)), Ok(set));
    }
});
