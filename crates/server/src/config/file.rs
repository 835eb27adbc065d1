//! The configuration file, key by key, as it is written. What a key may hold is checked by [`super::Config`].

use serde::Deserialize;
use serde::de::IgnoredAny;
use steeple_config::decode::Labelled;
use steeple_config::otlp;
use steeple_config::sections::HealthChecks;
use steeple_config::telemetry::Telemetry;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) server: Server,
    /// Read by its own reader, which keeps the order.
    pub(super) plugins: Option<IgnoredAny>,
    pub(super) telemetry: Option<Telemetry>,
    pub(super) health_checks: Option<HealthChecks>,
}

/// `server`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) admin_ids: Vec<String>,
    pub(super) agent_ttl: String,
    pub(super) audit_log_enabled: bool,
    pub(super) bind_address: String,
    pub(super) bind_port: i64,
    pub(super) ca_key_type: String,
    pub(super) ca_subject: Option<CaSubject>,
    pub(super) ca_ttl: String,
    pub(super) data_dir: String,
    pub(super) default_x509_svid_ttl: String,
    pub(super) default_jwt_svid_ttl: String,
    pub(super) disable_jwt_svids: bool,
    pub(super) experimental: Experimental,
    pub(super) federation: Option<Federation>,
    pub(super) jwt_issuer: String,
    pub(super) jwt_key_type: String,
    pub(super) log_file: String,
    pub(super) log_format: String,
    pub(super) log_level: String,
    pub(super) log_source_location: bool,
    pub(super) max_attested_node_info_staleness: Option<String>,
    pub(super) profiling_enabled: bool,
    pub(super) profiling_freq: i64,
    pub(super) profiling_names: Vec<String>,
    pub(super) profiling_port: i64,
    pub(super) proxy_protocol_trusted_cidrs: Vec<String>,
    pub(super) prune_attested_nodes_batch_size: i64,
    pub(super) prune_attested_nodes_expired_for: String,
    pub(super) prune_tofu_nodes: bool,
    pub(super) ratelimit: RateLimit,
    pub(super) socket_path: String,
    pub(super) trust_domain: String,
    /// Accepted without effect, as in the reference.
    #[serde(rename = "ConfigPath")]
    pub(super) config_path: Option<IgnoredAny>,
    /// Accepted without effect, as in the reference.
    #[serde(rename = "ExpandEnv")]
    pub(super) expand_env: Option<IgnoredAny>,
}

/// `server.ca_subject`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CaSubject {
    pub(super) country: Vec<String>,
    pub(super) organization: Vec<String>,
    pub(super) common_name: String,
}

impl CaSubject {
    /// Whether it says nothing, so that the default holds.
    pub(super) fn is_empty(&self) -> bool {
        let Self { country, organization, common_name } = self;
        country.is_empty() && organization.is_empty() && common_name.is_empty()
    }
}

/// `server.experimental`; keys that are not here are ignored.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Experimental {
    pub(super) agent_spiffe_id_as_selector: bool,
    pub(super) auth_opa_policy_engine: Option<PolicyEngine>,
    pub(super) cache_reload_interval: String,
    pub(super) event_timeout: String,
    pub(super) events_based_cache: bool,
    pub(super) feature_flags: Vec<String>,
    pub(super) full_cache_reload_interval: String,
    pub(super) named_pipe_name: String,
    pub(super) prune_events_older_than: String,
    pub(super) require_pq_kem: bool,
    pub(super) sql_transaction_timeout: String,
    pub(super) steeple: Option<Steeple>,
    pub(super) wit_issuer: String,
    pub(super) wit_key_type: String,
}

/// `server.experimental.auth_opa_policy_engine`
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct PolicyEngine {
    pub(super) local: Option<PolicyFiles>,
}

/// `server.experimental.auth_opa_policy_engine.local`
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct PolicyFiles {
    pub(super) policy_data_path: String,
    pub(super) rego_path: String,
}

/// `server.experimental.steeple`: what the reference does not know, and ignores.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Steeple {
    pub(super) connection_age: String,
    pub(super) inventory: Option<Inventory>,
    pub(super) max_staleness: String,
    pub(super) otlp: Option<otlp::Section>,
    pub(super) reload_on_hup: bool,
}

/// `server.experimental.steeple.inventory`
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Inventory {
    pub(super) directory: String,
    pub(super) fail_closed: bool,
    pub(super) keep: String,
    pub(super) max_file_size: i64,
    pub(super) sink: String,
}

/// `server.ratelimit`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RateLimit {
    pub(super) attestation: Option<bool>,
    pub(super) signing: Option<bool>,
}

/// `server.federation`; keys that are not here are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Federation {
    pub(super) bundle_endpoint: Option<BundleEndpoint>,
    pub(super) federates_with: Labelled<FederatesWith>,
}

/// `server.federation.bundle_endpoint`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BundleEndpoint {
    pub(super) acme: Option<Acme>,
    pub(super) address: String,
    pub(super) port: i64,
    pub(super) profile: Option<Labelled<EndpointProfile>>,
    pub(super) refresh_hint: String,
}

/// `acme`, in `server.federation.bundle_endpoint` or in its profile.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Acme {
    pub(super) directory_url: String,
    pub(super) domain_name: String,
    pub(super) email: String,
    pub(super) tos_accepted: bool,
}

/// `server.federation.bundle_endpoint.profile`; keys that are not here are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointProfile {
    pub(super) acme: Option<Acme>,
    pub(super) serving_cert_file: Option<ServingCertFile>,
}

/// `serving_cert_file` of a profile
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServingCertFile {
    pub(super) cert_file_path: String,
    pub(super) file_sync_interval: String,
    pub(super) key_file_path: String,
}

/// `server.federation.federates_with`; keys that are not here are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FederatesWith {
    pub(super) bundle_endpoint_profile: Option<Labelled<RelationshipProfile>>,
    pub(super) bundle_endpoint_url: String,
}

/// `bundle_endpoint_profile` of a relationship
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RelationshipProfile {
    pub(super) endpoint_spiffe_id: String,
}
