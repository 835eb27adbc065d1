//! The server's configuration: the file and the flags become a [`Config`] that cannot be wrong; nothing later checks it
//! again. Texts of errors are the reference's.

mod error;
mod federation;
mod file;
mod inventory;
mod unbuilt;
mod warnings;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use steeple_config::duration::Duration as GoDuration;
use steeple_config::hcl::Body;
use steeple_config::otlp::Otlp;
use steeple_config::plugins::{PluginBlock, PluginData};
use steeple_config::sections::{self, HealthChecks, HealthListener, Profiling, UnknownSection, Warning};
use steeple_config::stated::Stated;
use steeple_config::telemetry::Telemetry;
use steeple_config::{decode, hcl, plugins};
use steeple_datastore::SqlConfig;
use steeple_pki::KeyType;
use steeple_runtime::logging;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::health;
use steeple_transport::listen::Proxies;
use steeple_transport::tls::KeyExchange;

use crate::authpolicy::{Files, Source};
use crate::ca::sign::Lifetimes;
use crate::ca::{CaConfig, CaSubject};
use crate::endpoints::CONNECTION_AGE;
use crate::freshness::MAX_STALENESS;
use crate::inventory::InventoryConfig;
use crate::limits::RateLimits;
pub use crate::prune::NodePruning;
pub use error::{ConfigError, WithoutDataStore};
use file::{Experimental, File, PolicyEngine, PolicyFiles, Server, Steeple};

/// A server's configuration.
#[derive(Debug)]
pub struct Config {
    /// `trust_domain`
    pub trust_domain: TrustDomain,
    /// `bind_address` and `bind_port`, resolved.
    pub bind_address: SocketAddr,
    /// `socket_path`, absolute.
    pub socket_path: PathBuf,
    /// `data_dir`
    pub data_dir: PathBuf,
    /// `log_*`
    pub log: logging::Options,
    /// `admin_ids`
    pub admin_ids: Vec<SpiffeId>,
    /// `audit_log_enabled`
    pub audit_log_enabled: bool,
    /// `experimental.auth_opa_policy_engine`
    pub policy: Source,
    /// `ratelimit`
    pub rate_limits: RateLimits,
    /// `ca_*`, `jwt_key_type` and `experimental.wit_key_type`
    pub ca: CaConfig,
    /// `*_ttl`
    pub lifetimes: Lifetimes,
    /// `jwt_issuer`; None with `disable_jwt_svids`
    pub jwt_issuer: Option<String>,
    /// `experimental.wit_issuer`; None without the feature flag `wit-svid`
    pub wit_issuer: Option<String>,
    /// `experimental.agent_spiffe_id_as_selector`
    pub agent_id_as_selector: bool,
    /// `experimental.prune_events_older_than`
    pub prune_events_older_than: Duration,
    /// `prune_attested_nodes_*` and `prune_tofu_nodes`; None when agents are kept.
    pub prune_nodes: Option<NodePruning>,
    /// `experimental.full_cache_reload_interval`
    pub compare_every: Duration,
    /// `experimental.steeple.connection_age`
    pub connection_age: Duration,
    /// `experimental.steeple.max_staleness`
    pub max_staleness: Duration,
    /// `proxy_protocol_trusted_cidrs`
    pub proxies: Proxies,
    /// `experimental.steeple.reload_on_hup`
    pub reload_on_hup: bool,
    /// `experimental.steeple.inventory`
    pub inventory: Option<InventoryConfig>,
    /// `experimental.require_pq_kem`
    pub key_exchange: KeyExchange,
    /// `health_checks`, where the listener is enabled.
    pub health: Option<health::Place>,
    /// `telemetry`
    pub telemetry: Telemetry,
    /// `profiling_*`, where it is enabled.
    pub profiling: Option<Profiling>,
    /// `experimental.steeple.otlp`
    pub otlp: Option<Otlp>,
    /// Every plugin but the datastore, in the order of the file.
    pub plugins: Vec<PluginBlock>,
    /// `DataStore "sql"`
    pub datastore: steeple_datastore::Options,
    /// Whether the datastore's configuration stands in a file of its own (`plugin_data_file`).
    pub datastore_is_in_file: bool,
    /// What the file says, setting by setting.
    pub stated: Stated,
    /// What the file asks for and this program does not do yet, in words for the log.
    pub unbuilt: Vec<String>,
    /// What its author should think over once more, in words for the log.
    pub warnings: Vec<Warning>,
}

