//! An upstream authority in memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use steeple_catalog::upstream_authority::{MintedX509Ca, Plugin};
use steeple_catalog::{PluginError, UpstreamAuthority};
use steeple_pki::CertificateRequest;
use steeple_runtime::Clock;

use crate::Ca;

/// Signs with one root at a time. Clones are one.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    clock: Clock,
    /// What signs, and whose root is told.
    now: Mutex<(Ca, Ca)>,
}

impl Upstream {
    /// Signs with this root.
    pub fn new(root: Ca, clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, now: Mutex::new((root.clone(), root)) }))
    }

    /// From now on signs with this root.
    pub fn replace(&self, root: Ca) {
        self.lie(root.clone(), root);
    }

    /// From now on signs with one root, and tells another one.
    pub fn lie(&self, signs: Ca, told: Ca) {
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner) = (signs, told);
    }

    /// As a server has it.
    pub fn plugin(&self) -> UpstreamAuthority {
        UpstreamAuthority::new("memory", Arc::new(self.clone()))
    }
}

#[async_trait]
impl Plugin for Upstream {
    async fn mint_x509_ca(&self, csr: &[u8], preferred_ttl: Duration) -> Result<MintedX509Ca, PluginError> {
        let asked = CertificateRequest::parse_and_verify(csr).map_err(PluginError::invalid_argument)?;
        let (signs, told) = self.0.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.0.clock.now();
        let signed = signs.certify_authority(asked, now..now + preferred_ttl);
        Ok(MintedX509Ca { chain: vec![signed], roots: vec![told.root().clone()] })
    }
}
