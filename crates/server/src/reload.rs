//! Another configuration for a server that runs: the file is read and tested whole, then what can change is taken over, or
//! nothing is.

use std::sync::Arc;

use steeple_catalog::Host;
use steeple_catalog::load::{LoadError, Loaded};
use steeple_config::stated::Stated;
use steeple_runtime::Shutdown;
use steeple_runtime::health::{Check, Found, Health};
use steeple_runtime::logging::{Log, with_fields};
use steeple_runtime::signals::{Sent, Signals};
use steeple_spiffe::TrustDomain;
use steeple_transport::rpc::Limits;
use tokio::sync::Mutex;
use tracing::{error, info};

use crate::authpolicy::{PolicyError, Rules};
use crate::config::Config;
use crate::limits;
use crate::settings::Settings;

/// Reads the configuration file again, with the flags of the start. The error is for the operator.
pub type Reread = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What stands in the way of a configuration that could not be taken over.
const CONFIGURATION: Check = Check { name: "server.configuration", field: "reload_err" };

/// Settings that can change while the server runs, or what they begin with. Plugins that can are known to [`Loaded`].
const LIVE: [&str; 5] =
    ["server.admin_ids", "server.experimental.require_pq_kem", "server.log_level", "server.ratelimit.", POLICY];
const POLICY: &str = "server.experimental.auth_opa_policy_engine";

/// Why a configuration was not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The file is not there, or is refused.
    #[error("the configuration is refused: {0}")]
    Config(String),
    /// It is for another trust domain.
    #[error("the configuration is for another trust domain, {0}")]
    OtherTrustDomain(String),
    /// The policy cannot be used.
    #[error("the configuration is refused: unable to obtain authpolicy engine: {0}")]
    Policy(#[from] PolicyError),
    /// A plugin refuses what is for it.
    #[error("the configuration is refused: {0}")]
    Plugins(#[from] LoadError),
    /// The work did not come to its end.
    #[error("the configuration was not read to its end")]
    Ended,
}

/// A setting that the file has otherwise than the server runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its path.
    pub(crate) setting: String,
    /// Whether it waits until the server is started again.
    pub(crate) needs_restart: bool,
}

/// The one place that changes what runs. Clones are one.
#[derive(Clone)]
pub(crate) struct Reload(Arc<Inner>);

struct Inner {
    reread: Reread,
    /// What the server runs with.
    running: Mutex<Stated>,
    settings: Settings,
    log: Log,
    loaded: Loaded,
    trust_domain: TrustDomain,
    host: Host,
    health: Health,
}

/// What a reload works with.
pub(crate) struct Parts {
    pub(crate) reread: Reread,
    /// What the server was started with.
    pub(crate) stated: Stated,
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    pub(crate) loaded: Loaded,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) host: Host,
    pub(crate) health: Health,
}

