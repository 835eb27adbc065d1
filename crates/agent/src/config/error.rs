//! Why a configuration is refused, in the reference's words.

use std::path::PathBuf;

use steeple_config::sections::UnknownSection;
use steeple_runtime::os::unread;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no HCL or JSON, or a key has the wrong type.
    #[error("unable to decode configuration at {path:?}: {error}")]
    Undecodable {
        /// The file.
        path: String,
        /// Where and what.
        error: steeple_config::Error,
    },
    /// Feature flags that there are not.
    #[error("error loading feature flags: unknown feature flag(s): [{0}]")]
    FeatureFlags(String),
    /// Health cannot be told under these paths.
    #[error("{0}")]
    HealthChecks(String),
    /// A key that must be there is not.
    #[error("{0} must be configured")]
    Missing(&'static str),
    /// Two keys that exclude each other.
    #[error("only one of {0} or {1} can be specified, not both")]
    Both(&'static str, &'static str),
    /// Three keys that exclude each other.
    #[error(
        "only one of insecure_bootstrap, trust_bundle_url, or trust_bundle_path can be specified, not the three options"
    )]
    AllThree,
    /// `trust_bundle_unix_socket` with `trust_bundle_spiffe_workload_api`.
    #[error("trust_bundle_unix_socket can not be used with trust_bundle_spiffe_workload_api")]
    SocketWithWorkloadApi,
    /// `trust_bundle_spiffe_workload_api`
    #[error("trust_bundle_spiffe_workload_api is not a valid SPIFFE Workload API endpoint address: {0}")]
    WorkloadApi(steeple_spiffe::workload_api::EndpointError),
    /// No source for the first bundle.
    #[error(
        "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured unless \
         insecure_bootstrap is set"
    )]
    NoBundleSource,
    /// `trust_bundle_format`
    #[error("invalid value for trust_bundle_format, expected \"pem\" or \"spiffe\"")]
    BundleFormat,
    /// `trust_bundle_unix_socket` alone.
    #[error("if trust_bundle_unix_socket is specified, so must be trust_bundle_url")]
    SocketWithoutUrl,
    /// `trust_bundle_url`
    #[error("trust bundle URL must start with https://")]
    UrlScheme,
    /// `trust_bundle_url` with `trust_bundle_unix_socket`
    #[error("trust bundle URL must start with http:// when used with trust bundle unix socket")]
    UrlSchemeOnSocket,
    /// A parameter that the agent adds itself, by what it begins with.
    #[error("trust_bundle_url query params can not start with {0}")]
    UrlParameter(&'static str),
    /// For Windows alone.
    #[error("invalid configuration: {0} is not supported in this platform; please use {1} instead")]
    NamedPipe(&'static str, &'static str),
    /// `rebootstrap_mode`
    #[error("unknown rebootstrap mode specified: {0}")]
    RebootstrapMode(String),
    /// `insecure_bootstrap` with a `rebootstrap_mode`
    #[error("insecure_bootstrap option can not be used with rebootstrapping")]
    InsecureRebootstrap,
    /// A duration.
    #[error("{what}: {error}")]
    Duration {
        /// What was being read.
        what: &'static str,
        /// Why it could not.
        error: steeple_config::Error,
    },
    /// `jwt_svid_cache_hit_timeout`
    #[error("jwt_svid_cache_hit_timeout ({0}) must be {1}")]
    HitTimeout(String, &'static str),
    /// `log_level`
    #[error("could not start logger: {0}")]
    LogLevel(steeple_runtime::logging::UnknownLevel),
    /// `log_format`
    #[error("could not start logger: {0}")]
    LogFormat(steeple_runtime::logging::UnknownFormat),
    /// A size below zero.
    #[error("{0} should not be negative")]
    Negative(&'static str),
    /// A limit below zero.
    #[error("experimental.ratelimit.{0} must not be negative")]
    NegativeLimit(&'static str),
    /// `trust_domain`
    #[error("could not parse trust_domain {value:?}: {error}")]
    TrustDomain {
        /// What it says.
        value: String,
        /// Why.
        error: steeple_spiffe::IdError,
    },
    /// `socket_path` or `admin_socket_path`
    #[error("could not make socket path {path:?} absolute: {error}")]
    SocketPath {
        /// The path.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// `admin_socket_path` where everybody can reach it.
    #[error(
        "admin socket cannot be in the same directory or a subdirectory as that containing the Workload API socket"
    )]
    AdminSocketDirectory,
    /// `join_token_file`
    #[error("unable to read join token file {path:?}: {}", unread(path, error))]
    JoinTokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// `join_token_file` without a token in it.
    #[error("join token file {0:?} is empty")]
    JoinTokenFileEmpty(PathBuf),
    /// `workload_x509_svid_key_type`
    #[error("key type {0:?} is unknown; must be one of [rsa-2048, ec-p256, ec-p384]")]
    WorkloadKeyType(String),
    /// `server_port`
    #[error("server_port {0} is not a port")]
    ServerPort(i64),
    /// An element of `experimental.steeple.server_addresses`, and what is wrong with it.
    #[error("experimental.steeple.server_addresses: {0:?}: {1}")]
    ServerAddresses(String, String),
    /// `experimental.steeple.otlp`
    #[error("experimental.steeple.otlp.{0}")]
    Otlp(String),
    /// A plugin block.
    #[error(transparent)]
    Plugins(#[from] steeple_config::Error),
    /// Keys that mean nothing. Each section is logged with its keys before.
    #[error("unknown configuration detected")]
    UnknownKeys(Vec<UnknownSection>),
    /// `authorized_delegates`
    #[error("error validating authorized delegate: {0}")]
    Delegate(String),
    /// `experimental.broker` that listens nowhere.
    #[error("experimental.broker requires socket_path, bind_address, or both")]
    BrokerNowhere,
    /// `availability_target`
    #[error("availability_target must be at least 24h0m0s")]
    AvailabilityTarget,
}

impl ConfigError {
    /// The error with all that is known of it, for those who read it at a terminal.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        match self {
            Self::UnknownKeys(sections) => sections.iter().for_each(|section| text.push_str(&section.lines())),
            Self::Undecodable { path: _, error } | Self::Plugins(error) => {
                text.extend(error.expected().map(|expected| format!("\n  expected {expected}")));
            }
            _ => {}
        }
        text
    }
}

/// The sections in which an unknown key stops the start, by path, and what the reference calls them.
pub(super) const CHECKED: &[(&str, &str)] = &[
    ("", "top-level"),
    ("agent", "agent"),
    ("agent.experimental.broker", "experimental.broker"),
    ("agent.experimental.ratelimit", "ratelimit"),
    ("telemetry.Prometheus", "Prometheus"),
    ("telemetry.DogStatsd", "DogStatsd"),
    ("telemetry.Statsd", "Statsd"),
    ("telemetry.M3", "M3"),
    ("telemetry.InMem", "InMem"),
    ("health_checks", "health check"),
];
