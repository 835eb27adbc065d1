//! SPIFFE-ID, section 2, sentence by sentence: every byte where one byte can decide.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

use steeple_spiffe::{SpiffeId, TrustDomain};

fn is_id(text: &str) -> bool {
    SpiffeId::parse(text).is_ok()
}

/// The ASCII characters with which `text` makes an ID of them.
fn accepted(text: impl Fn(char) -> String) -> String {
    (0..128_u8).map(char::from).filter(|c| is_id(&text(*c))).collect()
}

#[test]
fn the_scheme_is_spiffe() {
    assert!(is_id("spiffe://example.org/a"));
    for scheme in ["https", "spiff", "spiffee", "spiffe+x", "SPIFFE", "Spiffe", "", " spiffe"] {
        assert!(!is_id(&format!("{scheme}://example.org/a")), "{scheme}");
    }
    for text in ["spiffe:example.org/a", "spiffe:/example.org/a", "//example.org/a", "example.org/a"] {
        assert!(!is_id(text), "{text}");
    }
}

#[test]
fn the_trust_domain_is_not_empty() {
    for text in ["spiffe://", "spiffe:///", "spiffe:///a", "spiffe:////a"] {
        assert!(!is_id(text), "{text}");
    }
    assert!(TrustDomain::parse("").is_err());
    assert!(is_id("spiffe://a"));
}

#[test]
fn an_id_has_no_query_and_no_fragment() {
    for text in ["?", "?q", "?q=1", "#", "#f", "/a?", "/a?q=1", "/a#", "/a#f", "/a?q#f"] {
        assert!(!is_id(&format!("spiffe://example.org{text}")), "{text}");
    }
}

#[test]
fn an_id_has_no_user_and_no_port() {
    for authority in ["user@example.org", "user:word@example.org", "@example.org", "example.org:", "example.org:443"] {
        assert!(!is_id(&format!("spiffe://{authority}/a")), "{authority}");
        assert!(TrustDomain::parse(authority).is_err(), "{authority}");
    }
}

#[test]
fn a_trust_domain_is_in_lower_case() {
    for letter in 'A'..='Z' {
        assert!(!is_id(&format!("spiffe://ex{letter}mple.org/a")), "{letter}");
        assert!(TrustDomain::parse(&format!("ex{letter}mple.org")).is_err(), "{letter}");
    }
}

#[test]
fn a_trust_domain_is_of_letters_digits_dots_dashes_and_underscores_alone() {
    let expected = "-.0123456789_abcdefghijklmnopqrstuvwxyz";
    // A slash ends the trust domain, and what stands behind it is a path.
    assert_eq!(accepted(|c| format!("spiffe://x{c}x")), expected.replace('.', "./"));
    let names = (0..128_u8).map(char::from).filter(|c| TrustDomain::parse(&format!("x{c}x")).is_ok());
    assert_eq!(names.collect::<String>(), expected);
    for text in ["spiffe://exämple.org", "spiffe://例え.test", "spiffe://[::1]/a"] {
        assert!(!is_id(text), "{text}");
    }
}

#[test]
fn a_trust_domain_is_not_percent_encoded() {
    for name in ["ex%61mple.org", "%65xample.org", "example%2Eorg", "example%2eorg", "%"] {
        assert!(!is_id(&format!("spiffe://{name}/a")), "{name}");
    }
}

#[test]
fn a_trust_domain_that_looks_like_an_address_or_no_dns_name_is_like_any_other() {
    let dns_breakers = ["-", ".", "..", "_", "-a-", "a..b", "a.", &"a".repeat(255)].map(str::to_owned);
    let addresses = ["127.0.0.1", "0.0.0.0", "256.1", "010.0.0.1", "2130706433", "localhost"].map(str::to_owned);
    for name in addresses.iter().chain(&dns_breakers) {
        let id = SpiffeId::parse(&format!("spiffe://{name}/a")).unwrap();
        assert_eq!(id.trust_domain_name(), name);
        assert_eq!(id.trust_domain(), TrustDomain::parse(name).unwrap());
    }
    // Two spellings of one address are two trust domains.
    assert_ne!(TrustDomain::parse("127.0.0.1").unwrap(), TrustDomain::parse("127.1").unwrap());
}

#[test]
fn a_path_is_not_percent_encoded() {
    for path in ["/%61", "/a%2Fb", "/a%2fb", "/%2e%2e", "/a%", "/%%"] {
        assert!(!is_id(&format!("spiffe://example.org{path}")), "{path}");
    }
}

#[test]
fn a_path_has_no_empty_segments_and_no_relative_ones() {
    for path in ["//", "//a", "/a//b", "/.", "/..", "/./a", "/a/.", "/a/./b", "/../a", "/a/..", "/a/../b"] {
        assert!(!is_id(&format!("spiffe://example.org{path}")), "{path}");
    }
    for path in ["/...", "/.a", "/a.", "/..a", "/-", "/_"] {
        assert!(is_id(&format!("spiffe://example.org{path}")), "{path}");
    }
}

#[test]
fn a_path_does_not_end_with_a_slash() {
    for path in ["/", "/a/", "/a/b/"] {
        assert!(!is_id(&format!("spiffe://example.org{path}")), "{path}");
        assert!(SpiffeId::new(&TrustDomain::parse("example.org").unwrap(), path).is_err(), "{path}");
    }
}

#[test]
fn a_segment_is_of_letters_digits_dots_dashes_and_underscores_alone() {
    let expected = "-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    // The slash makes two segments of it.
    assert_eq!(accepted(|c| format!("spiffe://example.org/x{c}x")), expected);
    assert!(!is_id("spiffe://example.org/ä"));
}

#[test]
fn the_path_is_case_sensitive() {
    let [upper, lower] = ["spiffe://example.org/A", "spiffe://example.org/a"].map(|id| SpiffeId::parse(id).unwrap());
    assert_ne!(upper, lower);
    assert_eq!((upper.path(), lower.path()), ("/A", "/a"));
}

#[test]
fn ids_of_2048_bytes_are_read_and_longer_ones_neither_read_nor_made() {
    let trust_domain = TrustDomain::parse(&"d".repeat(255)).unwrap();
    let room = SpiffeId::MAX_LEN - trust_domain.id().as_str().len();
    let path = |len: usize| format!("/{}", "p".repeat(len - 1));
    let longest = SpiffeId::new(&trust_domain, &path(room)).unwrap();
    assert_eq!(longest.as_str().len(), 2048);
    assert_eq!(SpiffeId::parse(longest.as_str()).unwrap(), longest);
    assert!(SpiffeId::new(&trust_domain, &path(room + 1)).is_err());
    assert!(!is_id(&format!("{longest}p")));
}