/// What the command line says in place of the file. Empty and 0 say nothing, as in the reference.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `-bindAddress`
    pub bind_address: String,
    /// `-serverPort`
    pub server_port: i64,
    /// `-dataDir`
    pub data_dir: String,
    /// `-logFile`
    pub log_file: String,
    /// `-logFormat`
    pub log_format: String,
    /// `-logLevel`
    pub log_level: String,
    /// `-logSourceLocation`
    pub log_source_location: bool,
    /// `-trustDomain`
    pub trust_domain: String,
    /// `-socketPath`
    pub socket_path: String,
}

/// A database that answers slowly is not away: what is known may always be so old.
const LEAST_STALENESS: Duration = Duration::from_secs(10);
/// Whoever connects anew all the time does nothing else.
const LEAST_CONNECTION_AGE: Duration = Duration::from_secs(1);

impl Config {
    /// Reads the text of a configuration file at `path`, which is only named in errors.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, path: &str, flags: Flags) -> Result<Self, ConfigError> {
        let undecodable = |error| ConfigError::Undecodable { path: path.to_owned(), error };
        let body = hcl::parse(text).map_err(undecodable)?;
        let decoded = decode::decode::<File>(&body).map_err(undecodable)?;
        let unknown = sections::refused(&decoded.unknown, error::CHECKED);
        let unbuilt = unbuilt::of(&decoded.value);
        let File { server, plugins, telemetry, health_checks } = decoded.value;
        let telemetry = telemetry.unwrap_or_default();
        Self::build(merge(server, flags), plugins.is_some(), &body, unknown, unbuilt, health_checks, telemetry)
    }

    /// In the reference's order, which decides which of several errors is told.
    fn build(
        server: Server,
        has_plugins: bool,
        body: &Body,
        unknown: Vec<UnknownSection>,
        unbuilt: Vec<String>,
        health_checks: Option<HealthChecks>,
        telemetry: Telemetry,
    ) -> Result<Self, ConfigError> {
        sections::check_feature_flags(&server.experimental.feature_flags).map_err(ConfigError::FeatureFlags)?;
        if server.trust_domain.is_empty() {
            return Err(ConfigError::Missing("trust_domain"));
        }
        if server.data_dir.is_empty() {
            return Err(ConfigError::Missing("data_dir"));
        }
        if !has_plugins {
            return Err(ConfigError::Missing("plugins section"));
        }
        federation::check_places(server.federation.as_ref()).map_err(ConfigError::Federation)?;
        check_experimental(&server.experimental)?;
        let proxies = proxies(&server.proxy_protocol_trusted_cidrs)?;
        if !server.experimental.named_pipe_name.is_empty() {
            return Err(ConfigError::NamedPipe);
        }
        let log = log_options(&server)?;
        let bind_address = resolve(&server.bind_address, server.bind_port)?;
        let socket_path = std::path::absolute(&server.socket_path)
            .map_err(|error| ConfigError::SocketPath { path: server.socket_path.clone(), error })?;
        let trust_domain = TrustDomain::parse(&server.trust_domain)
            .map_err(|error| ConfigError::TrustDomain { value: server.trust_domain.clone(), error })?;
        let of_federation = federation::check(server.federation.as_ref()).map_err(ConfigError::Federation)?;
        check_staleness(&server)?;
        let admin_ids = server
            .admin_ids
            .iter()
            .map(|id| SpiffeId::parse(id).map_err(|error| ConfigError::AdminId { value: id.clone(), error }));
        let admin_ids = admin_ids.collect::<Result<_, _>>()?;
        let lifetimes = lifetimes(&server)?;
        let ca = ca(&server, lifetimes.ca)?;
        let blocks = plugins::read(body)?.unwrap_or_default();
        let stated = Stated::of(body, &blocks);
        let (stores, plugins): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.kind == "DataStore");
        let prune_nodes = node_pruning(&server)?;
        if !unknown.is_empty() {
            return Err(ConfigError::UnknownKeys(unknown));
        }
        let health = health_checks.unwrap_or_default().listener().map_err(ConfigError::HealthChecks)?;
        let health = health.map(|HealthListener { address, live_path, ready_path }| health::Place {
            address,
            live_path,
            ready_path,
        });
        let warnings = [of_federation, warnings::of(&server, &ca, &lifetimes)].concat();
        let (prune_events_older_than, compare_every) = experimental_durations(&server.experimental)?;
        let none = Steeple::default();
        let own = server.experimental.steeple.as_ref().unwrap_or(&none);
        let connection_age = own_length(&own.connection_age, LEAST_CONNECTION_AGE, CONNECTION_AGE);
        let connection_age = connection_age.map_err(ConfigError::ConnectionAge)?;
        let max_staleness = own_length(&own.max_staleness, LEAST_STALENESS, MAX_STALENESS);
        let max_staleness = max_staleness.map_err(ConfigError::MaxStaleness)?;
        let otlp = own.otlp.as_ref().map(|section| section.checked().map_err(ConfigError::Otlp)).transpose()?;
        let profiling = Profiling::of(
            server.profiling_enabled,
            server.profiling_port,
            server.profiling_freq,
            &server.profiling_names,
        );
        let reload_on_hup = own.reload_on_hup;
        if stores.is_empty() {
            let rest = WithoutDataStore { trust_domain, log, plugins, warnings };
            return Err(ConfigError::NoDataStore(Box::new(rest)));
        }
        let datastore_is_in_file = stores.iter().any(|store| matches!(store.data, PluginData::File(_)));
        let datastore = datastore(&stores)?;
        let inventory = inventory::checked(&server, &datastore)?;
        Ok(Self {
            trust_domain,
            bind_address,
            socket_path,
            data_dir: server.data_dir.into(),
            log,
            admin_ids,
            audit_log_enabled: server.audit_log_enabled,
            policy: policy(server.experimental.auth_opa_policy_engine),
            rate_limits: RateLimits {
                attestation: server.ratelimit.attestation.unwrap_or(true),
                signing: server.ratelimit.signing.unwrap_or(true),
            },
            wit_issuer: ca.wit_key_type.map(|_| server.experimental.wit_issuer),
            ca,
            lifetimes,
            jwt_issuer: (!server.disable_jwt_svids).then_some(server.jwt_issuer),
            agent_id_as_selector: server.experimental.agent_spiffe_id_as_selector,
            prune_events_older_than,
            prune_nodes,
            compare_every,
            connection_age,
            max_staleness,
            proxies,
            reload_on_hup,
            inventory,
            key_exchange: KeyExchange::post_quantum(server.experimental.require_pq_kem),
            health,
            telemetry,
            profiling,
            otlp,
            plugins,
            datastore_is_in_file,
            datastore,
            stated,
            unbuilt,
            warnings,
        })
    }
}

