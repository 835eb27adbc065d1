//! The keys themselves, for plugins that hold them in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use steeple_catalog::PluginError;
use steeple_catalog::key_manager::{Key, Plugin};
use steeple_pki::{KeyType, PrivateKey, SignatureAlgorithm};
use tokio::sync::Mutex;

use super::file;

/// Keys by id.
pub(super) type Keys = BTreeMap<String, Arc<PrivateKey>>;

/// Keys that sign while others are made: in memory, and in a file if there is one.
#[derive(Default)]
pub(super) struct HeldKeys {
    keys: RwLock<Keys>,
    file: Option<PathBuf>,
    /// Held from before the file is written until memory has the same keys.
    writing: Mutex<()>,
}

impl HeldKeys {
    /// Those of a file, which gets each new one.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(super) fn of_file(file: PathBuf) -> Result<Self, PluginError> {
        Ok(Self { keys: RwLock::new(file::load(&file)?), file: Some(file), writing: Mutex::default() })
    }

    fn held(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `change` makes of the keys: in the file first, because a key that is used must be there after a crash, and
    /// one that was destroyed must not.
    async fn change(&self, change: impl FnOnce(&mut Keys) + Send) -> Result<(), PluginError> {
        let _alone = self.writing.lock().await;
        let mut keys = self.held().clone();
        change(&mut keys);
        if let Some(file) = self.file.clone() {
            let written = keys.clone();
            tokio::task::spawn_blocking(move || file::save(&file, &written)).await.map_err(PluginError::internal)??;
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

#[async_trait]
impl Plugin for HeldKeys {
    async fn generate_key(&self, id: &str, key_type: KeyType) -> Result<Key, PluginError> {
        let new = generate(id, key_type).await?;
        let key = public(id, &new);
        let changed = self.change(|keys| drop(keys.insert(id.to_owned(), Arc::new(new)))).await;
        changed
            .map_err(|error| PluginError { message: format!("failed to generate key: {}", error.message), ..error })?;
        Ok(key)
    }

    async fn public_key(&self, id: &str) -> Result<Option<Key>, PluginError> {
        Ok(self.held().get(id).map(|key| public(id, key)))
    }

    async fn public_keys(&self) -> Result<Vec<Key>, PluginError> {
        Ok(self.held().iter().map(|(id, key)| public(id, key)).collect())
    }

    /// EC keys sign at once; RSA keys take a hundred times as long, so they do it on a thread that serves no calls.
    async fn sign_data(&self, id: &str, digest: &[u8], algorithm: SignatureAlgorithm) -> Result<Vec<u8>, PluginError> {
        let key = self.held().get(id).cloned();
        let key = key.ok_or_else(|| PluginError::not_found(format!("failed to sign data: no such key {id:?}")))?;
        let signed = match key.key_type() {
            KeyType::EcP256 | KeyType::EcP384 => key.sign_digest(algorithm, digest),
            KeyType::Rsa2048 | KeyType::Rsa4096 => {
                let digest = digest.to_vec();
                tokio::task::spawn_blocking(move || key.sign_digest(algorithm, &digest))
                    .await
                    .map_err(PluginError::internal)?
            }
        };
        signed.map_err(|error| {
            PluginError::internal(format!("failed to sign data: keypair {id:?} signing operation failed: {error}"))
        })
    }

    async fn destroy_key(&self, id: &str) -> Result<(), PluginError> {
        if !self.held().contains_key(id) {
            return Ok(());
        }
        let changed = self.change(|keys| drop(keys.remove(id))).await;
        changed.map_err(|error| PluginError { message: format!("failed to destroy key: {}", error.message), ..error })
    }
}

fn public(id: &str, key: &PrivateKey) -> Key {
    Key { id: id.to_owned(), public_key: key.public_key().clone(), key_type: key.key_type() }
}

/// A new key. An RSA key takes a good part of a second, so it is not made on a thread that serves calls.
async fn generate(id: &str, key_type: KeyType) -> Result<PrivateKey, PluginError> {
    if id.is_empty() {
        return Err(PluginError::invalid_argument("key id is required"));
    }
    let failed = |error: String| PluginError::internal(format!("failed to generate key: {error}"));
    tokio::task::spawn_blocking(move || PrivateKey::generate(key_type))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}
