//! Plugins that run: they are told apart, configured anew, and unloaded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use steeple_config::plugins::{PluginBlock, PluginData};
use steeple_runtime::Shutdown;
use steeple_runtime::signals::{Sent, Signals};
use steeple_spiffe::{TrustDomain, x509};
use tracing::{debug, error, info};

use super::{LoadError, said};
use crate::in_use::InUse;
use crate::{Configuration, Host, PluginError, parsed, read};

/// A daemon's plugins, in the order in which they were loaded. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Loaded(pub(super) Vec<Arc<Running>>);

/// A plugin that runs.
pub(super) struct Running {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) told: Mutex<Told>,
    /// None for one that stays as it was configured first.
    pub(super) renew: Option<Box<dyn Renew>>,
}

/// What a plugin was configured with.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) data: PluginData,
    pub(super) hash: String,
}

/// Makes a plugin anew.
pub(super) trait Renew: Send + Sync {
    /// From another configuration. What is returned puts it in the place of the one in use.
    fn make(&self, configuration: &Configuration) -> Result<Put, PluginError>;
}

/// Puts a plugin in use.
type Put = Box<dyn FnOnce() + Send>;

/// A plugin that another configuration replaces as a whole.
pub(super) struct Renewable<T: ?Sized + 'static> {
    pub(super) build: fn(&Configuration) -> Result<Arc<T>, PluginError>,
    pub(super) in_use: InUse<T>,
}

impl<T: ?Sized + Send + Sync + 'static> Renew for Renewable<T> {
    fn make(&self, configuration: &Configuration) -> Result<Put, PluginError> {
        let (plugin, in_use) = ((self.build)(configuration)?, self.in_use.clone());
        Ok(Box::new(move || in_use.replace(plugin)))
    }
}

/// A plugin that was made of another configuration, and is not in use yet.
pub struct Renewed {
    running: Arc<Running>,
    told: Told,
    put: Put,
}

/// What a plugin's configuration says now, and a digest of it: the first half of SHA-512, as in the reference. That of a
/// plugin in the file of the daemon is of its printed form, wherever it stands there.
pub(super) fn read_now(data: &PluginData) -> Result<(PluginData, String), PluginError> {
    let (data, text) = match data {
        PluginData::None => (PluginData::None, String::new()),
        PluginData::Fixed(body) => (PluginData::Fixed(body.clone()), body.to_string()),
        PluginData::File(path) => {
            let text = read(path)?;
            (PluginData::Fixed(parsed(text.clone())?), text)
        }
    };
    Ok((data, x509::hex(&steeple_pki::sha512(text.as_bytes())[..16])))
}

impl Running {
    fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same plugin of what is said now; None when that is what it was made of.
    ///
    /// # Errors
    /// The plugin's.
    fn renewed(
        self: &Arc<Self>,
        data: &PluginData,
        trust_domain: &TrustDomain,
        host: &Host,
    ) -> Result<Option<Renewed>, PluginError> {
        let ((now, hash), told) = (read_now(data)?, self.told());
        // The same words in another file: that is the one to be read again from now on.
        let has_moved = matches!(data, PluginData::File(_)) && told.data != *data;
        if hash == told.hash && !has_moved {
            return Ok(None);
        }
        let stays = || PluginError::failed_precondition("it keeps its configuration until the daemon starts again");
        let renew = self.renew.as_ref().ok_or_else(stays)?;
        let configuration = Configuration { trust_domain: trust_domain.clone(), data: now, host: host.clone() };
        let put = renew.make(&configuration)?;
        Ok(Some(Renewed { running: Arc::clone(self), told: Told { data: data.clone(), hash }, put }))
    }
}

impl Renewed {
    /// The plugin's path in a configuration, as [`Stated`](steeple_config::stated::Stated) has it.
    pub fn setting(&self) -> String {
        format!("plugins.{} {:?}", self.running.kind, self.running.name)
    }