/// Flags over the file over the defaults, by filling what is empty.
fn merge(server: Server, flags: Flags) -> Server {
    let Flags {
        bind_address,
        server_port,
        data_dir,
        log_file,
        log_format,
        log_level,
        log_source_location,
        trust_domain,
        socket_path,
    } = flags;
    let first = |flag: String, file: String, default: &str| {
        [flag, file].into_iter().find(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    let port = [server_port, server.bind_port].into_iter().find(|port| *port != 0).unwrap_or(8081);
    Server {
        bind_address: first(bind_address, server.bind_address, "0.0.0.0"),
        bind_port: port,
        data_dir: first(data_dir, server.data_dir, ""),
        log_file: first(log_file, server.log_file, ""),
        log_format: first(log_format, server.log_format, ""),
        log_level: first(log_level, server.log_level, "INFO"),
        log_source_location: log_source_location || server.log_source_location,
        trust_domain: first(trust_domain, server.trust_domain, ""),
        socket_path: first(socket_path, server.socket_path, "/tmp/spire-server/private/api.sock"),
        ..server
    }
}

fn check_experimental(experimental: &Experimental) -> Result<(), ConfigError> {
    if !experimental.event_timeout.is_empty() && !experimental.sql_transaction_timeout.is_empty() {
        return Err(ConfigError::BothEventTimeouts);
    }
    Ok(())
}

/// A lone address is no network, as in the reference.
fn proxies(networks: &[String]) -> Result<Proxies, ConfigError> {
    let network = |text: &String| {
        let (address, length) = text.split_once('/')?;
        // As Go reads it: digits alone.
        let length = length.bytes().all(|byte| byte.is_ascii_digit()).then(|| length.parse().ok())??;
        IpNet::new(address.parse().ok()?, length).ok()
    };
    let networks = networks.iter().map(|text| network(text).ok_or_else(|| ConfigError::Proxies(text.clone())));
    Ok(Proxies::new(networks.collect::<Result<_, _>>()?))
}

/// It is checked and has no effect: what is known of an agent is as new as the feed.
fn check_staleness(server: &Server) -> Result<(), ConfigError> {
    let Some(text) = &server.max_attested_node_info_staleness else { return Ok(()) };
    match text.parse::<GoDuration>() {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigError::Staleness { value: text.clone(), error }),
    }
}

/// A length that is not above zero keeps all agents. The reference takes a negative one for the time before the end of an
/// SVID, and so throws out agents that are well.
fn node_pruning(server: &Server) -> Result<Option<NodePruning>, ConfigError> {
    let text = &server.prune_attested_nodes_expired_for;
    if text.is_empty() {
        return Ok(None);
    }
    let expired_for: GoDuration = text.parse().map_err(ConfigError::PruneNodes)?;
    let batch = server.prune_attested_nodes_batch_size;
    let expired_for = expired_for.to_std().filter(|length| !length.is_zero());
    Ok(expired_for.map(|expired_for| NodePruning {
        expired_for,
        include_tofu: server.prune_tofu_nodes,
        batch: if batch <= 0 { NodePruning::BATCH } else { u32::try_from(batch).unwrap_or(u32::MAX) },
    }))
}

/// A length under one of our own keys. Nothing else than one that is long enough is meant by anybody.
fn own_length(text: &str, least: Duration, default: Duration) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(default);
    }
    let parsed: GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    let length = parsed.to_std().filter(|length| *length >= least);
    length.ok_or_else(|| format!("it must be at least {}s", least.as_secs()))
}

