//! What the files of both daemons share: sections of the same form, and what becomes of keys that mean nothing.

use std::time::Duration;

use serde::Deserialize;

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

/// `health_checks`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HealthChecks {
    /// Whether to listen at all.
    pub listener_enabled: bool,
    /// Where to listen.
    pub bind_address: String,
    /// On which port.
    pub bind_port: String,
    /// Path of the liveness check.
    pub live_path: String,
    /// Path of the readiness check.
    pub ready_path: String,
}

/// `health_checks` with its defaults, where the listener is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthListener {
    /// `host:port`
    pub address: String,
    /// `live_path`
    pub live_path: String,
    /// `ready_path`
    pub ready_path: String,
}

impl HealthChecks {
    /// The listener, if it is asked for.
    ///
    /// # Errors
    /// Nobody could ask under these paths, in words. The reference ends with a panic when it starts.
    pub fn listener(self) -> Result<Option<HealthListener>, String> {
        let Self { listener_enabled, bind_address, bind_port, live_path, ready_path } = self;
        if !listener_enabled {
            return Ok(None);
        }
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let (live_path, ready_path) = (or(live_path, "/live"), or(ready_path, "/ready"));
        if let Some(path) = [&live_path, &ready_path].into_iter().find(|path| !path.starts_with('/')) {
            return Err(format!("health_checks: {path:?} is no path: it must begin with a slash"));
        }
        if live_path == ready_path {
            return Err(format!("health_checks: live_path and ready_path are the same: {live_path:?}"));
        }
        let (host, port) = (or(bind_address, "localhost"), or(bind_port, "80"));
        let host = host.trim_matches(['[', ']']);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Some(HealthListener { address, live_path, ready_path }))
    }
}

/// `profiling_*`, where profiling is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiling {
    /// `profiling_port`: where profiles can be asked for on this host.
    pub port: Option<i64>,
    /// `profiling_freq`: how often they are written to files.
    pub every: Option<Duration>,
    /// `profiling_names`: which of them.
    pub names: Vec<String>,
}

impl Profiling {
    /// What the keys say; 0 and less say nothing, as in the reference.
    pub fn of(is_enabled: bool, port: i64, seconds: i64, names: &[String]) -> Option<Self> {
        let every = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let port = Some(port).filter(|port| *port > 0);
        is_enabled.then(|| Self { port, every, names: names.to_owned() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(text: &str) -> Result<Option<HealthListener>, String> {
        let body = crate::hcl::parse(text).unwrap();
        crate::decode::decode::<HealthChecks>(&body).unwrap().value.listener()
    }

    #[test]
    fn health_is_told_where_the_file_says_and_else_on_port_80_of_this_host() {
        assert_eq!(listener("bind_port = 1"), Ok(None));
        let of = |address: &str, live_path: &str, ready_path: &str| {
            let [address, live_path, ready_path] = [address, live_path, ready_path].map(str::to_owned);
            Ok(Some(HealthListener { address, live_path, ready_path }))
        };
        assert_eq!(listener("listener_enabled = true"), of("localhost:80", "/live", "/ready"));
        for port in ["8080", "\"8080\""] {
            for (host, address) in [("[::1]", "[::1]:8080"), ("::1", "[::1]:8080"), ("0.0.0.0", "0.0.0.0:8080")] {
                let text = format!("listener_enabled = true\nbind_address = \"{host}\"\nbind_port = {port}");
                assert_eq!(listener(&text), of(address, "/live", "/ready"));
            }
        }
        assert_eq!(
            listener("listener_enabled = true\nlive_path = \"/a\"\nready_path = \"/b\""),
            of("localhost:80", "/a", "/b")
        );
    }

    #[test]
    fn profiles_are_told_and_written_where_that_is_asked_for() {
        let names = ["heap".to_owned()];
        assert_eq!(Profiling::of(false, 1, 1, &names), None);
        let of = |port, seconds| Profiling::of(true, port, seconds, &names).unwrap();
        let (port, every) = (Some(6060), Some(Duration::from_secs(30)));
        assert_eq!(of(6060, 30), Profiling { port, every, names: names.to_vec() });
        assert_eq!((of(0, -1).port, of(0, -1).every), (None, None));
    }

    #[test]
    fn paths_that_nobody_could_ask_for_are_refused() {
        for (paths, why) in [
            ("live_path = \"live\"", "\"live\" is no path: it must begin with a slash"),
            ("live_path = \"/ready\"", "live_path and ready_path are the same: \"/ready\""),
        ] {
            let refused = listener(&format!("listener_enabled = true\n{paths}")).unwrap_err();
            assert_eq!(refused, format!("health_checks: {why}"));
        }
    }
}
