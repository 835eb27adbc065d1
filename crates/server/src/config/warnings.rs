//! What a sound file may say and its author should think over once more. The words are the reference's.

use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_config::sections::{self, EXPERIMENTAL, Warning};

use super::file::{CaSubject, Server};
use super::{CaConfig, Experimental, Lifetimes};

/// SVIDs longer than this may be cut short whatever the CA's lifetime is: it is how long before its end a CA is replaced
/// at the latest.
const CAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A CA is replaced when a sixth of its life is left.
const SHARE: u32 = 6;

const EMPTY_SUBJECT: &str = "ca_subject configurable is set but empty; the default will be used";
const SQL_TRANSACTION_TIMEOUT: &str =
    "experimental.sql_transaction_timeout is deprecated, use experimental.event_timeout instead";

/// For the log.
pub(super) fn of(server: &Server, ca: &CaConfig, lifetimes: &Lifetimes) -> Vec<Warning> {
    let agent = (!server.agent_ttl.is_empty()).then_some(("agent_ttl", lifetimes.agent));
    let lifetimes = [("default_x509_svid_ttl", lifetimes.x509_svid), ("default_jwt_svid_ttl", lifetimes.jwt_svid)];
    let cut_short = lifetimes.into_iter().chain(agent).filter_map(|(key, ttl)| cut_short(key, ttl, ca.ttl));
    let Experimental { feature_flags, sql_transaction_timeout, .. } = &server.experimental;
    let others = [
        (server.ca_subject.as_ref().is_some_and(CaSubject::is_empty), Warning::from(EMPTY_SUBJECT)),
        (server.experimental != Experimental::default(), EXPERIMENTAL.into()),
        (!sql_transaction_timeout.is_empty(), Warning::deprecation(SQL_TRANSACTION_TIMEOUT)),
    ];
    let others = others.into_iter().filter(|(says, _)| *says).map(|(_, warning)| warning);
    cut_short.map(Warning::from).chain(others).chain(sections::feature_flags(feature_flags)).collect()
}

/// Whether an SVID that is made just before its CA is replaced would outlive it.
fn cut_short(key: &str, ttl: Duration, ca_ttl: Duration) -> Option<String> {
    let longest = (ca_ttl / SHARE).min(CAP);
    if ttl <= longest {
        return None;
    }
    let (longest, ca) = (short(longest), short(if ttl < CAP { ttl * SHARE } else { CAP * SHARE }));
    let (what, remedy) = if ttl < CAP {
        (
            "is too high for the configured ca_ttl value",
            format!("set {key} to {longest} or less, or the ca_ttl to {ca} or more,"),
        )
    } else if ca_ttl < CAP * SHARE {
        (
            "is too high and the ca_ttl is too low",
            format!("set {key} to {} or less, and the ca_ttl to {ca} or more,", short(CAP)),
        )
    } else {
        ("is too high", format!("set {key} to {longest} or less"))
    };
    Some(format!(
        "{key} {what}. SVIDs with shorter lifetimes may be issued. Please {remedy} to guarantee the full {key} \
         lifetime when CA rotations are scheduled."
    ))
}

/// Whole seconds, without zero minutes and seconds: `33h`.
fn short(length: Duration) -> String {
    let text = GoDuration::from_secs(i64::try_from(length.as_secs()).unwrap_or(i64::MAX)).to_string();
    let text = if text.ends_with("m0s") { text.trim_end_matches("0s") } else { &text };
    let text = if text.ends_with("h0m") { text.trim_end_matches("0m") } else { text };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn a_lifetime_that_fits_is_not_warned_of() {
        assert_eq!(cut_short("agent_ttl", 4 * HOUR, 24 * HOUR), None);
        assert_eq!(cut_short("agent_ttl", CAP, CAP * SHARE), None);
    }

    #[test]
    fn each_way_to_be_too_long_has_its_words() {
        let remedy = |ttl, ca_ttl| cut_short("agent_ttl", ttl, ca_ttl).unwrap();
        let text = remedy(6 * HOUR + Duration::from_secs(610), 24 * HOUR);
        assert!(text.contains("to 4h or less, or the ca_ttl to 37h1m or more, to guarantee"), "{text}");
        let text = remedy(CAP, HOUR);
        assert!(text.contains("to 168h or less, and the ca_ttl to 1008h or more, to guarantee"), "{text}");
        let text = remedy(192 * HOUR, 2000 * HOUR);
        assert!(text.contains("agent_ttl is too high. SVIDs"), "{text}");
        assert!(text.contains("to 168h or less to guarantee"), "{text}");
        let text = remedy(HOUR, Duration::from_secs(5));
        assert!(text.contains("to 0s or less, or the ca_ttl to 6h or more,"), "{text}");
    }
}
