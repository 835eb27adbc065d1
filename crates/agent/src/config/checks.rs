//! What a file may hold beyond what its types say, where nothing has to be made of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_config::otlp::Otlp;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::dial::{NoPlace, Place};

use super::file::{Agent, Broker, Experimental, RateLimit, Steeple};
use super::{ConfigError, RateLimits, RebootstrapMode, absolute};

/// Whether a URL begins with this scheme, in whatever case.
pub(super) fn has_scheme(url: &str, scheme: &str) -> bool {
    url.split_once("://").is_some_and(|(found, _)| found.eq_ignore_ascii_case(scheme))
}

/// A socket needs no TLS, and the agent adds parameters of its own to what is asked for there.
pub(super) fn url_on_socket(url: &str) -> Result<(), ConfigError> {
    if !has_scheme(url, "http") {
        return Err(ConfigError::UrlSchemeOnSocket);
    }
    let query = url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    for own in ["spiffe-", "spire-"] {
        if query.split('&').any(|parameter| parameter.starts_with(own)) {
            return Err(ConfigError::UrlParameter(own));
        }
    }
    Ok(())
}

pub(super) fn platform(experimental: &Experimental) -> Result<(), ConfigError> {
    if !experimental.named_pipe_name.is_empty() {
        return Err(ConfigError::NamedPipe("named_pipe_name", "socket_path"));
    }
    if !experimental.admin_named_pipe_name.is_empty() {
        return Err(ConfigError::NamedPipe("admin_named_pipe_name", "admin_socket_path"));
    }
    Ok(())
}

pub(super) fn rebootstrap(agent: &Agent) -> Result<(RebootstrapMode, Duration), ConfigError> {
    let mode = match agent.rebootstrap_mode.as_str() {
        "never" => RebootstrapMode::Never,
        "auto" => RebootstrapMode::Auto,
        "always" => RebootstrapMode::Always,
        other => return Err(ConfigError::RebootstrapMode(other.to_owned())),
    };
    if mode != RebootstrapMode::Never && agent.insecure_bootstrap {
        return Err(ConfigError::InsecureRebootstrap);
    }
    let parsed = agent.rebootstrap_delay.parse::<GoDuration>();
    let delay =
        parsed.map_err(|error| ConfigError::Duration { what: "error parsing rebootstrap delay duration", error })?;
    // Less than nothing is nothing.
    Ok((mode, delay.to_std().unwrap_or_default()))
}

/// The most servers that an agent may be told of.
const SERVERS: usize = 64;

/// Servers beside the one that `server_address` and `server_port` name. Each is named once: one that is named twice would
/// be asked twice as often, which nobody means.
pub(super) fn server_addresses(steeple: Option<&Steeple>, host: &str, port: u16) -> Result<Vec<Place>, ConfigError> {
    let Some(Steeple { server_addresses, otlp: _ }) = steeple else { return Ok(Vec::new()) };
    let bad = |text: &str, why: String| ConfigError::ServerAddresses(text.to_owned(), why);
    if server_addresses.len() > SERVERS {
        return Err(bad(&server_addresses[SERVERS], format!("there are {SERVERS} at most")));
    }
    let mut places = vec![Place { host: host.to_owned(), port }];
    for text in server_addresses {
        let place: Place = text.parse().map_err(|error: NoPlace| bad(text, error.to_string()))?;
        if places.contains(&place) {
            return Err(bad(text, "it is named twice".to_owned()));
        }
        places.push(place);
    }
    Ok(places.split_off(1))
}

pub(super) fn otlp(steeple: Option<&Steeple>) -> Result<Option<Otlp>, ConfigError> {
    let section = steeple.and_then(|steeple| steeple.otlp.as_ref());
    section.map(|section| section.checked().map_err(ConfigError::Otlp)).transpose()
}