/// Each is checked, though most of them tune what works otherwise here. Returns how long events are kept, and how often all
/// of the database is compared.
fn experimental_durations(experimental: &Experimental) -> Result<(Duration, Duration), ConfigError> {
    duration(&experimental.cache_reload_interval, "cache reload interval")?;
    let whole = duration(&experimental.full_cache_reload_interval, "full cache reload interval")?;
    duration(&experimental.event_timeout, "event timeout interval")?;
    duration(&experimental.sql_transaction_timeout, "SQL transaction timeout interval")?;
    check_reload_intervals(experimental)?;
    let events = duration(&experimental.prune_events_older_than, "prune events interval")?;
    const HOUR: Duration = Duration::from_secs(60 * 60);
    Ok((events.unwrap_or(HOUR * 12), whole.unwrap_or(HOUR * 24)))
}

/// The first has no effect here, but a server of the reference does not start with them the wrong way round. Only 0 means
/// the default: one below it stays what it is.
fn check_reload_intervals(experimental: &Experimental) -> Result<(), ConfigError> {
    let or_default = |text: &str, seconds| {
        let default = GoDuration::from_secs(seconds);
        text.parse().ok().filter(|parsed| *parsed != GoDuration::from_secs(0)).unwrap_or(default)
    };
    let changes = or_default(&experimental.cache_reload_interval, 5);
    let everything = or_default(&experimental.full_cache_reload_interval, 24 * 60 * 60);
    if everything > changes { Ok(()) } else { Err(ConfigError::ReloadIntervals) }
}

/// A Go duration that may be left out. 0 and less mean the default, as they do further down in the reference.
fn duration(text: &str, what: &'static str) -> Result<Option<Duration>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: GoDuration = text.parse().map_err(|error| ConfigError::ExperimentalDuration { what, error })?;
    Ok(parsed.to_std().filter(|length| !length.is_zero()))
}

fn ttl(text: &str, what: &'static str, default: Duration) -> Result<Duration, ConfigError> {
    if text.is_empty() {
        return Ok(default);
    }
    let parsed: GoDuration = text.parse().map_err(|error| ConfigError::Ttl { what, value: text.to_owned(), error })?;
    Ok(parsed.to_std().filter(|length| !length.is_zero()).unwrap_or(default))
}

