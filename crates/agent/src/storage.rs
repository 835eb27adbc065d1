//! What the agent keeps across restarts, besides its keys: `agent-data.json` in its data directory, in the reference's
//! form, so that either program goes on where the other stopped.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use steeple_config::duration::printed;
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::{gauge, gauge_of};
use steeple_runtime::os::files::replace_private;
use steeple_runtime::os::{reason, unread};
use steeple_spiffe::x509::{self, Certificate};
use tracing::info;

/// The file's name.
const NAME: &str = "agent-data.json";
/// A bundle of hundreds of authorities stays far below.
const LONGEST: u64 = 16 << 20;

/// The agent's data, and its file.
#[derive(Debug)]
pub(crate) struct Storage {
    path: PathBuf,
    data: Data,
}

/// Field `Logger` of lines about where the first bundle comes from, which have no subsystem.
const BUNDLE_SOURCES: &str = "TrustBundleSources";
/// Values of `bootstrap_use`; 0 is a fresh agent.
const BOOTSTRAP: i64 = 1;
const REBOOTSTRAP: i64 = 2;
/// In seconds since 1970: what the reference measures where there is no time.
const GOS_ZERO_TIME: i64 = -62_135_596_800;

/// Certificates are stored as base64 of their PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Data {
    svid: Option<Vec<String>>,
    bundle: Option<Vec<String>>,
    reattestable: bool,
    bootstrap_use: i64,
    bootstrap_start_time: String,
    connection_attempts: i64,
    /// The key of an attestation that has had no answer so far: SHA-256 of its public half, in hex. Our own; the reference
    /// takes no notice of it, and drops it when it writes the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    steeple_unanswered_key: Option<String>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            svid: None,
            bundle: None,
            reattestable: false,
            bootstrap_use: 0,
            // Go's zero time.
            bootstrap_start_time: "0001-01-01T00:00:00Z".to_owned(),
            connection_attempts: 0,
            steeple_unanswered_key: None,
        }
    }
}

/// Why the agent's data cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file cannot be read.
    #[error("failed to open storage: failed to read data: {}", unread(path, error))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "failed to open storage: failed to unmarshal data: {what}: {} is damaged; to start over, move it away and attest \
         again", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be written; the old one is still there.
    #[error("failed to write data file: {}: {}", path.display(), reason(error))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// How far the agent is on the way to a server that it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bootstrapping {
    /// Whether it has known one before.
    pub again: bool,
    /// Since when it is on the way, if it is.
    pub since: Option<SystemTime>,
    /// How often it has fetched the first bundle.
    pub attempts: i64,
}

/// An SVID as it was stored, leaf first.
#[derive(Clone, Debug)]
pub(crate) struct StoredSvid {
    /// The chain; never empty.
    pub chain: Vec<Certificate>,
    /// Whether the agent attests again rather than renew.
    pub reattestable: bool,
}