    /// Puts it in the place of the one in use. Whoever called that before still gets its answer.
    pub fn put(self) {
        let Self { running, told, put } = self;
        let (plugin_name, plugin_type, new_hash) = (&running.name, running.kind, told.hash.clone());
        put();
        let old = std::mem::replace(&mut *running.told.lock().unwrap_or_else(PoisonError::into_inner), told);
        let old_hash = old.hash;
        info!(target: "catalog", plugin_name, plugin_type, external = false, old_hash, new_hash, "Plugin reconfigured");
    }
}

impl Loaded {
    /// Follows signals: at each SIGUSR1 files are read again.
    pub async fn run(self, mut signals: Signals, trust_domain: TrustDomain, host: Host, shutdown: Shutdown) {
        while let Some(sent) = shutdown.unless_stopped(signals.next()).await {
            if sent == Sent::Reconfigure {
                self.reconfigure(&trust_domain, &host).await;
            }
        }
    }

    /// What is done at a SIGUSR1.
    pub async fn reconfigure(&self, trust_domain: &TrustDomain, host: &Host) {
        info!(target: "reconfigurer", "Reconfigure signal received");
        let (this, trust_domain, host) = (self.clone(), trust_domain.clone(), host.clone());
        // One that panics stays as it was, as one that refuses.
        let _ = tokio::task::spawn_blocking(move || this.read_files_again(&trust_domain, &host)).await;
    }

    /// Configures those anew whose configuration is in a file of its own that has changed. Of one that cannot be made the
    /// old one stays, and the log tells why.
    fn read_files_again(&self, trust_domain: &TrustDomain, host: &Host) {
        for running in &self.0 {
            let Told { data, hash } = running.told();
            if !matches!(data, PluginData::File(_)) {
                continue;
            }
            let (plugin_name, plugin_type) = (&running.name, running.kind);
            match running.renewed(&data, trust_domain, host) {
                Ok(Some(renewed)) => renewed.put(),
                Ok(None) => {
                    info!(
                        target: "catalog",
                        plugin_name,
                        plugin_type,
                        external = false,
                        hash,
                        "Plugin not reconfigured since the config is unchanged"
                    );
                }
                Err(error) => {
                    let error = said(&error);
                    error!(
                        target: "catalog",
                        plugin_name,
                        plugin_type,
                        external = false,
                        error,
                        "Failed to reconfigure plugin"
                    );
                }
            }
        }
    }

    /// Makes those anew of which these blocks say something else than what they were made of. None is in use before it is
    /// [put there](Renewed::put). Those that stay as they were configured first, and blocks of others, are passed over.
    ///
    /// # Errors
    /// The first plugin that refuses its configuration.
    pub fn renewed(
        &self,
        blocks: &[PluginBlock],
        trust_domain: &TrustDomain,
        host: &Host,
    ) -> Result<Vec<Renewed>, LoadError> {
        let mut all = Vec::new();
        for running in self.0.iter().filter(|running| running.renew.is_some()) {
            let is_its =
                |block: &&PluginBlock| block.enabled && block.kind == running.kind && block.name == running.name;
            let Some(block) = blocks.iter().find(is_its) else { continue };
            let renewed = running.renewed(&block.data, trust_domain, host);
            let refused = |error| LoadError::Configure { kind: running.kind, name: running.name.clone(), error };
            all.extend(renewed.map_err(refused)?);
        }
        Ok(all)
    }

    /// Tells the log that the plugins are gone. Built-ins end with their last user, so there is nothing more to do.
    pub fn close(self) {
        debug!(target: "catalog", "Closing catalog");
        self.unload();
        info!(target: "catalog", "Catalog closed");
    }

    pub(super) fn unload(self) {
        for running in self.0.iter().rev() {
            let (plugin_type, plugin_name, external) = (running.kind, &running.name, false);
            debug!(target: "catalog", plugin_name, plugin_type, external, "Unloading plugin");
            debug!(target: "catalog", plugin_name, plugin_type, external, "Plugin deinitialized");
            info!(target: "catalog", plugin_name, plugin_type, external, "Plugin unloaded");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind, self.name)
    }
}
