//! UpstreamAuthority: what signs the server's X.509 authorities, when they are no roots.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use steeple_runtime::metrics::measure;
use steeple_spiffe::Certificate;

use crate::PluginError;
use crate::in_use::InUse;

/// The plugin type's name in configuration files.
pub const TYPE: &str = "UpstreamAuthority";

/// What an upstream authority does (`spire.plugin.server.upstreamauthority.v1`). Those of which the roots change while
/// nothing is signed, and those that publish JWT keys, are not built yet.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Signs an authority.
    ///
    /// `csr` is DER; its one URI is the ID of the trust domain. `preferred_ttl` is a wish.
    async fn mint_x509_ca(&self, csr: &[u8], preferred_ttl: Duration) -> Result<MintedX509Ca, PluginError>;
}

/// An X.509 authority that was signed.
#[derive(Clone, Debug)]
pub struct MintedX509Ca {
    /// The authority, and those between it and its root, which is not there. Never empty.
    pub chain: Vec<Certificate>,
    /// What it is verified with. Never empty.
    pub roots: Vec<Certificate>,
}

/// The host's side of an upstream authority. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamAuthority {
    name: Arc<str>,
    plugin: InUse<dyn Plugin>,
}

impl UpstreamAuthority {
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

    /// Signs an authority. `csr` is DER.
    ///
    /// # Errors
    /// The plugin's; INTERNAL when its answer is none.
    pub async fn mint_x509_ca(&self, csr: &[u8], preferred_ttl: Duration) -> Result<MintedX509Ca, PluginError> {
        let call = async {
            let minted = self.plugin.now().mint_x509_ca(csr, preferred_ttl).await;
            let minted = minted.map_err(|error| self.failed(error))?;
            let missing = match &minted {
                MintedX509Ca { chain, .. } if chain.is_empty() => "x509 CA chain",
                MintedX509Ca { roots, .. } if roots.is_empty() => "upstream x509 roots",
                _ => return Ok(minted),
            };
            Err(self.failed(PluginError::internal(format!("plugin response missing {missing}"))))
        };
        measure("upstream_authority.mint_x509_ca", call).await
    }

    fn failed(&self, error: PluginError) -> PluginError {
        error.of(TYPE, &self.name)
    }
}

impl std::fmt::Debug for UpstreamAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpstreamAuthority({})", self.name)
    }
}
