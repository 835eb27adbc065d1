//! Plugins are loaded one after the other, and the log tells of each.

use std::sync::Arc;

use steeple_config::plugins::{PluginBlock, PluginData};
use tracing::{error, info};

use super::loaded::{Loaded, Renew, Renewable, Running, Told};
use super::{Blocks, BuiltIn, Daemon, JOIN_TOKEN, LoadError, no_built_in, said};
use crate::in_use::InUse;
use crate::node_attestor;

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

    /// Loads the plugin of one block, which another configuration may replace. Returns it with its name.
    pub(super) fn load<T: ?Sized + Send + Sync>(
        &mut self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        block: &PluginBlock,
    ) -> Result<(String, InUse<T>), LoadError> {
        let (built_in, plugin, told) = self.make(kind, built_ins, block)?;
        let in_use = InUse::new(plugin);
        let renew = Renewable { build: built_in.build, in_use: in_use.clone() };
        self.is_there(kind, &block.name, told, Some(Box::new(renew)));
        Ok((block.name.clone(), in_use))
    }

    /// Loads the plugin of one block, which stays as it is. Returns it with its name.
    pub(super) fn load_for_good<T: ?Sized>(
        &mut self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        block: &PluginBlock,
    ) -> Result<(String, Arc<T>), LoadError> {
        let (_, plugin, told) = self.make(kind, built_ins, block)?;
        self.is_there(kind, &block.name, told, None);
        Ok((block.name.clone(), plugin))
    }

    fn make<T: ?Sized>(
        &mut self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        block: &PluginBlock,
    ) -> Result<(&'static BuiltIn<T>, Arc<T>, Told), LoadError> {
        let made = self.blocks.make(kind, built_ins, block, self.daemon);
        let made = made.inspect_err(|error| self.failed(kind, block, error))?;
        if !self.unconfigured.contains(&(kind, &block.name)) {
            let (plugin_name, external) = (&block.name, false);
            let reconfigurable = matches!(block.data, PluginData::File(_));
            let hash = reconfigurable.then(|| made.2.hash.clone());
            info!(target: "catalog", plugin_name, plugin_type = kind, external, reconfigurable, hash, "Configured plugin");
        }
        Ok(made)
    }

    /// Puts the join token in the place of the node attestor that is named. That must take its configuration; of one that
    /// cannot be made yet nothing is needed. Returns the name of what is there.
    pub(super) fn replace(
        &mut self,
        built_ins: &'static [BuiltIn<dyn node_attestor::AgentPlugin>],
        block: &PluginBlock,
    ) -> Result<String, LoadError> {
        match self.blocks.make(node_attestor::TYPE, built_ins, block, self.daemon) {
            Ok(_) | Err(LoadError::Missing(_)) => {
                self.is_there(node_attestor::TYPE, JOIN_TOKEN, Told::default(), None);
                Ok(JOIN_TOKEN.to_owned())
            }
            Err(error) => {
                self.failed(node_attestor::TYPE, block, &error);
                Err(error)
            }
        }
    }

    fn is_there(&mut self, kind: &'static str, name: &str, told: Told, renew: Option<Box<dyn Renew>>) {
        info!(target: "catalog", plugin_name = name, plugin_type = kind, external = false, "Plugin loaded");
        self.keep(kind, name, told, renew);
    }

    fn keep(&mut self, kind: &'static str, name: &str, told: Told, renew: Option<Box<dyn Renew>>) {
        self.loaded.0.push(Arc::new(Running { kind, name: name.to_owned(), told: told.into(), renew }));
    }

    /// One that refused its configuration was there already.
    fn failed(&mut self, plugin_type: &'static str, block: &PluginBlock, error: &LoadError) {
        let (plugin_name, external) = (&block.name, block.cmd.is_some());
        match error {
            LoadError::Configure { error, .. } => {
                let error = said(error);
                error!(target: "catalog", plugin_name, plugin_type, external, error, "Failed to configure plugin");
                self.keep(plugin_type, plugin_name, Told::default(), None);
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
