//! A key manager in memory that can be told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use steeple_catalog::key_manager::{Key, Plugin};
use steeple_catalog::{KeyManager, PluginError};
use steeple_pki::{KeyType, PrivateKey, SignatureAlgorithm};

/// Keys in memory. Cheap to clone: all clones hold the same keys, so that a "restart" of what uses them can keep them.
#[derive(Clone, Debug, Default)]
pub struct MemoryKeys(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, Arc<PrivateKey>>,
    failure: Option<PluginError>,
    /// Ids of the keys that were made, in order.
    made: Vec<String>,
}

impl MemoryKeys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// As a server has it, under the name `memory`.
    pub fn of_server(&self) -> KeyManager {
        KeyManager::of_server("memory", Arc::new(self.clone()))
    }

    /// As an agent has it, under the name `memory`.
    pub fn of_agent(&self) -> KeyManager {
        KeyManager::of_agent("memory", Arc::new(self.clone()))
    }

    /// Fails every call with this error, until it is told None.
    pub fn fail_with(&self, failure: Option<PluginError>) {
        self.state().failure = failure;
    }

    /// Puts a key in, as if it had been made before.
    pub fn put(&self, id: &str, key: PrivateKey) {
        self.state().keys.insert(id.to_owned(), Arc::new(key));
    }

    /// Loses all keys.
    pub fn lose(&self) {
        self.state().keys.clear();
    }

    /// The ids of the keys that were made, in the order of their making.
    pub fn made(&self) -> Vec<String> {
        self.state().made.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic under this lock")
    }

    fn sound(&self) -> Result<MutexGuard<'_, State>, PluginError> {
        let state = self.state();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state),
        }
    }
}

#[async_trait]
impl Plugin for MemoryKeys {
    async fn generate_key(&self, key_id: &str, key_type: KeyType) -> Result<Key, PluginError> {
        drop(self.sound()?);
        let new = PrivateKey::generate(key_type).map_err(PluginError::internal)?;
        let key = public(key_id, &new);
        let mut state = self.sound()?;
        state.keys.insert(key_id.to_owned(), Arc::new(new));
        state.made.push(key_id.to_owned());
        Ok(key)
    }

    async fn public_key(&self, key_id: &str) -> Result<Option<Key>, PluginError> {
        Ok(self.sound()?.keys.get(key_id).map(|key| public(key_id, key)))
    }

    async fn public_keys(&self) -> Result<Vec<Key>, PluginError> {
        Ok(self.sound()?.keys.iter().map(|(id, key)| public(id, key)).collect())
    }

    async fn sign_data(
        &self,
        key_id: &str,
        digest: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, PluginError> {
        let key = self.sound()?.keys.get(key_id).cloned();
        let key = key.ok_or_else(|| PluginError::not_found(format!("no such key {key_id:?}")))?;
        key.sign_digest(algorithm, digest).map_err(PluginError::internal)
    }
}

fn public(id: &str, key: &PrivateKey) -> Key {
    Key { id: id.to_owned(), public_key: key.public_key().clone(), key_type: key.key_type() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fails_as_it_is_told_and_works_again() {
        let keys = MemoryKeys::new();
        let manager = keys.of_server();
        manager.generate_key("a", KeyType::EcP256).await.unwrap();
        keys.fail_with(Some(PluginError::internal("out of order")));
        let error = manager.generate_key("b", KeyType::EcP256).await.unwrap_err();
        assert_eq!(error.to_string(), "keymanager(memory): out of order");
        keys.fail_with(None);
        assert_eq!(manager.public_keys().await.unwrap().len(), 1);
        assert_eq!(keys.made(), ["a"]);
    }
}
