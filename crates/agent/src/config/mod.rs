//! The agent's configuration: the file and the flags become a [`Config`] that cannot be wrong; nothing later checks it
//! again. Texts of errors are the reference's.

mod checks;
mod error;
mod file;
mod unbuilt;
mod warnings;

use std::path::PathBuf;
use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_config::hcl::Body;
use steeple_config::otlp::Otlp;
use steeple_config::plugins::PluginBlock;
use steeple_config::sections::{self, HealthChecks, HealthListener, Profiling, UnknownSection, Warning};
use steeple_config::telemetry::Telemetry;
use steeple_config::{decode, hcl, plugins};
use steeple_pki::KeyType;
use steeple_runtime::logging;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::workload_api::Endpoint;
use steeple_transport::dial::Place;
use steeple_transport::health;
use steeple_transport::tls::KeyExchange;
use zeroize::Zeroizing;

pub use error::ConfigError;
use file::{Agent, Experimental, File};

/// An agent's configuration.
#[derive(Debug)]
pub struct Config {
    /// `trust_domain`
    pub trust_domain: TrustDomain,
    /// `server_address`, a name or an IP.
    pub server_address: String,
    /// `server_port`
    pub server_port: u16,
    /// `experimental.steeple.server_addresses`: other servers of the trust domain, which are as good as that one.
    pub server_addresses: Vec<Place>,
    /// `socket_path`, absolute.
    pub socket_path: PathBuf,
    /// `admin_socket_path`, absolute.
    pub admin_socket_path: Option<PathBuf>,
    /// `data_dir`
    pub data_dir: PathBuf,
    /// `log_*`
    pub log: logging::Options,
    /// `trust_bundle_*` and `insecure_bootstrap`
    pub bootstrap: Bootstrap,
    /// `rebootstrap_mode`
    pub rebootstrap_mode: RebootstrapMode,
    /// `rebootstrap_delay`
    pub rebootstrap_delay: Duration,
    /// `join_token`, or the content of `join_token_file`
    pub join_token: Option<Zeroizing<String>>,
    /// `experimental.sync_interval`: how often a server is asked that cannot push.
    pub sync_interval: Duration,
    /// `experimental.use_sync_authorized_entries`
    pub sync_by_stream: bool,
    /// `workload_x509_svid_key_type`
    pub workload_key_type: KeyType,
    /// `x509_svid_cache_max_size`
    pub x509_cache_size: usize,
    /// `jwt_svid_cache_max_size`
    pub jwt_cache_size: usize,
    /// `experimental.jwt_svid_cache_hit_timeout`
    pub jwt_hit_timeout: Duration,
    /// `experimental.require_pq_kem`
    pub key_exchange: KeyExchange,
    /// `availability_target`
    pub availability_target: Option<Duration>,
    /// `disable_workload_api`
    pub disable_workload_api: bool,
    /// `allow_unauthenticated_verifiers`
    pub allow_unauthenticated_verifiers: bool,
    /// `allowed_foreign_jwt_claims`
    pub allowed_foreign_jwt_claims: Vec<String>,
    /// `log_selectors`
    pub log_selectors: Vec<String>,
    /// `experimental.ratelimit`
    pub rate_limits: RateLimits,
    /// `health_checks`, where the listener is enabled.
    pub health: Option<health::Place>,
    /// `telemetry`
    pub telemetry: Telemetry,
    /// `profiling_*`, where it is enabled.
    pub profiling: Option<Profiling>,
    /// `experimental.steeple.otlp`
    pub otlp: Option<Otlp>,
    /// Every plugin, in the order of the file.
    pub plugins: Vec<PluginBlock>,
    /// What the file asks for and this program does not do yet, in words for the log.
    pub unbuilt: Vec<String>,
    /// What its author should think over once more, in words for the log.
    pub warnings: Vec<Warning>,
}

