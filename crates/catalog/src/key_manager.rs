//! KeyManager: holds the private keys of a server or an agent and signs with them.

use std::sync::Arc;

use async_trait::async_trait;
use steeple_pki::{KeyType, SignError, SignatureAlgorithm, Signer};
use steeple_runtime::metrics::measure;
use steeple_spiffe::PublicKey;

use crate::PluginError;

/// The plugin type's name in configuration files.
pub const TYPE: &str = "KeyManager";

/// What a key manager does (`spire.plugin.server.keymanager.v1`, and the agent's, which is the same).
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Makes a key, in place of one that has the same id.
    async fn generate_key(&self, key_id: &str, key_type: KeyType) -> Result<Key, PluginError>;
    /// One key's public half.
    async fn public_key(&self, key_id: &str) -> Result<Option<Key>, PluginError>;
    /// All public halves.
    async fn public_keys(&self) -> Result<Vec<Key>, PluginError>;
    /// Signs a digest, made with the algorithm's hash. ECDSA signatures are ASN.1 DER.
    async fn sign_data(
        &self,
        key_id: &str,
        digest: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, PluginError>;
    /// Destroys a key. The protocol of external plugins has no such call; there the key is overwritten by another one,
    /// which nobody uses.
    async fn destroy_key(&self, key_id: &str) -> Result<(), PluginError> {
        self.generate_key(key_id, KeyType::EcP256).await.map(drop)
    }
}

/// The public half of a key that a key manager holds.
#[derive(Clone, Debug)]
pub struct Key {
    /// Under which it was made.
    pub id: String,
    /// The key.
    pub public_key: PublicKey,
    /// Its kind.
    pub key_type: KeyType,
}

/// The host's side of a key manager. Cheap to clone.
#[derive(Clone)]
pub struct KeyManager {
    name: Arc<str>,
    metrics: &'static Metrics,
    plugin: Arc<dyn Plugin>,
}

struct Metrics {
    generate_key: &'static str,
    get_public_key: &'static str,
    get_public_keys: &'static str,
    sign_data: &'static str,
}

const SERVER: Metrics = Metrics {
    generate_key: "server_key_manager.generate_key",
    get_public_key: "server_key_manager.get_public_key",
    get_public_keys: "server_key_manager.get_public_keys",
    sign_data: "server_key_manager.sign_data",
};

const AGENT: Metrics = Metrics {
    generate_key: "agent_key_manager.generate_key",
    get_public_key: "agent_key_manager.get_key",
    get_public_keys: "agent_key_manager.get_keys",
    sign_data: "agent_key_manager.sign_data",
};

impl KeyManager {
    /// A server's.
    pub fn of_server(name: &str, plugin: Arc<dyn Plugin>) -> Self {
        Self { name: name.into(), metrics: &SERVER, plugin }
    }

    /// An agent's.
    pub fn of_agent(name: &str, plugin: Arc<dyn Plugin>) -> Self {
        Self { name: name.into(), metrics: &AGENT, plugin }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a key, in place of one that has the same id.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn generate_key(&self, key_id: &str, key_type: KeyType) -> Result<Key, PluginError> {
        let call = async { self.plugin.generate_key(key_id, key_type).await.map_err(|error| self.failed(error)) };
        measure(self.metrics.generate_key, call).await
    }

    /// One key's public half.
    ///
    /// # Errors
    /// The plugin's; NOT_FOUND when it has no such key.
    pub async fn public_key(&self, key_id: &str) -> Result<Key, PluginError> {
        let call = async {
            let key = self.plugin.public_key(key_id).await.map_err(|error| self.failed(error))?;
            key.ok_or_else(|| self.failed(PluginError::not_found(format!("public key {key_id:?} not found"))))
        };
        measure(self.metrics.get_public_key, call).await
    }

    /// All public halves.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn public_keys(&self) -> Result<Vec<Key>, PluginError> {
        let call = async { self.plugin.public_keys().await.map_err(|error| self.failed(error)) };
        measure(self.metrics.get_public_keys, call).await
    }

    /// Destroys a key, so that nobody can sign with it any more.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn destroy_key(&self, key_id: &str) -> Result<(), PluginError> {
        self.plugin.destroy_key(key_id).await.map_err(|error| self.failed(error))
    }

    async fn sign_data(
        &self,
        key_id: &str,
        digest: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Vec<u8>, PluginError> {
        let call = async { self.plugin.sign_data(key_id, digest, algorithm).await.map_err(|error| self.failed(error)) };
        measure(self.metrics.sign_data, call).await
    }

    fn failed(&self, error: PluginError) -> PluginError {
        error.of(TYPE, &self.name)
    }
}

impl std::fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyManager({})", self.name)
    }
}

/// A key manager's key as a [`Signer`]: the one seam through which the CA signs.
#[derive(Debug)]
pub struct KeySigner {
    keys: KeyManager,
    key: Key,
    algorithm: SignatureAlgorithm,
}

impl KeySigner {
    /// Signs with `key`, by the algorithm that its type has by default.
    pub fn new(keys: KeyManager, key: Key) -> Self {
        let algorithm = key.key_type.signature_algorithm();
        Self { keys, key, algorithm }
    }
}

#[async_trait]
impl Signer for KeySigner {
    fn public_key(&self) -> &PublicKey {
        &self.key.public_key
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest = self.algorithm.digest(message)?;
        self.keys.sign_data(&self.key.id, &digest, self.algorithm).await.map_err(SignError::other)
    }
}