impl Storage {
    /// Reads what is there. No file is a fresh agent.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StorageError> {
        let path = data_dir.join(NAME);
        let unreadable = |error| StorageError::Read { path: path.clone(), error };
        let text = match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, data: Data::default() });
            }
            Err(error) => return Err(unreadable(error)),
            Ok(meta) if meta.len() > LONGEST => {
                return Err(StorageError::Damaged { what: "too long".to_owned(), path });
            }
            Ok(_) => std::fs::read(&path).map_err(unreadable)?,
        };
        let damaged = |what: String| StorageError::Damaged { path: path.clone(), what };
        let data: Data = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let storage = Self { path: path.clone(), data };
        storage.load_svid().map_err(|error| damaged(format!("svid: {error}")))?;
        decode(storage.data.bundle.as_deref()).map_err(|error| damaged(format!("bundle: {error}")))?;
        Ok(storage)
    }

    /// The stored SVID.
    pub(crate) fn svid(&self) -> Option<StoredSvid> {
        // Checked when the file was opened.
        self.load_svid().ok().flatten()
    }

    /// The stored authorities of the own trust domain.
    pub(crate) fn bundle(&self) -> Option<Vec<Certificate>> {
        decode(self.data.bundle.as_deref()).ok().flatten()
    }

    /// Keeps an SVID: whatever was asked for has been answered.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn store_svid(&mut self, chain: &[Certificate], reattestable: bool) -> Result<(), StorageError> {
        let svid = Some(encode(chain));
        self.write(Data { svid, reattestable, steeple_unanswered_key: None, ..self.data.clone() })
    }

    /// Whether an attestation with this key, given by its public half, has had no answer.
    pub(crate) fn is_unanswered(&self, spki_der: &[u8]) -> bool {
        self.data.steeple_unanswered_key.as_ref().is_some_and(|key| *key == digest(spki_der))
    }

    /// Whether there has been an attestation that has had no answer.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.data.steeple_unanswered_key.is_some()
    }

    /// Keeps in mind with which key the server is about to be asked.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn will_ask_with(&mut self, spki_der: &[u8]) -> Result<(), StorageError> {
        self.write(Data { steeple_unanswered_key: Some(digest(spki_der)), ..self.data.clone() })
    }

    /// Keeps the authorities of the own trust domain.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn store_bundle(&mut self, authorities: &[Certificate]) -> Result<(), StorageError> {
        let bundle = encode(authorities);
        if self.data.bundle.as_ref() == Some(&bundle) {
            return Ok(());
        }
        self.write(Data { bundle: Some(bundle), ..self.data.clone() })
    }

    /// On the way to a server that the agent knows.
    pub(crate) fn bootstrapping(&self) -> Bootstrapping {
        let Data { bootstrap_use, bootstrap_start_time, connection_attempts, .. } = &self.data;
        let since = bootstrap_start_time.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
        Bootstrapping {
            again: *bootstrap_use == REBOOTSTRAP,
            since: since.filter(|since| *since >= SystemTime::UNIX_EPOCH),
            attempts: *connection_attempts,
        }
    }

    /// Measures how far it is on that way.
    pub(crate) fn measure(&self) {
        let Bootstrapping { again, since, attempts } = self.bootstrapping();
        let mode = [("mode", if again { "rebootstrap" } else { "bootstrap" })];
        gauge("bootstrapped", if since.is_none() { 1.0 } else { 0.0 });
        gauge_of("bootstrap_seconds", &mode, since.map_or(GOS_ZERO_TIME, unix_seconds) as f64);
        gauge_of("bootstrap_attempts", &mode, attempts as f64);
    }

    /// Counts an attempt to fetch the first bundle.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn begin_bootstrap(&mut self, now: SystemTime) -> Result<Bootstrapping, StorageError> {
        let Bootstrapping { again, since, attempts } = self.bootstrapping();
        self.write(Data {
            bootstrap_use: if again { REBOOTSTRAP } else { BOOTSTRAP },
            bootstrap_start_time: timestamp(since.unwrap_or(now)),
            connection_attempts: attempts.saturating_add(1),
            ..self.data.clone()
        })?;
        Ok(self.bootstrapping())
    }

    /// Since when the agent has not known its server's authority; `now` when it is the first time.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn unknown_since(&mut self, now: SystemTime) -> Result<SystemTime, StorageError> {
        if let Some(since) = self.bootstrapping().since {
            return Ok(since);
        }
        self.write(Data { bootstrap_start_time: timestamp(now), ..self.data.clone() })?;
        Ok(now)
    }

    /// The agent knows its server.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn bootstrapped(&mut self, now: SystemTime) -> Result<(), StorageError> {
        let Bootstrapping { again, since, attempts } = self.bootstrapping();
        if again && since.is_none() && attempts == 0 {
            return Ok(());
        }
        if let Some(since) = since {
            let took = printed(now.duration_since(since).unwrap_or_default());
            info!(Logger = BUNDLE_SOURCES, "Success after {took} attempts={attempts}");
            info!(Logger = BUNDLE_SOURCES, "Setting use.");
        }
        let fresh = Data::default();
        self.write(Data {
            bootstrap_use: REBOOTSTRAP,
            bootstrap_start_time: fresh.bootstrap_start_time,
            connection_attempts: 0,
            ..self.data.clone()
        })
    }

    /// Forgets the bundle: the next attempt fetches the first one again.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn delete_bundle(&mut self) -> Result<(), StorageError> {
        self.write(Data { bundle: None, ..self.data.clone() })
    }

    /// Forgets bundle and SVID: the next start begins anew, as one that has known a server before.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn begin_anew(&mut self, now: SystemTime) -> Result<(), StorageError> {
        let start = timestamp(now);
        self.write(Data { bootstrap_use: REBOOTSTRAP, bootstrap_start_time: start, ..Data::default() })
    }

    /// Forgets the SVID: the next start attests anew.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    pub(crate) fn delete_svid(&mut self) -> Result<(), StorageError> {
        self.write(Data { svid: None, reattestable: false, ..self.data.clone() })
    }

    /// Writes what was read.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    #[cfg(fuzzing)]
    pub(crate) fn write_back(&mut self) -> Result<(), StorageError> {
        self.write(self.data.clone())
    }

    /// What is in memory is what is in the file.
    fn write(&mut self, data: Data) -> Result<(), StorageError> {
        let failed = |error| StorageError::Write { path: self.path.clone(), error };
        let text = serde_json::to_vec(&data).map_err(|error| failed(std::io::Error::other(error)))?;
        replace_private(&self.path, &text).map_err(failed)?;
        let before = self.bootstrapping();
        self.data = data;
        if self.bootstrapping() != before {
            self.measure();
        }
        Ok(())
    }

    fn load_svid(&self) -> Result<Option<StoredSvid>, String> {
        let chain = decode(self.data.svid.as_deref())?.filter(|chain| !chain.is_empty());
        Ok(chain.map(|chain| StoredSvid { chain, reattestable: self.data.reattestable }))
    }
}

