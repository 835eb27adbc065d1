//! Name constraints for URIs (RFC 5280, section 4.2.1.10), which webpki does not know: it refuses whatever is below them.
//! Those of an authority of the bundle are taken out before it looks, and kept here. Those of a certificate that came
//! with the chain stay its business, since its signature covers them.

use const_oid::db::rfc5280;
use der::asn1::AnyRef;
use der::{Decode, Encode, Tag, TagNumber, Tagged};

use super::extensions::{Extension, URI};
use crate::asn1;

/// Which hosts the URIs below an authority may and may not have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UriConstraints {
    /// Empty for any.
    permitted: Vec<String>,
    excluded: Vec<String>,
}

impl UriConstraints {
    /// Takes the constraints for URIs out of the contents of a NameConstraints. What is left is None when there was
    /// nothing else.
    ///
    /// # Errors
    /// The contents are malformed, or a constraint is no text or has a `minimum` or `maximum`.
    pub(super) fn split(contents: &[u8]) -> der::Result<(Self, Option<Vec<u8>>)> {
        let (mut constraints, mut rest) = (Self::default(), Vec::new());
        for subtrees in asn1::split(contents)? {
            let subtrees = AnyRef::from_der(subtrees)?;
            let hosts = match subtrees.tag() {
                PERMITTED => &mut constraints.permitted,
                EXCLUDED => &mut constraints.excluded,
                other => return Err(other.unexpected_error(None).into()),
            };
            let mut others = Vec::new();
            for subtree in asn1::split(subtrees.value())? {
                match asn1::members(AnyRef::from_der(subtree)?, Tag::Sequence)?.as_slice() {
                    [base] if base.tag() == URI => hosts.push(host_of_constraint(*base)?),
                    [base, ..] if base.tag() == URI => return Err(Tag::Sequence.value_error().into()),
                    _ => others.extend_from_slice(subtree),
                }
            }
            if !others.is_empty() {
                rest.extend(AnyRef::new(subtrees.tag(), &others)?.to_der()?);
            }
        }
        Ok((constraints, Some(rest).filter(|rest| !rest.is_empty())))
    }

    /// Whether the constraints allow this URI. One without a host cannot be told to be allowed; nor can one whose host is
    /// an IP address.
    pub(super) fn allow(&self, uri: &str) -> bool {
        if self.permitted.is_empty() && self.excluded.is_empty() {
            return true;
        }
        let Some(host) = host_of(uri) else { return false };
        let among = |constraints: &[String]| constraints.iter().any(|constraint| matches(constraint, &host));
        (self.permitted.is_empty() || among(&self.permitted)) && !among(&self.excluded)
    }
}

/// Whether an extension is a NameConstraints with constraints for URIs.
pub(super) fn limits_uris(extension: &Extension) -> bool {
    let Extension { oid, critical: _, value } = extension;
    *oid == rfc5280::ID_CE_NAME_CONSTRAINTS
        && AnyRef::from_der(value)
            .and_then(|value| UriConstraints::split(value.value()))
            .is_ok_and(|(constraints, _)| constraints != UriConstraints::default())
}

fn host_of_constraint(base: AnyRef<'_>) -> der::Result<String> {
    let text = std::str::from_utf8(base.value()).ok().filter(|text| text.is_ascii());
    text.map(str::to_ascii_lowercase).ok_or_else(|| Tag::Ia5String.value_error().into())
}

/// A constraint is a host, or with a dot in front all hosts below it. The RFC gives an empty one no meaning; here, as in
/// Go, it is any host.
fn matches(constraint: &str, host: &str) -> bool {
    if constraint.starts_with('.') {
        host.strip_suffix(constraint).is_some_and(|below| !below.is_empty())
    } else {
        constraint.is_empty() || constraint == host
    }
}

