//! The configuration file, key by key, as it is written. What a key may hold is checked by [`super::Config`].

use serde::Deserialize;
use serde::de::IgnoredAny;
use steeple_config::otlp;
use steeple_config::sections::HealthChecks;
use steeple_config::telemetry::Telemetry;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) agent: Agent,
    /// Read by its own reader, which keeps the order.
    pub(super) plugins: Option<IgnoredAny>,
    pub(super) telemetry: Option<Telemetry>,
    pub(super) health_checks: Option<HealthChecks>,
}

/// `agent.sds`; keys that are not here are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sds {
    pub(super) default_all_bundles_name: String,
    pub(super) default_bundle_name: String,
    pub(super) default_svid_name: String,
    pub(super) disable_spiffe_cert_validation: bool,
}

impl Sds {
    /// Whether all bundles would be found under the name of the agent's own one.
    pub(super) fn has_one_name_for_both(&self) -> bool {
        fn or<'a>(name: &'a str, default: &'a str) -> &'a str {
            if name.is_empty() { default } else { name }
        }
        let Self {
            default_all_bundles_name,
            default_bundle_name,
            default_svid_name: _,
            disable_spiffe_cert_validation: _,
        } = self;
        or(default_bundle_name, "ROOTCA") == or(default_all_bundles_name, "ALL")
    }
}

/// `agent`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Agent {
    pub(super) admin_socket_path: String,
    pub(super) allow_unauthenticated_verifiers: bool,
    pub(super) allowed_foreign_jwt_claims: Vec<String>,
    pub(super) authorized_delegates: Vec<String>,
    pub(super) availability_target: String,
    pub(super) data_dir: String,
    pub(super) disable_sds_api: bool,
    pub(super) disable_workload_api: bool,
    pub(super) experimental: Experimental,
    pub(super) insecure_bootstrap: bool,
    pub(super) join_token: String,
    pub(super) join_token_file: String,
    pub(super) jwt_svid_cache_max_size: i64,
    pub(super) log_file: String,
    pub(super) log_format: String,
    pub(super) log_level: String,
    pub(super) log_selectors: Vec<String>,
    pub(super) log_source_location: bool,
    pub(super) profiling_enabled: bool,
    pub(super) profiling_freq: i64,
    pub(super) profiling_names: Vec<String>,
    pub(super) profiling_port: i64,
    pub(super) rebootstrap_delay: String,
    pub(super) rebootstrap_mode: String,
    pub(super) sds: Option<Sds>,
    pub(super) server_address: String,
    pub(super) server_port: i64,
    pub(super) socket_path: String,
    pub(super) trust_bundle_format: String,
    pub(super) trust_bundle_path: String,
    pub(super) trust_bundle_spiffe_workload_api: String,
    pub(super) trust_bundle_unix_socket: String,
    pub(super) trust_bundle_url: String,
    pub(super) trust_domain: String,
    pub(super) workload_x509_svid_key_type: String,
    pub(super) x509_svid_cache_max_size: i64,
    /// Accepted without effect, as in the reference.
    #[serde(rename = "ConfigPath")]
    pub(super) config_path: Option<IgnoredAny>,
    /// Accepted without effect, as in the reference.
    #[serde(rename = "ExpandEnv")]
    pub(super) expand_env: Option<IgnoredAny>,
}

/// `agent.experimental`; keys that are not here are ignored.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Experimental {
    pub(super) admin_named_pipe_name: String,
    pub(super) broker: Option<Broker>,
    pub(super) feature_flags: Vec<String>,
    pub(super) jwt_svid_cache_hit_timeout: String,
    pub(super) named_pipe_name: String,
    pub(super) ratelimit: Option<RateLimit>,
    pub(super) require_pq_kem: bool,
    pub(super) steeple: Option<Steeple>,
    pub(super) sync_interval: String,
    pub(super) use_sync_authorized_entries: Option<bool>,
}

/// `agent.experimental.steeple`: what the reference does not know, and ignores.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Steeple {
    pub(super) otlp: Option<otlp::Section>,
    pub(super) server_addresses: Vec<String>,
}

/// `agent.experimental.broker`
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Broker {
    pub(super) bind_address: String,
    pub(super) brokers: Option<IgnoredAny>,
    pub(super) socket_path: String,
}

/// `agent.experimental.ratelimit`
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct RateLimit {
    pub(super) fetch_x509_svid: i64,
    pub(super) fetch_jwt_svid: i64,
    pub(super) fetch_x509_bundles: i64,
    pub(super) fetch_jwt_bundles: i64,
    pub(super) stream_secrets: i64,
    pub(super) fetch_secrets: i64,
}
