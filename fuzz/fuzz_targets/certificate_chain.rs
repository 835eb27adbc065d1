//! Concatenated DER certificates, as the Workload API has them, and their verification. What is accepted survives PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::verify_x509_svid;
use steeple_spiffe::x509::{self, X509Svid, parse_chain_der, parse_pem};

fuzz_target!(|der: &[u8]| {
    let Ok(chain) = parse_chain_der(der) else { return };
    let concatenated: Vec<u8> = chain.iter().flat_map(|certificate| certificate.der()).copied().collect();
    assert_eq!(concatenated, der);
    if let Some(leaf) = chain.first() {
        assert_eq!(parse_pem(&x509::to_pem(&chain)).as_ref(), Ok(&chain));
        let _ = (leaf.subject_string(), leaf.serial_decimal(), leaf.public_key(), leaf.spiffe_id());
        let _ = verify_x509_svid(&chain, &chain[1..], leaf.not_before());
        let _ = verify_x509_svid(&chain, &chain, leaf.not_after());
    }
    assert!(X509Svid::new(chain, b"no key".to_vec().into()).is_err());
});