/// `experimental.ratelimit`: calls a second of processes with the same selectors; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// `fetch_x509_svid`
    pub fetch_x509_svid: u32,
    /// `fetch_jwt_svid`
    pub fetch_jwt_svid: u32,
    /// `fetch_x509_bundles`
    pub fetch_x509_bundles: u32,
    /// `fetch_jwt_bundles`
    pub fetch_jwt_bundles: u32,
}

/// Where the first bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// Nowhere: whoever answers is believed once.
    Insecure,
    /// A file.
    Path(PathBuf, BundleFormat),
    /// The web.
    Url(String, BundleFormat),
    /// Another agent, of a trust domain that has this one's bundle.
    WorkloadApi(Endpoint),
    /// Whoever listens on a Unix socket of this host.
    UrlOnSocket {
        /// What it is asked for.
        url: String,
        /// Where it listens.
        socket: PathBuf,
        /// In which form it answers.
        format: BundleFormat,
        /// What it is told of the agent, besides how far the agent is.
        told: Vec<(&'static str, String)>,
    },
}

/// `rebootstrap_mode`: what an agent does that does not know its server's authority any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebootstrapMode {
    /// It goes on asking.
    Never,
    /// After the delay it fetches the first bundle again, if it can prove itself again.
    Auto,
    /// The same; one that cannot prove itself again does not start.
    Always,
}

/// `trust_bundle_format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleFormat {
    /// Certificates.
    Pem,
    /// The standard's document.
    Spiffe,
}

/// What the command line says in place of the file. Empty and 0 say nothing, as in the reference.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `-allowUnauthenticatedVerifiers`
    pub allow_unauthenticated_verifiers: bool,
    /// `-dataDir`
    pub data_dir: String,
    /// `-disableSDSAPI`
    pub disable_sds_api: bool,
    /// `-disableWorkloadAPI`
    pub disable_workload_api: bool,
    /// `-insecureBootstrap`
    pub insecure_bootstrap: bool,
    /// `-joinToken`
    pub join_token: String,
    /// `-joinTokenFile`
    pub join_token_file: String,
    /// `-logFile`
    pub log_file: String,
    /// `-logFormat`
    pub log_format: String,
    /// `-logLevel`
    pub log_level: String,
    /// `-logSourceLocation`
    pub log_source_location: bool,
    /// `-rebootstrapDelay`
    pub rebootstrap_delay: String,
    /// `-rebootstrapMode`
    pub rebootstrap_mode: String,
    /// `-serverAddress`
    pub server_address: String,
    /// `-serverPort`
    pub server_port: i64,
    /// `-socketPath`
    pub socket_path: String,
    /// `-trustBundle`
    pub trust_bundle_path: String,
    /// `-trustBundleFormat`
    pub trust_bundle_format: String,
    /// `-trustBundleUrl`
    pub trust_bundle_url: String,
    /// `-trustDomain`
    pub trust_domain: String,
}

