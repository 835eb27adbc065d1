//! Checks of the IDs in requests, with the reference's texts.

use steeple_proto::spire::api::types;
use steeple_spiffe::{IdError, SpiffeId, TrustDomain};

/// Why an ID in a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadId {
    /// There is none.
    #[error("request must specify SPIFFE ID")]
    Missing,
    /// It is no SPIFFE ID.
    #[error(transparent)]
    Syntax(#[from] IdError),
    /// It is one, but not of the kind that is asked for.
    #[error("{id:?} is not {kind} trust domain {trust_domain:?}{why}")]
    Kind { id: String, kind: &'static str, trust_domain: String, why: &'static str },
}

/// Any ID of the trust domain that has a path.
pub(super) fn member(id: Option<&types::Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, BadId> {
    check(id, trust_domain, "a member of", |id| match id.path() {
        "" => "; path is empty",
        _ => "",
    })
}

/// An ID of the trust domain that a workload may have.
pub(super) fn workload(id: Option<&types::Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, BadId> {
    check(id, trust_domain, "a workload in", workload_path)
}

/// An agent's ID.
pub(super) fn agent(id: Option<&types::Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, BadId> {
    check(id, trust_domain, "an agent in", |id| match id.path() {
        "" => "; path is empty",
        _ if id.is_agent() => "",
        _ => "; path is not in the agent namespace",
    })
}

/// As [`workload`], for an ID in its text form, as it stands in a certificate request.
pub(super) fn workload_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), BadId> {
    check_parsed(id, trust_domain, "a workload in", workload_path)
}

fn workload_path(id: &SpiffeId) -> &'static str {
    match id.path() {
        "" => "; path is empty",
        path if path == "/spire" || path.starts_with("/spire/") => "; path is in the reserved namespace",
        _ => "",
    }
}

fn check(
    id: Option<&types::Spiffeid>,
    trust_domain: &TrustDomain,
    kind: &'static str,
    fault: impl Fn(&SpiffeId) -> &'static str,
) -> Result<SpiffeId, BadId> {
    let types::Spiffeid { trust_domain: name, path } = id.ok_or(BadId::Missing)?;
    let id = SpiffeId::new(&TrustDomain::parse(name)?, path)?;
    check_parsed(&id, trust_domain, kind, fault)?;
    Ok(id)
}

fn check_parsed(
    id: &SpiffeId,
    trust_domain: &TrustDomain,
    kind: &'static str,
    fault: impl Fn(&SpiffeId) -> &'static str,
) -> Result<(), BadId> {
    let not = |kind, why| Err(BadId::Kind { id: id.to_string(), kind, trust_domain: trust_domain.to_string(), why });
    if !id.is_member_of(trust_domain) {
        return not("a member of", "");
    }
    match fault(id) {
        "" => Ok(()),
        why => not(kind, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(trust_domain: &str, path: &str) -> types::Spiffeid {
        types::Spiffeid { trust_domain: trust_domain.into(), path: path.into() }
    }

    fn refusal(
        check: fn(Option<&types::Spiffeid>, &TrustDomain) -> Result<SpiffeId, BadId>,
        id: &types::Spiffeid,
    ) -> String {
        check(Some(id), &TrustDomain::parse("example.org").unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_workload_has_a_path_outside_of_the_reserved_ones() {
        assert_eq!(
            refusal(workload, &id("example.org", "")),
            r#""spiffe://example.org" is not a workload in trust domain "example.org"; path is empty"#
        );
        assert_eq!(
            refusal(workload, &id("example.org", "/spire/x")),
            r#""spiffe://example.org/spire/x" is not a workload in trust domain "example.org"; path is in the reserved namespace"#
        );
        assert_eq!(
            refusal(workload, &id("other.org", "/x")),
            r#""spiffe://other.org/x" is not a member of trust domain "example.org""#
        );
    }

    #[test]
    fn a_member_may_be_an_agent_but_not_the_trust_domain_itself() {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        assert!(member(Some(&id("example.org", "/spire/agent/x")), &trust_domain).is_ok());
        assert_eq!(
            refusal(member, &id("example.org", "")),
            r#""spiffe://example.org" is not a member of trust domain "example.org"; path is empty"#
        );
        assert_eq!(member(None, &trust_domain).unwrap_err().to_string(), "request must specify SPIFFE ID");
        assert_eq!(refusal(member, &id("example.org", "x")), "path must have a leading slash");
    }
}
