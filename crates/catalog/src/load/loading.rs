//! Plugins are loaded one after the other, and the log tells of each.

use std::sync::Arc;

use steeple_config::plugins::{PluginBlock, PluginData};
use tracing::{debug, error, info};

use super::{Blocks, BuiltIn, Daemon, JOIN_TOKEN, LoadError, no_built_in, said};
use crate::node_attestor;

/// Types and names of a daemon's plugins, in the order in which they were loaded.
#[derive(Clone, Debug, Default)]
pub struct Loaded(Vec<(&'static str, String)>);

impl Loaded {
    /// Tells the log that the plugins are gone. Built-ins end with their last user, so there is nothing more to do.
    pub fn close(self) {
        debug!(target: "catalog", "Closing catalog");
        self.unload();
        info!(target: "catalog", "Catalog closed");
    }

    pub(super) fn unload(self) {
        for (plugin_type, plugin_name) in self.0.into_iter().rev() {
            let external = false;
            debug!(target: "catalog", plugin_name, plugin_type, external, "Unloading plugin");
            debug!(target: "catalog", plugin_name, plugin_type, external, "Plugin deinitialized");
            info!(target: "catalog", plugin_name, plugin_type, external, "Plugin unloaded");
        }
    }
}

/// Plugins that are being loaded, one after the other.
pub(super) struct Loading<'a> {
    pub(super) blocks: &'a Blocks<'a>,
    daemon: Daemon<'a>,
    /// Types and names of those that take no configuration.
    unconfigured: &'static [(&'static str, &'static str)],
    pub(super) loaded: Loaded,
}

impl<'a> Loading<'a> {
    pub(super) fn new(
        blocks: &'a Blocks<'a>,
        daemon: Daemon<'a>,
        unconfigured: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { blocks, daemon, unconfigured, loaded: Loaded::default() }
    }

    /// Loads the plugin of one block. Returns it with its name.
    pub(super) fn load<T: ?Sized>(
        &mut self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        block: &PluginBlock,
    ) -> Result<(String, Arc<T>), LoadError> {
        let made = self.blocks.make(kind, built_ins, block, self.daemon);
        let plugin = made.inspect_err(|error| self.failed(kind, block, error))?;
        let (plugin_name, external) = (&block.name, false);
        if !self.unconfigured.contains(&(kind, &block.name)) {
            let reconfigurable = matches!(block.data, PluginData::File(_));
            info!(target: "catalog", plugin_name, plugin_type = kind, external, reconfigurable, "Configured plugin");
        }
        self.is_there(kind, plugin_name);
        Ok((block.name.clone(), plugin))
    }

    /// Puts the join token in the place of the node attestor that is named. That must take its configuration; of one that
    /// cannot be made yet nothing is needed. Returns the name of what is there.
    pub(super) fn replace(
        &mut self,
        built_ins: &'static [BuiltIn<dyn node_attestor::AgentPlugin>],
        block: &PluginBlock,
    ) -> Result<String, LoadError> {
        match self.blocks.make(node_attestor::TYPE, built_ins, block, self.daemon) {
            Ok(_) | Err(LoadError::NotBuiltInYet { .. } | LoadError::External(_)) => {
                self.is_there(node_attestor::TYPE, JOIN_TOKEN);
                Ok(JOIN_TOKEN.to_owned())
            }
            Err(error) => {
                self.failed(node_attestor::TYPE, block, &error);
                Err(error)
            }
        }
    }

    fn is_there(&mut self, kind: &'static str, name: &str) {
        info!(target: "catalog", plugin_name = name, plugin_type = kind, external = false, "Plugin loaded");
        self.loaded.0.push((kind, name.to_owned()));
    }

    /// One that refused its configuration was there already.
    fn failed(&mut self, plugin_type: &'static str, block: &PluginBlock, error: &LoadError) {
        let (plugin_name, external) = (&block.name, block.cmd.is_some());
        match error {
            LoadError::Configure { error, .. } => {
                let error = said(error);
                error!(target: "catalog", plugin_name, plugin_type, external, error, "Failed to configure plugin");
                self.loaded.0.push((plugin_type, plugin_name.clone()));
            }
            LoadError::NoBuiltIn { kind, name } => {
                let error = no_built_in(kind, name);
                error!(target: "catalog", plugin_name, plugin_type, external, error, "Failed to load plugin");
            }
            other => {
                error!(target: "catalog", plugin_name, plugin_type, external, error = %other, "Failed to load plugin")
            }
        }
    }
}
