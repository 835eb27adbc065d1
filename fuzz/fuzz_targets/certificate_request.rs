//! Certificate requests. Whatever is accepted says what it says on a second reading too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_pki::CertificateRequest;

fuzz_target!(|der: &[u8]| {
    if let Ok(request) = CertificateRequest::parse_and_verify(der) {
        let again = CertificateRequest::parse_and_verify(der).expect("it was read before");
        assert_eq!(again.public_key, request.public_key);
        assert_eq!((again.uri_sans, again.dns_sans), (request.uri_sans, request.dns_sans));
    }
});
