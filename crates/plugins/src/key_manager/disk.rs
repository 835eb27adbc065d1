//! `disk`: keys in a file of mode 0600. The server names the file, the agent its directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use steeple_catalog::key_manager::{Key, Plugin};
use steeple_catalog::{Configuration, PluginError};
use steeple_pki::{KeyType, SignatureAlgorithm};
use tokio::sync::Mutex;

use super::file;
use super::keys::{HeldKeys, generate, public};

struct Disk {
    path: PathBuf,
    keys: HeldKeys,
    /// Held from before the file is written until memory has the same keys.
    writing: Mutex<()>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerKeys {
    keys_path: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AgentKeys {
    directory: String,
}

/// The server's: `keys_path` names the file.
///
/// # Errors
/// When it is missing, or the file is damaged.
pub fn server(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    let ServerKeys { keys_path } = configuration.decode()?;
    if keys_path.is_empty() {
        return Err(PluginError::invalid_argument("keys_path is required"));
    }
    open(keys_path.into())
}

/// The agent's: `directory` holds `keys.json`.
///
/// # Errors
/// When it is missing or cannot be written to, or the file is damaged.
pub fn agent(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    let AgentKeys { directory } = configuration.decode()?;
    if directory.is_empty() {
        return Err(PluginError::invalid_argument("directory must be configured"));
    }
    let directory = PathBuf::from(directory);
    probe(&directory).map_err(|error| {
        PluginError::failed_precondition(format!("directory validation failed: {}: {error}", directory.display()))
    })?;
    open(directory.join("keys.json"))
}

fn open(path: PathBuf) -> Result<Arc<dyn Plugin>, PluginError> {
    let keys = HeldKeys::new(file::load(&path)?);
    Ok(Arc::new(Disk { path, keys, writing: Mutex::default() }))
}

/// Found out now rather than when the first key has to be stored.
fn probe(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let probe = directory.join(".probe");
    steeple_runtime::os::files::replace_private(&probe, b"")?;
    std::fs::remove_file(probe)
}

#[async_trait]
impl Plugin for Disk {
    async fn generate_key(&self, key_id: &str, key_type: KeyType) -> Result<Key, PluginError> {
        let new = generate(key_id, key_type).await?;
        let key = public(key_id, &new);
        let _alone = self.writing.lock().await;
        let mut keys = self.keys.all();
        keys.insert(key_id.to_owned(), Arc::new(new));
        // The file first: a key that is used must be there after a crash.
        let (path, written) = (self.path.clone(), keys.clone());
        tokio::task::spawn_blocking(move || file::save(&path, &written))
            .await
            .map_err(PluginError::internal)?
            .map_err(|error| PluginError { message: format!("failed to generate key: {}", error.message), ..error })?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Written by the reference.
    const WRITTEN_BY_THE_REFERENCE: &str = include_str!("testdata/keys.json");

    #[tokio::test]
    async fn a_file_of_the_reference_is_read_and_written_back_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, WRITTEN_BY_THE_REFERENCE).unwrap();
        let keys = file::load(&path).unwrap();
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["JWT-Signer-A", "JWT-Signer-B", "x509-CA-A", "x509-CA-B"]);
        file::save(&path, &keys).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), WRITTEN_BY_THE_REFERENCE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_key_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let first = open(path.clone()).unwrap();
        let key = first.generate_key("x509-CA-A", KeyType::EcP256).await.unwrap();
        let again = open(path).unwrap().public_key("x509-CA-A").await.unwrap().unwrap();
        assert_eq!(again.public_key.spki_der(), key.public_key.spki_der());
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_stored_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path().join("missing/keys.json")).unwrap();
        let error = disk.generate_key("x509-CA-A", KeyType::EcP256).await.unwrap_err();
        assert!(error.message.starts_with("failed to generate key: unable to write entries: "), "{error}");
        assert!(disk.public_keys().await.unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_not_overwritten_but_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, "{\"keys\": {\"x509-CA-A\": \"AAAA\"}}").unwrap();
        let error = open(path).err().unwrap();
        assert!(error.message.starts_with("unable to parse key \"x509-CA-A\": "), "{error}");
    }
}
