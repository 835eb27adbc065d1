//! PEM: bundles of certificates, and private keys. What is accepted is written and read back to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_pki::PrivateKey;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::bundle::pem;

fuzz_target!(|text: &str| {
    let trust_domain = TrustDomain::parse("example.org").expect("a name");
    if let Ok(bundle) = pem::parse(&trust_domain, text) {
        assert_eq!(pem::parse(&trust_domain, &pem::marshal(&bundle)), Ok(bundle));
    }
    if let Ok(blocks) = steeple_spiffe::pem::parse(text) {
        assert!(!blocks.is_empty());
    }
    if let Ok(key) = PrivateKey::from_pem(text) {
        let again = PrivateKey::from_pem(&key.to_pkcs8_pem().expect("a key")).expect("our own form");
        assert_eq!(again.public_key(), key.public_key());
    }
});
