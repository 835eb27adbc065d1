//! Addresses of Workload APIs. What is accepted is a socket that can be, and written with every byte percent-encoded it
//! is the same one.
#![no_main]

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use steeple_spiffe::workload_api::Endpoint;

fuzz_target!(|uri: &str| {
    let Ok(endpoint) = Endpoint::parse(uri) else { return };
    assert!(uri.len() <= Endpoint::MAX_LEN);
    match &endpoint {
        Endpoint::Tcp(address) => {
            assert_ne!(address.port(), 0);
            assert_eq!(Endpoint::parse(&endpoint.to_string()).as_ref(), Ok(&endpoint));
        }
        Endpoint::Unix(path) => {
            let bytes = path.as_os_str().as_bytes();
            assert!(path.is_absolute() && !bytes.contains(&0));
            let mut encoded = "unix:///".to_owned();
            for byte in &bytes[1..] {
                write!(encoded, "%{byte:02X}").expect("a string");
            }
            if encoded.len() <= Endpoint::MAX_LEN {
                assert_eq!(Endpoint::parse(&encoded).as_ref(), Ok(&endpoint));
            }
        }
    }
});
