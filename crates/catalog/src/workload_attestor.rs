//! WorkloadAttestor: says what a process of this host is.

use std::sync::Arc;

use async_trait::async_trait;
use steeple_runtime::metrics::measure_of;

use crate::PluginError;
use crate::in_use::InUse;

/// The plugin type's name in configuration files.
pub const TYPE: &str = "WorkloadAttestor";

/// What a workload attestor does (`spire.plugin.agent.workloadattestor.v1`).
#[async_trait]
pub trait Plugin: Send + Sync {
    /// The values of the selectors of a process; their type is the plugin's name.
    async fn attest(&self, pid: i32) -> Result<Vec<String>, PluginError>;
}

/// The host's side of a workload attestor. Cheap to clone.
#[derive(Clone)]
pub struct WorkloadAttestor {
    name: Arc<str>,
    plugin: InUse<dyn Plugin>,
}

impl WorkloadAttestor {
    /// With the type of its selectors.
    pub fn new(name: &str, plugin: Arc<dyn Plugin>) -> Self {
        Self::in_use(name, InUse::new(plugin))
    }

    pub(crate) fn in_use(name: &str, plugin: InUse<dyn Plugin>) -> Self {
        Self { name: name.into(), plugin }
    }

    /// The plugin's name: the type of its selectors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values of the selectors of a process.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn attest(&self, pid: i32) -> Result<Vec<String>, PluginError> {
        let call = async { self.plugin.now().attest(pid).await.map_err(|error| error.of(TYPE, &self.name)) };
        measure_of("workload_api.workload_attestor", ("attestor", &self.name), call).await
    }
}