/// Entries of either cache unless told otherwise.
const CACHE_SIZE: usize = 1000;

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
        let File { agent, plugins, telemetry, health_checks } = decoded.value;
        let telemetry = telemetry.unwrap_or_default();
        Self::build(merge(agent, flags), plugins.is_some(), &body, unknown, unbuilt, health_checks, telemetry)
    }

    /// In the reference's order, which decides which of several errors is told.
    fn build(
        agent: Agent,
        has_plugins: bool,
        body: &Body,
        unknown: Vec<UnknownSection>,
        unbuilt: Vec<String>,
        health_checks: Option<HealthChecks>,
        telemetry: Telemetry,
    ) -> Result<Self, ConfigError> {
        sections::check_feature_flags(&agent.experimental.feature_flags).map_err(ConfigError::FeatureFlags)?;
        if !has_plugins {
            return Err(ConfigError::Missing("plugins section"));
        }
        if !agent.join_token.is_empty() && !agent.join_token_file.is_empty() {
            return Err(ConfigError::Both("join_token", "join_token_file"));
        }
        for (value, name) in [(&agent.server_address, "server_address"), (&agent.trust_domain, "trust_domain")] {
            if name == "trust_domain" && agent.server_port == 0 {
                return Err(ConfigError::Missing("server_port"));
            }
            if value.is_empty() {
                return Err(ConfigError::Missing(name));
            }
        }
        let bootstrap = bootstrap(&agent)?;
        checks::platform(&agent.experimental)?;
        let (rebootstrap_mode, rebootstrap_delay) = checks::rebootstrap(&agent)?;
        let sync_interval = sync_interval(&agent.experimental)?;
        let log = log_options(&agent)?;
        let jwt_hit_timeout = checks::hit_timeout(&agent.experimental)?;
        let x509_cache_size = cache_size(agent.x509_svid_cache_max_size, "x509_svid_cache_max_size")?;
        let jwt_cache_size = cache_size(agent.jwt_svid_cache_max_size, "jwt_svid_cache_max_size")?;
        let trust_domain = TrustDomain::parse(&agent.trust_domain)
            .map_err(|error| ConfigError::TrustDomain { value: agent.trust_domain.clone(), error })?;
        let server_port = u16::try_from(agent.server_port).map_err(|_| ConfigError::ServerPort(agent.server_port))?;
        let server_addresses =
            checks::server_addresses(agent.experimental.steeple.as_ref(), &agent.server_address, server_port)?;
        let socket_path = absolute(&agent.socket_path)?;
        let admin_socket_path = checks::admin_socket(&agent, &socket_path)?;
        let warnings = warnings::of(&agent);
        let join_token = join_token(&agent)?;
        let workload_key_type = workload_key_type(&agent.workload_x509_svid_key_type)?;
        let blocks = plugins::read(body)?.unwrap_or_default();
        if !unknown.is_empty() {
            return Err(ConfigError::UnknownKeys(unknown));
        }
        let health = health_checks.unwrap_or_default().listener().map_err(ConfigError::HealthChecks)?;
        let health = health.map(|HealthListener { address, live_path, ready_path }| health::Place {
            address,
            live_path,
            ready_path,
        });
        checks::delegates(&agent.authorized_delegates, &trust_domain)?;
        checks::broker(agent.experimental.broker.as_ref())?;
        let availability_target = checks::availability_target(&agent.availability_target)?;
        let profiling =
            Profiling::of(agent.profiling_enabled, agent.profiling_port, agent.profiling_freq, &agent.profiling_names);
        let otlp = checks::otlp(agent.experimental.steeple.as_ref())?;
        let rate_limits = checks::limits(agent.experimental.ratelimit.as_ref())?;
        Ok(Self {
            trust_domain,
            server_address: agent.server_address,
            server_port,
            server_addresses,
            socket_path,
            admin_socket_path,
            data_dir: agent.data_dir.into(),
            log,
            bootstrap,
            rebootstrap_mode,
            rebootstrap_delay,
            join_token,
            sync_interval,
            sync_by_stream: agent.experimental.use_sync_authorized_entries.unwrap_or(true),
            workload_key_type,
            x509_cache_size,
            jwt_cache_size,
            jwt_hit_timeout,
            key_exchange: KeyExchange::post_quantum(agent.experimental.require_pq_kem),
            availability_target,
            disable_workload_api: agent.disable_workload_api,
            allow_unauthenticated_verifiers: agent.allow_unauthenticated_verifiers,
            log_selectors: agent.log_selectors,
            rate_limits,
            allowed_foreign_jwt_claims: agent.allowed_foreign_jwt_claims,
            health,
            telemetry,
            profiling,
            otlp,
            plugins: blocks,
            unbuilt,
            warnings,
        })
    }
}

