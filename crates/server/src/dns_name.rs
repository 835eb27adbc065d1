//! DNS names in entries and requests.

/// Why a DNS name is refused. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDnsName {
    /// Not ASCII.
    #[error("name must be ascii")]
    NotAscii,
    /// More than one `*`.
    #[error("too many wildcards")]
    TooManyWildcards,
    /// A `*` that is not the whole first label.
    #[error("wildcard must be first label")]
    WildcardNotFirst,
    /// Nothing there.
    #[error("empty or only whitespace")]
    Empty,
    /// A dot at the end.
    #[error("domain ends with dot")]
    EndsWithDot,
    /// A name that DNS does not allow.
    #[error("idna error\nidna: invalid label {0:?}")]
    Label(String),
}

/// Checks one name, more strictly than the reference, which takes any ASCII characters in a label: letters, digits, hyphens and underscores in labels of 1 to 63 bytes, 253 in all; a first label may be
/// `*` alone.
///
/// # Errors
/// See [`BadDnsName`].
pub(crate) fn check(name: &str) -> Result<(), BadDnsName> {
    if !name.is_ascii() {
        return Err(BadDnsName::NotAscii);
    }
    match name.matches('*').count() {
        0 => check_domain(name),
        1 => {
            let domain = name.strip_prefix("*.").ok_or(BadDnsName::WildcardNotFirst)?;
            check_domain(domain)
        }
        _ => Err(BadDnsName::TooManyWildcards),
    }
}

fn check_domain(name: &str) -> Result<(), BadDnsName> {
    if name.trim().is_empty() {
        return Err(BadDnsName::Empty);
    }
    if name.ends_with('.') {
        return Err(BadDnsName::EndsWithDot);
    }
    if name.len() > 253 {
        return Err(BadDnsName::Label(name.to_owned()));
    }
    match name.split('.').find(|label| !is_label(label)) {
        None => Ok(()),
        // Which one of several is missing can only be seen in the whole.
        Some("") => Err(BadDnsName::Label(name.to_owned())),
        Some(label) => Err(BadDnsName::Label(label.to_owned())),
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // Two hyphens there say that a label is in another alphabet, which only one prefix does (RFC 5891, section 4.2.3.1).
    let marked = label.get(2..4) == Some("--");
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
        && (!marked || label.starts_with("xn--"))
}

/// A wildcard covers another name of the list: `*.a.test` and `b.a.test`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name {0:?} overlaps with an existing wildcard name in the list: wildcard overlap")]
pub(crate) struct Overlap(String);

/// Refuses a wildcard that covers another name of the list.
///
/// # Errors
/// [`Overlap`] with the name that is covered.
pub(crate) fn check_overlap(names: &[String]) -> Result<(), Overlap> {
    let is_covered = |name: &&String| {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        !name.starts_with('*')
            && names.iter().any(|other| other.strip_prefix("*.").is_some_and(|it| Some(it) == parent))
    };
    match names.iter().find(is_covered) {
        Some(name) => Err(Overlap(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_reference_does() {
        for good in ["a", "web.example.org", "*.example.org", "a_b.c-d", "10.0.0.1", "xn--bcher-kva.example", "a--b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check("é.org"), Err(BadDnsName::NotAscii));
        assert_eq!(check("*.*.org"), Err(BadDnsName::TooManyWildcards));
        assert_eq!(check("a.*.org"), Err(BadDnsName::WildcardNotFirst));
        assert_eq!(check(" "), Err(BadDnsName::Empty));
        assert_eq!(check("a.org."), Err(BadDnsName::EndsWithDot));
        assert!(matches!(check(&"a".repeat(64)), Err(BadDnsName::Label(_))));
        assert_eq!(check("a.-b.org"), Err(BadDnsName::Label("-b".into())));
        assert_eq!(check("a..org"), Err(BadDnsName::Label("a..org".into())));
        for bad in ["ab--c", "Xn--bcher-kva", "a b", "a/b", "a\nb"] {
            assert_eq!(check(bad), Err(BadDnsName::Label(bad.into())), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(check_overlap(&names(&["*.a.test", "b.a.test"])).is_err());
        assert!(check_overlap(&names(&["*.a.test", "c.b.a.test", "a.test"])).is_ok());
    }
}
