//! `memory`: keys that are gone when the process ends.

use std::sync::Arc;

use steeple_catalog::key_manager::Plugin;
use steeple_catalog::{Configuration, PluginError};

use super::keys::HeldKeys;

/// Takes no configuration.
///
/// # Errors
/// When there is one.
pub fn build(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    configuration.none()?;
    Ok(Arc::new(HeldKeys::default()))
}
