//! Values of flags and their form on the wire.

use anyhow::anyhow;
use steeple_proto::spire::api::types;
use steeple_spiffe::{IdError, SpiffeId};

/// A SPIFFE ID that somebody typed. `place` is where: a flag, `-spiffeID`, or a member of a file.
///
/// # Errors
/// It is malformed, in the reference's words. It has no limit of length, so that a text that is too long is told in ours,
/// which name it.
pub(crate) fn parse(place: &str, text: &str) -> anyhow::Result<types::Spiffeid> {
    let id = SpiffeId::parse(text).map_err(|error| match error {
        IdError::TooLong | IdError::TrustDomainTooLong => {
            let start: String = text.chars().take(SHOWN).collect();
            anyhow!("{place} {start}... ({} bytes): {error}", text.len())
        }
        error => error.into(),
    })?;
    Ok(steeple_transport::id::on_wire(&id))
}

/// As much of an ID that is too long is shown as is needed to find it.
const SHOWN: usize = 64;

/// `spiffe://example.org/path`; of nothing what the reference makes of it.
pub(crate) fn text(id: Option<&types::Spiffeid>) -> String {
    let (trust_domain, path) = id.map_or(("", ""), |id| (&id.trust_domain, &id.path));
    format!("spiffe://{trust_domain}{path}")
}

/// `type:value`; the value may have further colons. Whether they may be empty is the server's business.
///
/// # Errors
/// There is no colon.
pub(crate) fn selector(text: &str) -> anyhow::Result<types::Selector> {
    let split = text.split_once(':');
    let (kind, value) = split.ok_or_else(|| anyhow!("selector {text:?} must be formatted as type:value"))?;
    Ok(types::Selector { r#type: kind.to_owned(), value: value.to_owned() })
}

/// A number that the wire has 32 bits for. `what` it is goes into the error.
///
/// # Errors
/// It needs more.
pub(crate) fn int32(what: &str, number: i64) -> anyhow::Result<i32> {
    i32::try_from(number).map_err(|_| anyhow!("invalid value for {what}: overflow converting int({number}) to int32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_ends_its_type_at_the_first_colon() {
        let types::Selector { r#type, value } = selector("k8s:pod-label:a:b").unwrap();
        assert_eq!((r#type.as_str(), value.as_str()), ("k8s", "pod-label:a:b"));
        assert_eq!(selector("unix").unwrap_err().to_string(), "selector \"unix\" must be formatted as type:value");
    }

    #[test]
    fn an_id_that_is_too_long_is_named_with_its_flag() {
        let told = |text: &str| parse("-parentID", text).unwrap_err().to_string();
        let start = format!("spiffe://example.org/{}", "p".repeat(SHOWN - "spiffe://example.org/".len()));
        let id = format!("spiffe://example.org/{}", "p".repeat(2048));
        assert_eq!(told(&id), format!("-parentID {start}... (2069 bytes): cannot be longer than 2048 bytes"));
        let trust_domain = told(&format!("spiffe://{}/a", "t".repeat(256)));
        assert!(
            trust_domain.ends_with("t... (267 bytes): trust domain cannot be longer than 255 bytes"),
            "{trust_domain}"
        );
        // The reference's own texts name nothing.
        assert_eq!(told("example.org"), "scheme is missing or invalid");
    }

    #[test]
    fn an_id_prints_as_it_was_typed() {
        let typed = "spiffe://example.org/a/b";
        assert_eq!(text(Some(&parse("-spiffeID", typed).unwrap())), typed);
        assert_eq!(text(None), "spiffe://");
    }
}