fn digest(spki_der: &[u8]) -> String {
    x509::hex(&steeple_pki::sha256(spki_der))
}

/// RFC 3339, as Go writes it.
fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| Data::default().bootstrap_start_time, |at| at.to_string())
}

fn encode(certificates: &[Certificate]) -> Vec<String> {
    certificates.iter().map(|certificate| STANDARD.encode(certificate.to_pem())).collect()
}

fn decode(stored: Option<&[String]>) -> Result<Option<Vec<Certificate>>, String> {
    let Some(stored) = stored else { return Ok(None) };
    let mut certificates = Vec::with_capacity(stored.len());
    for text in stored {
        let pem = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let pem = String::from_utf8(pem).map_err(|error| error.to_string())?;
        certificates.extend(x509::parse_pem(&pem).map_err(|error| error.to_string())?);
    }
    Ok(Some(certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the reference.
    const WRITTEN_BY_THE_REFERENCE: &str = include_str!("testdata/agent-data.json");

    #[test]
    fn a_file_of_the_reference_is_read_and_written_back_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, WRITTEN_BY_THE_REFERENCE).unwrap();
        let mut storage = Storage::open(dir.path()).unwrap();
        let svid = storage.svid().unwrap();
        assert_eq!(
            svid.chain[0].spiffe_id().unwrap().as_str(),
            "spiffe://example.org/spire/agent/join_token/fixture-node1"
        );
        let bundle = storage.bundle().unwrap();
        storage.store_svid(&svid.chain, svid.reattestable).unwrap();
        storage.store_bundle(&bundle).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), WRITTEN_BY_THE_REFERENCE.trim_end());
    }

    #[test]
    fn no_file_is_a_fresh_agent_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Storage::open(dir.path()).unwrap().svid().is_none());
        for text in ["{", r#"{"svid":["%%"]}"#, r#"{"bundle":["Z2FyYmFnZQ=="]}"#] {
            std::fs::write(dir.path().join(NAME), text).unwrap();
            let error = Storage::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
    }

    #[test]
    fn a_key_is_unanswered_from_before_it_is_shown_until_there_is_an_svid() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), WRITTEN_BY_THE_REFERENCE).unwrap();
        let mut storage = Storage::open(dir.path()).unwrap();
        assert!(!storage.is_unanswered(b"key"));
        storage.will_ask_with(b"key").unwrap();
        let mut storage = Storage::open(dir.path()).unwrap();
        assert!(storage.is_unanswered(b"key") && !storage.is_unanswered(b"another"));
        let svid = storage.svid().unwrap();
        storage.store_svid(&svid.chain, svid.reattestable).unwrap();
        assert!(!Storage::open(dir.path()).unwrap().is_unanswered(b"key"));
        // The file is again as the reference would have written it.
        assert_eq!(std::fs::read_to_string(dir.path().join(NAME)).unwrap(), WRITTEN_BY_THE_REFERENCE.trim_end());
    }

    #[test]
    fn a_deleted_svid_stays_deleted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), WRITTEN_BY_THE_REFERENCE).unwrap();
        Storage::open(dir.path()).unwrap().delete_svid().unwrap();
        let storage = Storage::open(dir.path()).unwrap();
        assert!(storage.svid().is_none() && storage.bundle().is_some());
    }

    #[test]
    fn the_way_to_a_first_bundle_is_kept_in_the_references_form() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = Storage::open(dir.path()).unwrap();
        assert_eq!(storage.bootstrapping(), Bootstrapping::default());
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        storage.begin_bootstrap(at).unwrap();
        storage.begin_bootstrap(at + std::time::Duration::from_secs(5)).unwrap();
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        let kept = r#""bootstrap_use":1,"bootstrap_start_time":"2020-01-01T00:00:00Z","connection_attempts":2"#;
        assert!(text.contains(kept), "{text}");
        let mut storage = Storage::open(dir.path()).unwrap();
        assert_eq!(storage.bootstrapping(), Bootstrapping { again: false, since: Some(at), attempts: 2 });

        storage.bootstrapped(at).unwrap();
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        let kept = r#""bootstrap_use":2,"bootstrap_start_time":"0001-01-01T00:00:00Z","connection_attempts":0"#;
        assert!(text.contains(kept), "{text}");

        let later = at + std::time::Duration::from_millis(1_500);
        assert_eq!(storage.unknown_since(later).unwrap(), later);
        assert_eq!(storage.unknown_since(later + std::time::Duration::from_secs(9)).unwrap(), later);
    }

    #[test]
    fn an_agent_that_begins_anew_keeps_neither_bundle_nor_svid() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), WRITTEN_BY_THE_REFERENCE).unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        Storage::open(dir.path()).unwrap().begin_anew(at).unwrap();
        let storage = Storage::open(dir.path()).unwrap();
        assert!(storage.svid().is_none() && storage.bundle().is_none());
        assert_eq!(storage.bootstrapping(), Bootstrapping { again: true, since: Some(at), attempts: 0 });
    }

    #[test]
    fn what_a_crash_left_half_written_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), WRITTEN_BY_THE_REFERENCE).unwrap();
        let half = dir.path().join(format!("{NAME}.tmp"));
        std::fs::write(&half, &WRITTEN_BY_THE_REFERENCE[..100]).unwrap();
        let mut storage = Storage::open(dir.path()).unwrap();
        let svid = storage.svid().unwrap();
        storage.store_svid(&svid.chain, true).unwrap();
        assert!(!half.exists());
        assert!(Storage::open(dir.path()).unwrap().svid().unwrap().reattestable);
        let mode = std::fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_written_is_not_taken_for_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), WRITTEN_BY_THE_REFERENCE).unwrap();
        let mut storage = Storage::open(dir.path()).unwrap();
        let bundle = storage.bundle().unwrap();
        std::fs::remove_dir_all(dir.path()).unwrap();
        let error = storage.delete_svid().unwrap_err().to_string();
        assert!(error.starts_with("failed to write data file: "), "{error}");
        assert!(storage.svid().is_some());
        // What says the same as before need not be written.
        storage.store_bundle(&bundle).unwrap();
        assert!(storage.store_bundle(&[]).is_err());
        assert_eq!(storage.bundle().unwrap(), bundle);
    }
}
