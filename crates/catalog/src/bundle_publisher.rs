//! BundlePublisher: takes the server's bundle to where others look for it.

use std::sync::Arc;

use async_trait::async_trait;
use steeple_proto::spire::api::types::Bundle;

use crate::PluginError;
use crate::in_use::InUse;

/// The plugin type's name in configuration files.
pub const TYPE: &str = "BundlePublisher";

/// What a bundle publisher does (`spire.plugin.server.bundlepublisher.v1`).
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Takes a bundle there. It is asked again with the same one; whether that needs anything done, it knows.
    async fn publish_bundle(&self, bundle: &Bundle) -> Result<(), PluginError>;
}

/// The host's side of a bundle publisher. Cheap to clone.
#[derive(Clone)]
pub struct BundlePublisher {
    name: Arc<str>,
    plugin: InUse<dyn Plugin>,
}

impl BundlePublisher {
    /// The host's side of this plugin.
    pub fn new(name: &str, plugin: Arc<dyn Plugin>) -> Self {
        Self::in_use(name, InUse::new(plugin))
    }

    pub(crate) fn in_use(name: &str, plugin: InUse<dyn Plugin>) -> Self {
        Self { name: name.into(), plugin }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a bundle to where others look for it.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn publish_bundle(&self, bundle: &Bundle) -> Result<(), PluginError> {
        self.plugin.now().publish_bundle(bundle).await.map_err(|error| error.of(TYPE, &self.name))
    }
}

impl std::fmt::Debug for BundlePublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BundlePublisher({})", self.name)
    }
}
