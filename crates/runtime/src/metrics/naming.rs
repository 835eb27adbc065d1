//! What a series is called and labelled, and whether it is kept: by the rules of the section `telemetry`, as the reference
//! applies them.

use metrics::Key;
use steeple_config::telemetry::Telemetry;

/// What becomes of the values of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They are added up.
    Counter,
    /// The last one counts.
    Gauge,
    /// Each one counts.
    Sample,
}

/// A series, as sinks see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) kind: Kind,
    /// Dotted, and as long as there is a prefix, behind it: `spire_server.datastore.bundle.fetch`.
    pub(super) name: String,
    /// How much of the name is the prefix and the dot.
    pub(super) prefix: usize,
    /// Those of the place in the code, then those that all series have.
    pub(super) labels: Vec<(String, String)>,
}

impl Series {
    /// The name without its prefix.
    pub(super) fn key(&self) -> &str {
        self.name.get(self.prefix..).unwrap_or_default()
    }

    /// Whether its values are milliseconds.
    pub(super) fn is_timer(&self) -> bool {
        self.kind == Kind::Sample && self.name.ends_with(".elapsed_time")
    }
}

/// Makes [`Series`] of what the code counts.
pub(super) struct Naming {
    prefix: String,
    /// `trust_domain` and `host`, as asked for.
    added: Vec<(String, String)>,
    allowed_labels: Vec<String>,
    blocked_labels: Vec<String>,
    filter: Filter,
}

impl Naming {
    /// Of the daemon `service` (`spire_server`).
    pub(super) fn new(config: &Telemetry, service: &str, trust_domain: &str, host: &str) -> Self {
        let prefix = if config.metric_prefix.is_empty() { service } else { &config.metric_prefix };
        let mut added = Vec::new();
        if config.enable_trust_domain_label.unwrap_or(false) {
            added.push(("trust_domain".to_owned(), sanitized(trust_domain)));
        }
        // As it is, dots and all, in the reference too.
        if config.enable_hostname_label.unwrap_or(true) && !host.is_empty() {
            added.push(("host".to_owned(), host.to_owned()));
        }
        Self {
            prefix: prefix.to_owned(),
            added,
            allowed_labels: config.allowed_labels.clone(),
            blocked_labels: config.blocked_labels.clone(),
            filter: Filter { allowed: config.allowed_prefixes.clone(), blocked: config.blocked_prefixes.clone() },
        }
    }

    /// The series of a key.
    pub(super) fn series(&self, kind: Kind, key: &Key) -> Series {
        let own = key.labels().map(|label| (sanitized(label.key()), sanitized(label.value())));
        let labels = own.chain(self.added.iter().cloned()).filter(|(name, _)| self.gives(name)).collect();
        Series { kind, name: format!("{}.{}", self.prefix, key.name()), prefix: self.prefix.len() + 1, labels }
    }

    /// Whether a name is measured: the longest of all prefixes that it begins with says.
    pub(super) fn allows(&self, name: &str) -> bool {
        self.filter.allows(name)
    }

    fn gives(&self, label: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name == label);
        !is_in(&self.blocked_labels) && (self.allowed_labels.is_empty() || is_in(&self.allowed_labels))
    }
}

struct Filter {
    allowed: Vec<String>,
    blocked: Vec<String>,
}

impl Filter {
    fn allows(&self, name: &str) -> bool {
        let longest = |list: &[String]| {
            let fitting = list.iter().filter(|prefix| name.starts_with(prefix.as_str()));
            fitting.map(String::len).max()
        };
        // What stands in both lists is blocked.
        match (longest(&self.allowed), longest(&self.blocked)) {
            (allowed, Some(blocked)) => allowed.is_some_and(|allowed| allowed > blocked),
            (_, None) => true,
        }
    }
}

/// Names and values of labels hold letters, digits and underscores alone: any other run, with one underscore behind it,
/// becomes an underscore.
fn sanitized(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    while let Some(c) = chars.next() {
        if is_word(&c) {
            clean.push(c);
            continue;
        }
        while chars.next_if(|c| !is_word(c)).is_some() {}
        chars.next_if_eq(&'_');
        clean.push('_');
    }
    clean
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    fn named(config: &Telemetry) -> Series {
        let naming = Naming::new(config, "spire_server", "example.org", "db-1.local");
        let labels = vec![Label::new("trust_domain_id", "other.test"), Label::new("status", "OK")];
        naming.series(Kind::Counter, &Key::from_parts("bundle_manager.fetch", labels))
    }

    fn labels(config: &Telemetry) -> String {
        let labels = named(config).labels;
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_series_has_the_daemons_name_and_its_host_unless_the_file_says_otherwise() {
        let plain = Telemetry::default();
        assert_eq!(
            (named(&plain).name.as_str(), named(&plain).key()),
            ("spire_server.bundle_manager.fetch", "bundle_manager.fetch")
        );
        assert_eq!(labels(&plain), "trust_domain_id=other_test status=OK host=db-1.local");
        let prefixed = Telemetry { metric_prefix: "own".to_owned(), ..plain.clone() };
        assert_eq!(named(&prefixed).name, "own.bundle_manager.fetch");
        let named = Telemetry { enable_trust_domain_label: Some(true), enable_hostname_label: Some(false), ..plain };
        assert_eq!(labels(&named), "trust_domain_id=other_test status=OK trust_domain=example_org");
    }

    #[test]
    fn labels_are_given_by_name_and_a_blocked_one_never() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let allowed = Telemetry { allowed_labels: list(&["status", "host"]), ..Telemetry::default() };
        assert_eq!(labels(&allowed), "status=OK host=db-1.local");
        let blocked = Telemetry { blocked_labels: list(&["host"]), ..allowed };
        assert_eq!(labels(&blocked), "status=OK");
    }

    #[test]
    fn the_longest_prefix_decides_whether_a_name_is_measured() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let allows = |allowed: &[&str], blocked: &[&str], name: &str| {
            let (allowed_prefixes, blocked_prefixes) = (list(allowed), list(blocked));
            let config = Telemetry { allowed_prefixes, blocked_prefixes, ..Telemetry::default() };
            Naming::new(&config, "spire_server", "example.org", "").allows(name)
        };
        assert!(allows(&["spire_server.rpc"], &[], "spire_server.datastore.node.list"), "an exception to nothing");
        assert!(!allows(&[], &["spire_server.rpc"], "spire_server.rpc.health.check"));
        assert!(allows(&["spire_server.rpc.health"], &["spire_server.rpc"], "spire_server.rpc.health.check"));
        assert!(!allows(&["spire_server.rpc"], &["spire_server.rpc.he"], "spire_server.rpc.health.check"), "letters");
        assert!(!allows(&["spire_server"], &["spire_server"], "spire_server.started"));
    }

    #[test]
    fn labels_hold_word_characters_alone() {
        for (text, clean) in
            [("1.15.3", "1_15_3"), ("a-._b", "a_b"), ("a__b", "a__b"), ("ü.", "_"), ("._.", "__"), ("", "")]
        {
            assert_eq!(sanitized(text), clean, "{text}");
        }
    }
}
