//! `disk`: keys in a file of mode 0600. The server names the file, the agent its directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use steeple_catalog::key_manager::Plugin;
use steeple_catalog::{Configuration, PluginError};
use steeple_runtime::os::reason;

use super::keys::HeldKeys;

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
    open(server_file(configuration)?)
}

/// The file that the server's `keys_path` names, whether it is there or not.
///
/// # Errors
/// When it is missing.
pub fn server_file(configuration: &Configuration) -> Result<PathBuf, PluginError> {
    let ServerKeys { keys_path } = configuration.decode()?;
    if keys_path.is_empty() {
        return Err(PluginError::invalid_argument("keys_path is required"));
    }
    Ok(keys_path.into())
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
        let (directory, why) = (directory.display(), reason(&error));
        PluginError::failed_precondition(format!("directory validation failed: open {directory}/.probe: {why}"))
    })?;
    open(directory.join("keys.json"))
}

fn open(path: PathBuf) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(HeldKeys::of_file(path)?))
}

/// Found out now rather than when the first key has to be stored.
fn probe(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let probe = directory.join(".probe");
    steeple_runtime::os::files::replace_private(&probe, b"")?;
    std::fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use steeple_pki::KeyType;

    use super::*;
    use crate::key_manager::file;

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
    async fn a_key_that_was_destroyed_is_neither_in_memory_nor_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let disk = open(path.clone()).unwrap();
        for id in ["agent-svid-A", "agent-svid-B"] {
            disk.generate_key(id, KeyType::EcP256).await.unwrap();
        }
        disk.destroy_key("agent-svid-A").await.unwrap();
        for keys in [disk, open(path.clone()).unwrap()] {
            let ids: Vec<_> = keys.public_keys().await.unwrap().into_iter().map(|key| key.id).collect();
            assert_eq!(ids, ["agent-svid-B"]);
        }
        // What is not there is destroyed already, also where nothing can be written.
        std::fs::remove_file(&path).unwrap();
        let disk = open(path.clone()).unwrap();
        disk.destroy_key("agent-svid-A").await.unwrap();
        assert!(!path.exists());
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