pub(super) fn hit_timeout(experimental: &Experimental) -> Result<Duration, ConfigError> {
    const DEFAULT: Duration = Duration::from_secs(30);
    let text = &experimental.jwt_svid_cache_hit_timeout;
    if text.is_empty() {
        return Ok(DEFAULT);
    }
    let parsed: GoDuration = text
        .parse()
        .map_err(|error| ConfigError::Duration { what: "could not parse jwt_svid_cache_hit_timeout", error })?;
    if parsed < GoDuration::from_secs(5) {
        return Err(ConfigError::HitTimeout(parsed.to_string(), "greater than 5s"));
    }
    if parsed >= GoDuration::from_secs(30) {
        return Err(ConfigError::HitTimeout(parsed.to_string(), "less than 30s"));
    }
    Ok(parsed.to_std().unwrap_or(DEFAULT))
}

/// `admin_socket_path`, absolute. That socket is for few: it must not lie where the workloads' does.
pub(super) fn admin_socket(agent: &Agent, public: &Path) -> Result<Option<PathBuf>, ConfigError> {
    if agent.admin_socket_path.is_empty() {
        return Ok(None);
    }
    let admin = absolute(&agent.admin_socket_path)?;
    let is_public = !agent.disable_workload_api || !agent.disable_sds_api;
    match public.parent() {
        Some(directory) if is_public && admin.starts_with(directory) => Err(ConfigError::AdminSocketDirectory),
        _ => Ok(Some(admin)),
    }
}

pub(super) fn delegates(delegates: &[String], trust_domain: &TrustDomain) -> Result<(), ConfigError> {
    for delegate in delegates {
        let id = SpiffeId::parse(delegate).map_err(|error| ConfigError::Delegate(error.to_string()))?;
        if !id.is_member_of(trust_domain) {
            let text = format!("SPIFFE ID {delegate:?} is not a member of trust domain {:?}", trust_domain.name());
            return Err(ConfigError::Delegate(text));
        }
    }
    Ok(())
}

/// The API is not built yet; where it should listen must be said all the same.
pub(super) fn broker(broker: Option<&Broker>) -> Result<(), ConfigError> {
    match broker {
        Some(broker) if broker.socket_path.is_empty() && broker.bind_address.is_empty() => {
            Err(ConfigError::BrokerNowhere)
        }
        _ => Ok(()),
    }
}

pub(super) fn availability_target(text: &str) -> Result<Option<Duration>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: GoDuration =
        text.parse().map_err(|error| ConfigError::Duration { what: "unable to parse availability_target", error })?;
    if parsed < GoDuration::from_secs(24 * 60 * 60) {
        return Err(ConfigError::AvailabilityTarget);
    }
    Ok(parsed.to_std())
}

pub(super) fn limits(limits: Option<&RateLimit>) -> Result<RateLimits, ConfigError> {
    let Some(RateLimit {
        fetch_x509_svid,
        fetch_jwt_svid,
        fetch_x509_bundles,
        fetch_jwt_bundles,
        stream_secrets,
        fetch_secrets,
    }) = limits
    else {
        return Ok(RateLimits::default());
    };
    // What is more than a u32 holds is no limit that anybody could reach.
    let limit = |limit: i64, name| match limit {
        ..0 => Err(ConfigError::NegativeLimit(name)),
        limit => Ok(u32::try_from(limit).unwrap_or(u32::MAX)),
    };
    let limits = RateLimits {
        fetch_x509_svid: limit(*fetch_x509_svid, "fetch_x509_svid")?,
        fetch_jwt_svid: limit(*fetch_jwt_svid, "fetch_jwt_svid")?,
        fetch_x509_bundles: limit(*fetch_x509_bundles, "fetch_x509_bundles")?,
        fetch_jwt_bundles: limit(*fetch_jwt_bundles, "fetch_jwt_bundles")?,
    };
    // Envoy's API comes later.
    limit(*stream_secrets, "stream_secrets")?;
    limit(*fetch_secrets, "fetch_secrets")?;
    Ok(limits)
}
