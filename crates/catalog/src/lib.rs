//! The plugin types, one file each: the trait that a built-in implements, and the host's side that measures each call
//! and prefixes its errors. How a daemon's plugins are loaded is in [`load`].
#![warn(missing_docs)]

pub mod bundle_publisher;
pub mod credential_composer;
mod error;
mod host;
mod in_use;
pub mod key_manager;
pub mod load;
pub mod node_attestor;
pub mod upstream_authority;
pub mod workload_attestor;

pub use bundle_publisher::BundlePublisher;
pub use credential_composer::CredentialComposer;
pub use error::PluginError;
pub use host::{Host, IdentityProvider};
pub use key_manager::KeyManager;
pub use node_attestor::{AgentNodeAttestor, ServerNodeAttestor};
pub use upstream_authority::UpstreamAuthority;
pub use workload_attestor::WorkloadAttestor;

use std::path::Path;

use steeple_config::hcl::Body;
use steeple_config::plugins::PluginData;
use steeple_spiffe::TrustDomain;

/// What is said of a plugin that takes no configuration and got one.
pub(crate) const NO_CONFIGURATION: &str = "no supported configuration interface found";

/// What a plugin is configured with.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The trust domain of the daemon.
    pub trust_domain: TrustDomain,
    /// What stands in its `plugin_data`, or where.
    pub data: PluginData,
    /// The daemon.
    pub host: Host,
}

impl Configuration {
    /// Reads the plugin's keys. Keys that it does not know are ignored.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when a key has the wrong type, or the data file cannot be read.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, PluginError> {
        let body = match &self.data {
            PluginData::None => Body::default(),
            PluginData::Fixed(body) => body.clone(),
            PluginData::File(path) => parsed(read(path)?)?,
        };
        steeple_config::decode::decode(&body).map(|decoded| decoded.value).map_err(malformed)
    }

    /// For a plugin that takes no configuration.
    ///
    /// # Errors
    /// When there is one.
    pub fn none(&self) -> Result<(), PluginError> {
        match self.data {
            PluginData::None => Ok(()),
            PluginData::Fixed(_) | PluginData::File(_) => Err(PluginError::invalid_argument(NO_CONFIGURATION)),
        }
    }
}

/// The text of a `plugin_data_file`.
fn read(path: &Path) -> Result<String, PluginError> {
    std::fs::read_to_string(path).map_err(|error| {
        let (path, reason) = (path.display(), steeple_runtime::os::reason(&error));
        PluginError::invalid_argument(format!("failed to read plugin configuration: open {path}: {reason}"))
    })
}

/// What such a text says.
fn parsed(text: String) -> Result<Body, PluginError> {
    steeple_config::hcl::parse(text).map_err(malformed)
}

fn malformed(error: steeple_config::Error) -> PluginError {
    PluginError::invalid_argument(format!("unable to decode configuration: {error}"))
}
