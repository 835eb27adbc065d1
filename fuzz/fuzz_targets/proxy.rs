//! `HTTPS_PROXY`, and behind the first newline `NO_PROXY`. This host is reached directly whatever they say, and so is
//! every host that an exception names as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_transport::dial::Proxy;

fuzz_target!(|text: &str| {
    let (https, no) = text.split_once('\n').unwrap_or((text, ""));
    let proxy = Proxy::new(https.to_owned(), no);
    for host in ["localhost", "127.0.0.1", "127.8.9.10", "::1", "[::1]"] {
        assert_eq!(proxy.of(host, 8081), None, "{host}");
    }
    for host in ["server.test", "a.b.server.test", "192.0.2.1", "2001:db8::1", no] {
        let _ = proxy.of(host, 8081);
    }
    for host in ["server.test", "192.0.2.1", "2001:db8::1"] {
        let excepted = Proxy::new(https.to_owned(), &format!("{no},{host}"));
        assert_eq!(excepted.of(host, 8081), None, "{host}");
        // What is excepted already stays so when the list grows.
        if proxy.of("other.test", 8081).is_none() {
            assert_eq!(excepted.of("other.test", 8081), None);
        }
    }
    assert_eq!(Proxy::none().of("server.test", 8081), None);
});
