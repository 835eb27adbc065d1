use super::*;
use proptest::prelude::*;

fn reason(id: &str) -> String {
    SpiffeId::parse(id).unwrap_err().to_string()
}

#[test]
fn reads_an_id_into_its_parts() {
    let id = SpiffeId::parse("spiffe://example.org/billing/API_v1.2-x").unwrap();
    assert_eq!(id.trust_domain_name(), "example.org");
    assert_eq!(id.path(), "/billing/API_v1.2-x");
    assert_eq!(id.as_str(), "spiffe://example.org/billing/API_v1.2-x");
    assert!(id.is_member_of(&TrustDomain::parse("example.org").unwrap()));
    assert!(!id.is_member_of(&TrustDomain::parse("example.or").unwrap()));
}

#[test]
fn an_id_without_path_names_the_trust_domain() {
    let id = SpiffeId::parse("spiffe://example.org").unwrap();
    assert_eq!(id.path(), "");
    assert_eq!(id, id.trust_domain().id());
    assert_eq!(SpiffeId::new(&id.trust_domain(), "").unwrap(), id);
}

#[test]
fn every_broken_rule_has_its_text() {
    for (id, text) in [
        ("", "cannot be empty"),
        ("example.org/a", "scheme is missing or invalid"),
        ("https://example.org/a", "scheme is missing or invalid"),
        ("SPIFFE://example.org/a", "scheme is missing or invalid"),
        ("spiffe:/example.org/a", "scheme is missing or invalid"),
        ("spiffe://", "trust domain is missing"),
        ("spiffe:///a", "trust domain is missing"),
        ("spiffe://Example.org", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://example.org:443/a", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://user@example.org/a", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://exämple.org/a", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://example.org?q", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://example.org/", "path cannot have a trailing slash"),
        ("spiffe://example.org/a/", "path cannot have a trailing slash"),
        ("spiffe://example.org//", "path cannot contain empty segments"),
        ("spiffe://example.org//a", "path cannot contain empty segments"),
        ("spiffe://example.org/a//b", "path cannot contain empty segments"),
        ("spiffe://example.org/.", "path cannot contain dot segments"),
        ("spiffe://example.org/../a", "path cannot contain dot segments"),
        ("spiffe://example.org/a/./b", "path cannot contain dot segments"),
        ("spiffe://example.org/a b", SEGMENT_CHARACTERS),
        ("spiffe://example.org/a%20b", SEGMENT_CHARACTERS),
        ("spiffe://example.org/a?q=1", SEGMENT_CHARACTERS),
        ("spiffe://example.org/a#f", SEGMENT_CHARACTERS),
        ("spiffe://example.org/ä", SEGMENT_CHARACTERS),
    ] {
        assert_eq!(reason(id), text, "{id}");
    }
}

#[test]
fn three_dots_are_an_ordinary_segment() {
    assert!(SpiffeId::parse("spiffe://example.org/.../.a").is_ok());
}

#[test]
fn a_composed_path_needs_its_leading_slash() {
    let domain = TrustDomain::parse("example.org").unwrap();
    assert_eq!(SpiffeId::new(&domain, "a").unwrap_err(), IdError::LeadingSlash);
    assert_eq!(SpiffeId::new(&domain, "/").unwrap_err(), IdError::TrailingSlash);
    assert_eq!(SpiffeId::new(&domain, "/a/b").unwrap().as_str(), "spiffe://example.org/a/b");
}

#[test]
fn a_trust_domain_is_read_from_a_name_or_from_an_id() {
    let domain = TrustDomain::parse("example.org").unwrap();
    assert_eq!(TrustDomain::parse("spiffe://example.org").unwrap(), domain);
    assert_eq!(TrustDomain::parse("spiffe://example.org/a/b").unwrap(), domain);
    assert_eq!(domain.to_string(), "example.org");
    assert_eq!(domain.id().to_string(), "spiffe://example.org");
    for (text, error) in [
        ("", IdError::MissingTrustDomain),
        ("Bad!", IdError::TrustDomainCharacter),
        ("a/b", IdError::TrustDomainCharacter),
        ("http://example.org", IdError::Scheme),
        ("spiffe://example.org/", IdError::TrailingSlash),
    ] {
        assert_eq!(TrustDomain::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn refuses_a_trust_domain_of_256_bytes() {
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
    assert_eq!(TrustDomain::parse(&"a".repeat(256)).unwrap_err(), IdError::TrustDomainTooLong);
    assert_eq!(reason(&format!("spiffe://{}/a", "a".repeat(256))), "trust domain cannot be longer than 255 bytes");
}

#[test]
fn refuses_an_id_of_2049_bytes() {
    let prefix = "spiffe://example.org/";
    let longest = format!("{prefix}{}", "a".repeat(2048 - prefix.len()));
    let id = SpiffeId::parse(&longest).unwrap();
    assert_eq!(reason(&format!("{longest}a")), "cannot be longer than 2048 bytes");
    let too_long = format!("{}a", id.path());
    assert_eq!(SpiffeId::new(&id.trust_domain(), &too_long).unwrap_err(), IdError::TooLong);
}

#[test]
fn ids_are_ordered_by_their_text() {
    let id = |text| SpiffeId::parse(text).unwrap();
    let mut ids = [id("spiffe://b.test"), id("spiffe://a.test/x"), id("spiffe://a.test/b"), id("spiffe://a.test")];
    ids.sort();
    let texts: Vec<&str> = ids.iter().map(SpiffeId::as_str).collect();
    assert_eq!(texts, ["spiffe://a.test", "spiffe://a.test/b", "spiffe://a.test/x", "spiffe://b.test"]);
}

#[test]
fn a_map_of_trust_domains_answers_to_names() {
    let map = std::collections::HashMap::from([(TrustDomain::parse("example.org").unwrap(), 1)]);
    assert_eq!(map.get("example.org"), Some(&1));
}

proptest! {
    #[test]
    fn a_valid_id_survives_the_round_trip(name in "[a-z0-9._-]{1,40}", path in "(/[a-zA-Z0-9_-]{1,9}){0,5}") {
        let text = format!("spiffe://{name}{path}");
        let id = SpiffeId::parse(&text).unwrap();
        prop_assert_eq!(id.to_string(), text);
        prop_assert_eq!(id.path(), path.as_str());
        prop_assert_eq!(SpiffeId::new(&id.trust_domain(), id.path()).unwrap(), id);
    }

    #[test]
    fn a_valid_trust_domain_survives_the_round_trip(name in "[a-z0-9._-]{1,255}") {
        let trust_domain = TrustDomain::from_name(&name).unwrap();
        prop_assert_eq!(trust_domain.name(), name.as_str());
        for text in [trust_domain.to_string(), name, trust_domain.id().to_string()] {
            prop_assert_eq!(TrustDomain::parse(&text).unwrap(), trust_domain.clone());
        }
    }

    #[test]
    fn parsing_answers_any_text(text in ".*") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
        }
        let _ = TrustDomain::parse(&text);
    }

    #[test]
    fn parsing_answers_texts_that_look_like_ids(rest in "[a-zA./?#%:@ é-]{0,30}") {
        let _ = SpiffeId::parse(&format!("spiffe://{rest}"));
    }
}

#[test]
fn agents_are_below_their_own_path_alone() {
    for (path, is_agent) in [
        ("/spire/agent/join_token/a", true),
        ("/spire/agent", false),
        ("/spire/agents/a", false),
        ("/a/spire/agent/a", false),
        ("", false),
    ] {
        assert_eq!(SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap().is_agent(), is_agent, "{path}");
    }
}

const TRUST_DOMAIN_CHARACTERS: &str =
    "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores";
const SEGMENT_CHARACTERS: &str =
    "path segment characters are limited to letters, numbers, dots, dashes, and underscores";