/// The host of a URI (RFC 3986, section 3.2.2), in lower case.
fn host_of(uri: &str) -> Option<String> {
    let (_, behind) = uri.split_once("://")?;
    let authority = behind.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let is_ip = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    (!host.is_empty() && !is_ip).then(|| host.to_ascii_lowercase())
}

const PERMITTED: Tag = subtrees(0);
const EXCLUDED: Tag = subtrees(1);

const fn subtrees(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraints(permitted: &[&str], excluded: &[&str]) -> UriConstraints {
        let owned = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        UriConstraints { permitted: owned(permitted), excluded: owned(excluded) }
    }

    #[test]
    fn a_constraint_is_a_host_or_all_that_is_below_one() {
        for (permitted, uri, is_allowed) in [
            ("example.org", "spiffe://example.org/a", true),
            ("example.org", "spiffe://EXAMPLE.org", true),
            ("example.org", "https://me@example.org:8443?x", true),
            ("example.org", "spiffe://a.example.org/a", false),
            ("example.org", "spiffe://badexample.org/a", false),
            ("example.org", "spiffe://other.test/example.org", false),
            ("example.org", "spiffe://other.test/@example.org", false),
            (".example.org", "spiffe://a.example.org/a", true),
            (".example.org", "spiffe://a.b.example.org/a", true),
            (".example.org", "spiffe://example.org/a", false),
            (".example.org", "spiffe://.example.org/a", false),
            ("", "spiffe://example.org/a", true),
            ("", "urn:uuid:1", false),
            ("", "spiffe:///a", false),
            ("127.0.0.1", "https://127.0.0.1/", false),
            ("", "https://[::1]:80/", false),
        ] {
            assert_eq!(constraints(&[permitted], &[]).allow(uri), is_allowed, "{permitted:?} {uri}");
        }
        assert!(constraints(&[], &[]).allow("urn:uuid:1"));
        assert!(constraints(&["a.test", "b.test"], &[]).allow("spiffe://b.test/a"));
        assert!(constraints(&[], &["a.test"]).allow("spiffe://b.test/a"));
        assert!(!constraints(&[], &["a.test"]).allow("urn:uuid:1"));
        assert!(!constraints(&[".test"], &["a.test"]).allow("spiffe://a.test/a"));
    }

    #[test]
    fn constraints_for_uris_are_taken_out_and_others_left() {
        let dns = b"\x30\x08\x82\x06a.test";
        let uri = b"\x30\x08\x86\x06B.test";
        let both = [b"\xa0\x14".as_slice(), dns, uri, b"\xa1\x0a", uri].concat();
        let rest = [b"\xa0\x0a".as_slice(), dns].concat();
        assert_eq!(UriConstraints::split(&both).unwrap(), (constraints(&["b.test"], &["b.test"]), Some(rest.clone())));
        assert_eq!(UriConstraints::split(&rest).unwrap(), (constraints(&[], &[]), Some(rest)));
        let alone = [b"\xa1\x0a".as_slice(), uri].concat();
        assert_eq!(UriConstraints::split(&alone).unwrap(), (constraints(&[], &["b.test"]), None));
        assert_eq!(UriConstraints::split(b"").unwrap(), (constraints(&[], &[]), None));
        // No text, a maximum, other subtrees than there are, and what is cut short.
        for malformed in [
            b"\xa0\x05\x30\x03\x86\x01\xff".as_slice(),
            b"\xa0\x08\x30\x06\x86\x01a\x81\x01\x01",
            b"\xa2\x05\x30\x03\x86\x01a",
            b"\xa0\x05\x30\x03\x86\x02a",
        ] {
            assert!(UriConstraints::split(malformed).is_err(), "{malformed:02x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn splitting_answers_any_bytes_and_leaves_nothing_twice(bytes: Vec<u8>) {
            if let Ok((_, Some(rest))) = UriConstraints::split(&bytes) {
                proptest::prop_assert_eq!(UriConstraints::split(&rest).unwrap(), (UriConstraints::default(), Some(rest)));
            }
        }
    }
}
