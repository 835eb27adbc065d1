//! Why a configuration is refused, in the reference's words.

use std::path::PathBuf;

use steeple_config::plugins::PluginBlock;
use steeple_config::sections::{UnknownSection, Warning};
use steeple_runtime::logging;
use steeple_spiffe::TrustDomain;

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
    /// An old name and its new one.
    #[error("both experimental sql_transaction_timeout and event_timeout set, only set event_timeout")]
    BothEventTimeouts,
    /// One of `proxy_protocol_trusted_cidrs`
    #[error("invalid proxy_protocol_trusted_cidrs value {0:?}: invalid CIDR address: {0}")]
    Proxies(String),
    /// For Windows alone.
    #[error("invalid configuration: named_pipe_name is not supported in this platform; please use socket_path instead")]
    NamedPipe,
    /// `log_level`
    #[error("could not start logger: {0}")]
    LogLevel(steeple_runtime::logging::UnknownLevel),
    /// `log_format`
    #[error("could not start logger: {0}")]
    LogFormat(steeple_runtime::logging::UnknownFormat),
    /// `bind_address` or `bind_port`
    #[error("could not resolve bind address {address:?}: {error}")]
    BindAddress {
        /// Both, joined.
        address: String,
        /// Why.
        error: String,
    },
    /// `socket_path`
    #[error("could not make socket path {path:?} absolute: {error}")]
    SocketPath {
        /// The path.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// `trust_domain`
    #[error("could not parse trust_domain {value:?}: {error}")]
    TrustDomain {
        /// What it says.
        value: String,
        /// Why.
        error: steeple_spiffe::IdError,
    },
    /// `admin_ids`
    #[error("could not parse admin ID {value:?}: {error}")]
    AdminId {
        /// The one of them.
        value: String,
        /// Why.
        error: steeple_spiffe::IdError,
    },
    /// A TTL.
    #[error("could not parse {what} {value:?}: {error}")]
    Ttl {
        /// Which.
        what: &'static str,
        /// What it says.
        value: String,
        /// Why.
        error: steeple_config::Error,
    },
    /// `ca_key_type` or `jwt_key_type`
    #[error("error parsing {what}: {error}")]
    KeyType {
        /// The key.
        what: &'static str,
        /// Why.
        error: steeple_pki::PkiError,
    },
    /// `max_attested_node_info_staleness`
    #[error("could not parse max attested node staleness {value:?}: {error}")]
    Staleness {
        /// What it says.
        value: String,
        /// Why.
        error: steeple_config::Error,
    },
    /// `prune_attested_nodes_expired_for`
    #[error("could not parse prune_attested_nodes_expired_for: {0}")]
    PruneNodes(steeple_config::Error),
    /// A duration of `experimental`.
    #[error("could not parse {what}: {error}")]
    ExperimentalDuration {
        /// Which.
        what: &'static str,
        /// Why.
        error: steeple_config::Error,
    },
    /// `cache_reload_interval` and `full_cache_reload_interval`
    #[error("full cache reload interval must be greater than cache reload interval")]
    ReloadIntervals,
    /// `experimental.steeple.otlp`
    #[error("experimental.steeple.otlp.{0}")]
    Otlp(String),
    /// A plugin block.
    #[error(transparent)]
    Plugins(#[from] steeple_config::Error),
    /// `experimental.steeple.connection_age`
    #[error("experimental.steeple.connection_age: {0}")]
    ConnectionAge(String),
    /// `federation`
    #[error("{0}")]
    Federation(String),
    /// `experimental.steeple.max_staleness`
    #[error("experimental.steeple.max_staleness: {0}")]
    MaxStaleness(String),
    /// `experimental.steeple.inventory`
    #[error("experimental.steeple.inventory: {0}")]
    Inventory(String),
    /// Keys that mean nothing. Each section is logged with its keys before.
    #[error("unknown configuration detected")]
    UnknownKeys(Vec<UnknownSection>),
    /// There is no DataStore block, and nothing else is wrong.
    #[error("expecting a DataStore plugin")]
    NoDataStore(Box<WithoutDataStore>),
    /// There are several.
    #[error("only one DataStore plugin is allowed")]
    SeveralDataStores,
    /// It is not `sql`.
    #[error("pluggability for the DataStore is deprecated; only the built-in \"sql\" plugin is supported")]
    ForeignDataStore,
    /// The datastore's `plugin_data_file`.
    #[error("failed to read plugin configuration: open {}: {error}", path.display())]
    DataFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The datastore's configuration.
    #[error(transparent)]
    DataStore(#[from] steeple_datastore::Error),
}

/// What a configuration without a datastore has that can be checked all the same.
#[derive(Debug)]
pub struct WithoutDataStore {
    /// `trust_domain`
    pub trust_domain: TrustDomain,
    /// `log_*`
    pub log: logging::Options,
    /// Every plugin.
    pub plugins: Vec<PluginBlock>,
    /// What its author should think over once more, in words for the log.
    pub warnings: Vec<Warning>,
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
    ("server", "server"),
    ("server.ca_subject", "ca_subject"),
    ("server.ratelimit", "ratelimit"),
    ("server.federation.bundle_endpoint", "bundle endpoint"),
    ("server.federation.bundle_endpoint.acme", "bundle endpoint ACME"),
    ("telemetry.Prometheus", "Prometheus"),
    ("telemetry.DogStatsd", "DogStatsd"),
    ("telemetry.Statsd", "Statsd"),
    ("telemetry.M3", "M3"),
    ("telemetry.InMem", "InMem"),
    ("health_checks", "health check"),
];
