//! `memory`: keys that are gone when the process ends.

use std::sync::Arc;

use async_trait::async_trait;
use steeple_catalog::key_manager::{Key, Plugin};
use steeple_catalog::{Configuration, PluginError};
use steeple_pki::{KeyType, SignatureAlgorithm};
use tokio::sync::Mutex;

use super::keys::{HeldKeys, generate, public};

#[derive(Default)]
struct Memory {
    keys: HeldKeys,
    /// Held while a key is replaced.
    writing: Mutex<()>,
}

/// Takes no configuration.
///
/// # Errors
/// When there is one.
pub fn build(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    configuration.none()?;
    Ok(Arc::new(Memory::default()))
}

#[async_trait]
impl Plugin for Memory {
    async fn generate_key(&self, key_id: &str, key_type: KeyType) -> Result<Key, PluginError> {
        let new = generate(key_id, key_type).await?;
        let key = public(key_id, &new);
        let _alone = self.writing.lock().await;
        let mut keys = self.keys.all();
        keys.insert(key_id.to_owned(), Arc::new(new));
        self.keys.replace(keys);
        Ok(key)
    }

    async fn public_key(&self, key_id: &str) -> Result<Option<Key>, PluginError> {
        Ok(self.keys.public_key(key_id))
    }

    async fn public_keys(&self) -> Result<Vec<Key>, PluginError> {
        Ok(self.keys.public_keys())
    }

    async fn sign_data(
        &self,
        key_id: &str,
        digest: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, PluginError> {
        self.keys.sign(key_id, digest, algorithm).await
    }
}
