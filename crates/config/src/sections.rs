//! What the files of both daemons share: sections of the same form, and what becomes of keys that mean nothing.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::decode::{UnknownKey, UnknownKeys};

/// Logged at the start if `experimental` says anything, in the reference's words.
pub const EXPERIMENTAL: &str = "Experimental features have been enabled. Please see doc/upgrading.md for upgrade and \
                                compatibility considerations for experimental features.";

/// Logged at the start with `experimental.require_pq_kem`, in the reference's words.
pub const REQUIRE_PQ_KEM: &str = "Experimental option 'require_pq_kem' is enabled; all TLS connections will require use \
                                  of a post-quantum safe KEM";

/// What the author of a sound file should think over once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The reference's words.
    pub text: String,
    /// Whether it is about a key that will be no more. The log marks these, so that somebody can be alerted.
    pub is_deprecation: bool,
}

impl Warning {
    /// That a key will be no more.
    pub fn deprecation(text: &str) -> Self {
        Self { text: text.to_owned(), is_deprecation: true }
    }
}

impl<T: Into<String>> From<T> for Warning {
    fn from(text: T) -> Self {
        Self { text: text.into(), is_deprecation: false }
    }
}

/// `telemetry`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Scraped over HTTP.
    #[serde(rename = "Prometheus")]
    pub prometheus: Option<Prometheus>,
    /// Sent to DogStatsD daemons.
    #[serde(rename = "DogStatsd")]
    pub dog_statsd: Vec<Address>,
    /// Sent to statsd daemons.
    #[serde(rename = "Statsd")]
    pub statsd: Vec<Address>,
    /// Sent to M3 collectors.
    #[serde(rename = "M3")]
    pub m3: Vec<M3>,
    /// Kept in memory and dumped on SIGUSR1.
    #[serde(rename = "InMem")]
    pub in_mem: Option<Empty>,
}

/// `telemetry.Prometheus`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prometheus {
    /// Where to listen.
    pub host: Option<IgnoredAny>,
    /// On which port.
    pub port: Option<IgnoredAny>,
    /// Served over TLS.
    pub tls: Option<IgnoredAny>,
}

/// An element of `telemetry.Statsd` or `telemetry.DogStatsd`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    /// Where to send.
    pub address: Option<IgnoredAny>,
}

/// An element of `telemetry.M3`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct M3 {
    /// Where to send.
    pub address: Option<IgnoredAny>,
    /// The tag `env`.
    pub env: Option<IgnoredAny>,
}

/// A block without keys.
#[derive(Debug, Default, Deserialize)]
pub struct Empty {}

/// `health_checks`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HealthChecks {
    /// Whether to listen at all.
    pub listener_enabled: bool,
    /// Where to listen.
    pub bind_address: Option<IgnoredAny>,
    /// On which port.
    pub bind_port: Option<IgnoredAny>,
    /// Path of the liveness check.
    pub live_path: Option<IgnoredAny>,
    /// Path of the readiness check.
    pub ready_path: Option<IgnoredAny>,
}

impl Telemetry {
    /// Whether any sink is asked for.
    pub fn asks(&self) -> bool {
        let Self { prometheus, dog_statsd, statsd, m3, in_mem } = self;
        prometheus.is_some() || !dog_statsd.is_empty() || !statsd.is_empty() || !m3.is_empty() || in_mem.is_some()
    }
}

impl HealthChecks {
    /// Whether the listener is asked for.
    pub fn asks(&self) -> bool {
        self.listener_enabled
    }
}

/// A section with keys that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSection {
    /// As the reference's log calls it.
    pub name: &'static str,
    /// Sorted, each with its line.
    pub keys: Vec<UnknownKey>,
}

impl UnknownSection {
    /// One line a key, for those who read it at a terminal; each begins with a newline.
    pub fn lines(&self) -> String {
        let Self { name, keys } = self;
        let line = |key: &UnknownKey| {
            let UnknownKey { name: key, line } = key;
            format!("\n  line {line}: {key:?} means nothing in section {name}")
        };
        keys.iter().map(line).collect()
    }

    /// Names alone, joined by commas: field `keys` of the log line.
    pub fn names(&self) -> String {
        self.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(",")
    }
}

/// Those of the unknown keys that are not simply ignored: `checked` has the paths of their sections, and what the
/// reference's log calls these.
pub fn refused(unknown: &[UnknownKeys], checked: &[(&str, &'static str)]) -> Vec<UnknownSection> {
    let mut sections = Vec::new();
    for (path, name) in checked {
        // An element of a list is its own section: `telemetry.Statsd[1]`.
        let is_it = |section: &str| section.split('[').next() == Some(*path) && !section.contains("].");
        for UnknownKeys { section, keys } in unknown {
            if is_it(section) {
                sections.push(UnknownSection { name, keys: keys.clone() });
            }
        }
    }
    sections
}

/// A warning of each feature flag that is on.
pub fn feature_flags(flags: &[String]) -> impl Iterator<Item = Warning> {
    flags.iter().map(|flag| format!("Developer feature flag {flag:?} has been enabled").into())
}

/// Refuses feature flags that there are not.
///
/// # Errors
/// Those flags, sorted, with a space between.
pub fn check_feature_flags(flags: &[String]) -> Result<(), String> {
    const KNOWN: [&str; 2] = ["wit-svid", "i_am_a_test_flag"];
    let mut unknown: Vec<&str> = flags.iter().map(String::as_str).filter(|flag| !KNOWN.contains(flag)).collect();
    unknown.sort_unstable();
    if unknown.is_empty() { Ok(()) } else { Err(unknown.join(" ")) }
}