impl Reload {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { reread, stated, settings, log, loaded, trust_domain, host, health } = parts;
        let running = Mutex::new(stated);
        Self(Arc::new(Inner { reread, running, settings, log, loaded, trust_domain, host, health }))
    }

    /// Takes over what the file says now, and tells what that was; `dry_run` says only what would be. Until the next one
    /// succeeds, readiness carries the reason of a failure, and the server goes on as it was.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub(crate) async fn reload(&self, dry_run: bool) -> Result<Vec<Change>, ReloadError> {
        // One after the other.
        let mut running = self.0.running.lock().await;
        let reloaded = self.reload_from(&mut running, dry_run).await;
        if dry_run {
            return reloaded;
        }
        match &reloaded {
            Ok(changes) => {
                self.0.health.report(CONFIGURATION, Found::well());
                tell(changes);
            }
            Err(error) => {
                self.0.health.report(CONFIGURATION, Found::remark(error));
                error!(target: "reconfigurer", error = %error, "Configuration was not reloaded; the old one stays");
            }
        }
        reloaded
    }

    async fn reload_from(&self, running: &mut Stated, dry_run: bool) -> Result<Vec<Change>, ReloadError> {
        // Files are read, and keys and certificates in them.
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let Inner { reread, loaded, trust_domain, host, .. } = &*this.0;
            let config = reread().map_err(ReloadError::Config)?;
            if config.trust_domain != *trust_domain {
                return Err(ReloadError::OtherTrustDomain(config.trust_domain.name().to_owned()));
            }
            let rules = Rules::load(&config.policy)?;
            let renewed = loaded.renewed(&config.plugins, trust_domain, host)?;
            Ok((config, rules, renewed))
        });
        let (config, rules, renewed) = read.await.map_err(|_| ReloadError::Ended)??;

        let plugins: Vec<_> = renewed.iter().map(|plugin| plugin.setting()).collect();
        let mut changed = running.changed(&config.stated);
        // A file of its own that a plugin has may say something else though the daemon's file does not, and the order of a
        // plugin's keys is no setting.
        changed.extend(plugins.iter().filter(|plugin| !changed.contains(plugin)).cloned().collect::<Vec<_>>());
        // The same goes for the files of a policy.
        let has_policy = changed.iter().any(|setting| setting.starts_with(POLICY));
        if !has_policy && self.0.settings.policy.borrow().files() != rules.files() {
            changed.push(POLICY.to_owned());
        }
        changed.sort_unstable();
        let is_live = |setting: &str| {
            LIVE.iter().any(|live| setting.starts_with(live)) || plugins.iter().any(|plugin| plugin == setting)
        };
        let change = |setting: &String| Change { setting: setting.clone(), needs_restart: !is_live(setting) };
        let changes: Vec<_> = changed.iter().map(change).collect();
        if dry_run {
            return Ok(changes);
        }

        // From here on nothing fails.
        let has = |setting: &str| changed.iter().any(|changed| changed.starts_with(setting));
        let Inner { settings, log, host, .. } = &*self.0;
        if has("server.admin_ids") {
            settings.admin_ids.send_replace(config.admin_ids.into());
        }
        if has(POLICY) {
            settings.policy.send_replace(Arc::new(rules));
        }
        // What each peer has used up would be forgotten.
        if has("server.ratelimit.") {
            settings.limits.send_replace(Limits::new(limits::rates(config.rate_limits), host.clock()));
        }
        if has("server.experimental.require_pq_kem") {
            settings.key_exchange.send_replace(config.key_exchange);
        }
        // A level that was set by hand stays, unless the file wants another one than before.
        if has("server.log_level") {
            log.set_level(config.log.level);
        }
        for plugin in renewed {
            plugin.put();
        }
        for Change { setting, .. } in changes.iter().filter(|change| !change.needs_restart) {
            running.take_over(setting, &config.stated);
        }
        Ok(changes)
    }

    /// Follows signals: reloads at SIGHUP, reads the plugins' own files again at SIGUSR1.
    pub(crate) async fn run(self, mut signals: Signals, shutdown: Shutdown) {
        let Inner { loaded, trust_domain, host, .. } = &*self.0;
        let follow = async {
            loop {
                match signals.next().await {
                    Sent::Reload => drop(self.reload(false).await),
                    Sent::Reconfigure => {
                        let _one_after_the_other = self.0.running.lock().await;
                        loaded.reconfigure(trust_domain, host).await;
                    }
                }
            }
        };
        shutdown.unless_stopped(follow).await;
    }
}

fn tell(changes: &[Change]) {
    let of = |restart: bool| {
        let settings = changes.iter().filter(|change| change.needs_restart == restart);
        settings.map(|change| change.setting.clone()).collect::<Vec<_>>()
    };
    let fields = vec![("changed".into(), of(false).into()), ("needs_restart".into(), of(true).into())];
    with_fields(fields, || info!(target: "reconfigurer", "Configuration reloaded"));
}

#[cfg(test)]
mod tests;
