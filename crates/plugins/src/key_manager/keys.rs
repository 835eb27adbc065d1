//! The keys themselves, for plugins that hold them in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use steeple_catalog::PluginError;
use steeple_catalog::key_manager::Key;
use steeple_pki::{KeyType, PrivateKey, SignatureAlgorithm};

/// Keys by id.
pub(super) type Keys = BTreeMap<String, Arc<PrivateKey>>;

/// Keys that can be replaced while others sign.
#[derive(Default)]
pub(super) struct HeldKeys(RwLock<Keys>);

impl HeldKeys {
    pub(super) fn new(keys: Keys) -> Self {
        Self(RwLock::new(keys))
    }

    /// The keys as they are.
    pub(super) fn all(&self) -> Keys {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, keys: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(super) fn public_key(&self, id: &str) -> Option<Key> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).map(|key| public(id, key))
    }

    pub(super) fn public_keys(&self) -> Vec<Key> {
        self.all().iter().map(|(id, key)| public(id, key)).collect()
    }

    /// EC keys sign at once; RSA keys take a hundred times as long, so they do it on a thread that serves no calls.
    pub(super) async fn sign(
        &self,
        id: &str,
        digest: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, PluginError> {
        let key = self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
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
}

pub(super) fn public(id: &str, key: &PrivateKey) -> Key {
    Key { id: id.to_owned(), public_key: key.public_key().clone(), key_type: key.key_type() }
}

/// A new key. An RSA key takes a good part of a second, so it is not made on a thread that serves calls.
pub(super) async fn generate(id: &str, key_type: KeyType) -> Result<PrivateKey, PluginError> {
    if id.is_empty() {
        return Err(PluginError::invalid_argument("key id is required"));
    }
    let failed = |error: String| PluginError::internal(format!("failed to generate key: {error}"));
    tokio::task::spawn_blocking(move || PrivateKey::generate(key_type))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}