fn lifetimes(server: &Server) -> Result<Lifetimes, ConfigError> {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    // Told in this order when several are wrong.
    let agent = ttl(&server.agent_ttl, "agent ttl", Duration::ZERO)?;
    let x509_svid = ttl(&server.default_x509_svid_ttl, "default X509 SVID ttl", HOUR)?;
    let jwt_svid = ttl(&server.default_jwt_svid_ttl, "default JWT SVID ttl", Duration::from_secs(5 * 60))?;
    let ca = ttl(&server.ca_ttl, "default CA ttl", HOUR * 24)?;
    Ok(Lifetimes { x509_svid, jwt_svid, agent: if agent.is_zero() { x509_svid } else { agent }, ca })
}

/// Whether the files can be used is found out at the start, as in the reference.
fn policy(block: Option<PolicyEngine>) -> Source {
    match block {
        None => Source::Standard,
        Some(PolicyEngine { local: None }) => Source::Nowhere,
        Some(PolicyEngine { local: Some(PolicyFiles { rego_path, policy_data_path }) }) => {
            let data = (!policy_data_path.is_empty()).then(|| policy_data_path.into());
            Source::Files(Files { rego: rego_path.into(), data })
        }
    }
}

fn ca(server: &Server, ttl: Duration) -> Result<CaConfig, ConfigError> {
    let key_type = |text: &str, what: &'static str, default: KeyType| {
        if text.is_empty() {
            return Ok(default);
        }
        text.parse().map_err(|error: steeple_pki::PkiError| ConfigError::KeyType { what, error })
    };
    let x509_key_type = key_type(&server.ca_key_type, "ca_key_type", KeyType::EcP256)?;
    let jwt_key_type = key_type(&server.jwt_key_type, "jwt_key_type", x509_key_type)?;
    // A mistake is told whether such keys are made or not.
    let wit_key_type = key_type(&server.experimental.wit_key_type, "wit_key_type", x509_key_type)?;
    let wit_key_type = wants_wit(server).then_some(wit_key_type);
    let subject = server.ca_subject.as_ref().filter(|subject| !subject.is_empty());
    let subject = subject.map_or_else(CaSubject::default, |subject| {
        let file::CaSubject { country, organization, common_name } = subject;
        CaSubject { countries: country.clone(), organizations: organization.clone(), common_name: common_name.clone() }
    });
    Ok(CaConfig { ttl, x509_key_type, jwt_key_type, wit_key_type, disable_jwt: server.disable_jwt_svids, subject })
}

fn wants_wit(server: &Server) -> bool {
    server.experimental.feature_flags.iter().any(|flag| flag == "wit-svid")
}

fn log_options(server: &Server) -> Result<logging::Options, ConfigError> {
    Ok(logging::Options {
        level: server.log_level.parse().map_err(ConfigError::LogLevel)?,
        format: server.log_format.parse().map_err(ConfigError::LogFormat)?,
        file: Some(server.log_file.as_str()).filter(|file| !file.is_empty()).map(PathBuf::from),
        source_location: server.log_source_location,
    })
}

fn resolve(address: &str, port: i64) -> Result<SocketAddr, ConfigError> {
    let host = address.trim_start_matches('[').trim_end_matches(']');
    let joined = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let unresolved = |error: String| ConfigError::BindAddress { address: joined.clone(), error };
    let port = u16::try_from(port).map_err(|_| unresolved(format!("address {port}: invalid port")))?;
    let mut found = (host, port).to_socket_addrs().map_err(|_| unresolved(format!("lookup {host}: no such host")))?;
    found.next().ok_or_else(|| unresolved(format!("lookup {host}: no such host")))
}

fn datastore(blocks: &[PluginBlock]) -> Result<steeple_datastore::Options, ConfigError> {
    let [block] = blocks else { return Err(ConfigError::SeveralDataStores) };
    if block.name != "sql" || block.cmd.is_some() {
        return Err(ConfigError::ForeignDataStore);
    }
    let body = match &block.data {
        PluginData::None => Body::default(),
        PluginData::Fixed(body) => body.clone(),
        PluginData::File(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| ConfigError::DataFile { path: path.clone(), error })?;
            hcl::parse(text)?
        }
    };
    Ok(SqlConfig::read(&body)?.try_into()?)
}

#[cfg(test)]
mod tests;
