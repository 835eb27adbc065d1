//! What a daemon offers to its plugins.

use std::sync::{Arc, OnceLock};

use steeple_runtime::Clock;
use steeple_spiffe::Certificate;

use crate::PluginError;

/// The services of the daemon that plugins call. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Host {
    clock: Clock,
    identity: Arc<OnceLock<Arc<dyn IdentityProvider>>>,
}

/// What the server knows about itself (`spire.hostservice.server.identityprovider.v1`).
pub trait IdentityProvider: Send + Sync {
    /// The X.509 authorities of the server's trust domain, as they are now.
    ///
    /// # Errors
    /// UNAVAILABLE when the server has no bundle at hand.
    fn x509_authorities(&self) -> Result<Arc<[Certificate]>, PluginError>;
}

impl Host {
    /// Without an identity provider, as an agent is, and a server that is starting.
    pub fn new(clock: Clock) -> Self {
        Self { clock, identity: Arc::default() }
    }

    /// From now on plugins may ask for the server's bundle. Plugins are loaded before the server has one, so this comes
    /// later; the first provider stays.
    pub fn provide_identity(&self, provider: Arc<dyn IdentityProvider>) {
        // A second one is a mistake of ours that changes nothing.
        let _ = self.identity.set(provider);
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The X.509 authorities of the server's trust domain.
    ///
    /// # Errors
    /// FAILED_PRECONDITION before there is a provider, and the provider's.
    pub fn x509_authorities(&self) -> Result<Arc<[Certificate]>, PluginError> {
        match self.identity.get() {
            Some(provider) => provider.x509_authorities(),
            None => Err(PluginError::failed_precondition("IdentityProvider host service has not been initialized")),
        }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("identity", &self.identity.get().is_some()).finish_non_exhaustive()
    }
}
