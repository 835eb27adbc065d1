//! `disk`: an authority whose certificate and key are files, which are read again each time that it signs.

mod files;

use std::sync::Arc;

use serde::Deserialize;
use steeple_catalog::upstream_authority::Plugin;
use steeple_catalog::{Configuration, PluginError};

use files::{Disk, Files};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    cert_file_path: String,
    key_file_path: String,
    bundle_file_path: String,
}

/// The plugin. The files are read here to see that they fit together.
///
/// # Errors
/// INVALID_ARGUMENT: a key is missing, or its file cannot be read or does not fit.
pub fn build(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    let Configuration { trust_domain, data: _, host } = configuration;
    Ok(Arc::new(Disk::new(files(configuration)?, trust_domain.clone(), host.clock().clone())?))
}

/// Whether all keys are there. The files may be on another host.
///
/// # Errors
/// INVALID_ARGUMENT: a key is missing.
pub fn check(configuration: &Configuration) -> Result<(), PluginError> {
    files(configuration).map(drop)
}

fn files(configuration: &Configuration) -> Result<Files, PluginError> {
    let Options { cert_file_path, key_file_path, bundle_file_path } = configuration.decode()?;
    if cert_file_path.is_empty() || key_file_path.is_empty() {
        return Err(PluginError::invalid_argument("'cert_file_path' and 'key_file_path' must be set and not empty"));
    }
    Ok(Files {
        certificates: cert_file_path.into(),
        key: key_file_path.into(),
        bundle: (!bundle_file_path.is_empty()).then(|| bundle_file_path.into()),
    })
}

#[cfg(test)]
mod tests;
