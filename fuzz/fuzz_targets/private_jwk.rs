//! Private keys as JWKs. What is accepted is written and read back to the same key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_pki::PrivateKey;

fuzz_target!(|json: &str| {
    if let Ok(key) = PrivateKey::from_jwk(json) {
        let again = PrivateKey::from_jwk(&key.to_jwk().expect("a key")).expect("our own form");
        assert_eq!(again.public_key(), key.public_key());
    }
});