/// Flags over the file over the defaults, by filling what is empty.
fn merge(agent: Agent, flags: Flags) -> Agent {
    let Flags {
        allow_unauthenticated_verifiers,
        data_dir,
        disable_sds_api,
        disable_workload_api,
        insecure_bootstrap,
        join_token,
        join_token_file,
        log_file,
        log_format,
        log_level,
        log_source_location,
        rebootstrap_delay,
        rebootstrap_mode,
        server_address,
        server_port,
        socket_path,
        trust_bundle_path,
        trust_bundle_format,
        trust_bundle_url,
        trust_domain,
    } = flags;
    let first = |flag: String, file: String, default: &str| {
        [flag, file].into_iter().find(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    Agent {
        allow_unauthenticated_verifiers: allow_unauthenticated_verifiers || agent.allow_unauthenticated_verifiers,
        data_dir: first(data_dir, agent.data_dir, "."),
        disable_sds_api: disable_sds_api || agent.disable_sds_api,
        disable_workload_api: disable_workload_api || agent.disable_workload_api,
        insecure_bootstrap: insecure_bootstrap || agent.insecure_bootstrap,
        join_token: first(join_token, agent.join_token, ""),
        join_token_file: first(join_token_file, agent.join_token_file, ""),
        log_file: first(log_file, agent.log_file, ""),
        log_format: first(log_format, agent.log_format, ""),
        log_level: first(log_level, agent.log_level, "INFO"),
        log_source_location: log_source_location || agent.log_source_location,
        rebootstrap_delay: first(rebootstrap_delay, agent.rebootstrap_delay, "10m"),
        rebootstrap_mode: first(rebootstrap_mode, agent.rebootstrap_mode, "never"),
        server_address: first(server_address, agent.server_address, ""),
        server_port: if server_port == 0 { agent.server_port } else { server_port },
        socket_path: first(socket_path, agent.socket_path, "/tmp/spire-agent/public/api.sock"),
        trust_bundle_path: first(trust_bundle_path, agent.trust_bundle_path, ""),
        trust_bundle_format: first(trust_bundle_format, agent.trust_bundle_format, "pem"),
        trust_bundle_url: first(trust_bundle_url, agent.trust_bundle_url, ""),
        trust_domain: first(trust_domain, agent.trust_domain, ""),
        ..agent
    }
}

fn bootstrap(agent: &Agent) -> Result<Bootstrap, ConfigError> {
    let (path, url) = (!agent.trust_bundle_path.is_empty(), !agent.trust_bundle_url.is_empty());
    let workload_api = workload_api(agent)?;
    match (agent.insecure_bootstrap, path, url) {
        (true, true, true) => return Err(ConfigError::AllThree),
        (true, true, _) => return Err(ConfigError::Both("insecure_bootstrap", "trust_bundle_path")),
        (true, _, true) => return Err(ConfigError::Both("insecure_bootstrap", "trust_bundle_url")),
        (false, false, false) if workload_api.is_none() => return Err(ConfigError::NoBundleSource),
        (false, true, true) => return Err(ConfigError::Both("trust_bundle_url", "trust_bundle_path")),
        _ => {}
    }
    let format = match agent.trust_bundle_format.as_str() {
        "pem" => BundleFormat::Pem,
        "spiffe" => BundleFormat::Spiffe,
        _ => return Err(ConfigError::BundleFormat),
    };
    if let Some(endpoint) = workload_api {
        return Ok(Bootstrap::WorkloadApi(endpoint));
    }
    if !agent.trust_bundle_unix_socket.is_empty() {
        if !url {
            return Err(ConfigError::SocketWithoutUrl);
        }
        checks::url_on_socket(&agent.trust_bundle_url)?;
        return Ok(Bootstrap::UrlOnSocket {
            url: agent.trust_bundle_url.clone(),
            socket: agent.trust_bundle_unix_socket.clone().into(),
            format,
            told: vec![
                ("spire-server-address", agent.server_address.clone()),
                ("spire-server-port", agent.server_port.to_string()),
                ("spiffe-trust-domain", agent.trust_domain.clone()),
            ],
        });
    }
    if url && !checks::has_scheme(&agent.trust_bundle_url, "https") {
        return Err(ConfigError::UrlScheme);
    }
    Ok(match (path, url) {
        (true, _) => Bootstrap::Path(agent.trust_bundle_path.clone().into(), format),
        (_, true) => Bootstrap::Url(agent.trust_bundle_url.clone(), format),
        _ => Bootstrap::Insecure,
    })
}

/// Another agent's, which excludes all other places.
fn workload_api(agent: &Agent) -> Result<Option<Endpoint>, ConfigError> {
    const KEY: &str = "trust_bundle_spiffe_workload_api";
    let address = &agent.trust_bundle_spiffe_workload_api;
    if address.is_empty() {
        return Ok(None);
    }
    for (is_set, other) in [
        (agent.insecure_bootstrap, "insecure_bootstrap"),
        (!agent.trust_bundle_url.is_empty(), "trust_bundle_url"),
        (!agent.trust_bundle_path.is_empty(), "trust_bundle_path"),
    ] {
        if is_set {
            return Err(ConfigError::Both(other, KEY));
        }
    }
    if !agent.trust_bundle_unix_socket.is_empty() {
        return Err(ConfigError::SocketWithWorkloadApi);
    }
    Endpoint::parse(address).map(Some).map_err(ConfigError::WorkloadApi)
}

fn sync_interval(experimental: &Experimental) -> Result<Duration, ConfigError> {
    const DEFAULT: Duration = Duration::from_secs(5);
    let text = &experimental.sync_interval;
    if text.is_empty() {
        return Ok(DEFAULT);
    }
    let parsed: GoDuration = text
        .parse()
        .map_err(|error| ConfigError::Duration { what: "could not parse synchronization interval", error })?;
    Ok(parsed.to_std().filter(|interval| !interval.is_zero()).unwrap_or(DEFAULT))
}

fn log_options(agent: &Agent) -> Result<logging::Options, ConfigError> {
    Ok(logging::Options {
        level: agent.log_level.parse().map_err(ConfigError::LogLevel)?,
        format: agent.log_format.parse().map_err(ConfigError::LogFormat)?,
        file: Some(agent.log_file.as_str()).filter(|file| !file.is_empty()).map(PathBuf::from),
        source_location: agent.log_source_location,
    })
}

fn cache_size(size: i64, name: &'static str) -> Result<usize, ConfigError> {
    match usize::try_from(size) {
        Ok(0) => Ok(CACHE_SIZE),
        Ok(size) => Ok(size),
        Err(_) => Err(ConfigError::Negative(name)),
    }
}

fn absolute(path: &str) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|error| ConfigError::SocketPath { path: path.to_owned(), error })
}

fn join_token(agent: &Agent) -> Result<Option<Zeroizing<String>>, ConfigError> {
    if !agent.join_token.is_empty() {
        return Ok(Some(Zeroizing::new(agent.join_token.clone())));
    }
    if agent.join_token_file.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(&agent.join_token_file);
    let text = std::fs::read_to_string(&path).map(Zeroizing::new);
    let text = text.map_err(|error| ConfigError::JoinTokenFile { path: path.clone(), error })?;
    match text.trim() {
        "" => Err(ConfigError::JoinTokenFileEmpty(path)),
        token => Ok(Some(Zeroizing::new(token.to_owned()))),
    }
}

/// Fewer than a server's authorities may have: RSA-4096 would be a key for each workload that takes seconds to make.
fn workload_key_type(name: &str) -> Result<KeyType, ConfigError> {
    if name.is_empty() {
        return Ok(KeyType::EcP256);
    }
    name.parse()
        .ok()
        .filter(|key_type| *key_type != KeyType::Rsa4096)
        .ok_or_else(|| ConfigError::WorkloadKeyType(name.to_owned()))
}

#[cfg(test)]
mod tests;
