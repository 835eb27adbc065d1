//! Which program a process runs: the path of its file, and the hash of what is in it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steeple_catalog::PluginError;
use steeple_pki::Sha256;
use steeple_spiffe::x509::hex;
use tokio::sync::Semaphore;

/// So many programs are looked at at once: reading a large one takes a thread and the disk for a while.
const AT_ONCE: usize = 8;
/// A process that executes one program after the other is followed so often, and no longer.
const TRIES: usize = 3;

/// Which programs are hashed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hashing {
    /// All.
    Always,
    /// Those of at most so many bytes; a longer one fails the attestation.
    UpTo(u64),
    /// None: only paths are told.
    Never,
}

/// A program.
#[derive(Debug, PartialEq)]
pub(super) struct Program {
    /// Where its file is, or was: the kernel adds ` (deleted)`.
    pub path: String,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: Option<String>,
}

/// Looks at programs, a bounded number at once.
pub(super) struct Programs {
    hashing: Hashing,
    places: Arc<Semaphore>,
}

impl Programs {
    pub(super) fn new(hashing: Hashing) -> Self {
        Self { hashing, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The program of the process that `/proc/PID` describes.
    ///
    /// # Errors
    /// INTERNAL: the process has ended or may not be looked at, or its program is too large or keeps changing.
    pub(super) async fn of(&self, process: PathBuf) -> Result<Program, PluginError> {
        let exe = process.join("exe");
        let limit = match self.hashing {
            Hashing::Never => return path_of(&exe).map(|path| Program { path, sha256: None }),
            Hashing::Always => None,
            Hashing::UpTo(limit) => Some(limit),
        };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(PluginError::internal)?;
        let reading = tokio::task::spawn_blocking(move || {
            // Freed when the file has been read, not when the caller has lost interest.
            let _place = place;
            read(&exe, limit)
        });
        reading.await.map_err(PluginError::internal)?
    }
}

/// Path and hash of one and the same program: the file that was hashed is what the link leads to afterwards as well, or
/// the process has executed another program meanwhile and is looked at again.
fn read(exe: &Path, limit: Option<u64>) -> Result<Program, PluginError> {
    for _ in 0..TRIES {
        let path = path_of(exe)?;
        let unreadable = |error: io::Error| PluginError::internal(format!("SHA256 digest: {error}"));
        // Through /proc: the path may mean another file here than where the workload lives.
        let file = File::open(exe).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if let Some(limit) = limit.filter(|limit| meta.len() > *limit) {
            let size = meta.len();
            return Err(PluginError::internal(format!(
                "SHA256 digest: workload {path} exceeds size limit ({size} > {limit})"
            )));
        }
        let sha256 = Some(hash(file, limit, &path)?);
        if is_same(&fs::metadata(exe).map_err(unreadable)?, &meta) && path_of(exe)? == path {
            return Ok(Program { path, sha256 });
        }
    }
    Err(PluginError::internal("path lookup: the process executes one program after the other"))
}

fn path_of(exe: &Path) -> Result<String, PluginError> {
    let path = fs::read_link(exe).map_err(|error| PluginError::internal(format!("path lookup: {error}")))?;
    let path = path.into_os_string().into_string();
    path.map_err(|path| PluginError::internal(format!("path lookup: the path is not UTF-8: {}", path.display())))
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The kernel keeps the file of a running program from being written to, but not every file system does: a file that
/// grows is not read beyond the limit.
fn hash(file: File, limit: Option<u64>, path: &str) -> Result<String, PluginError> {
    let mut file = file.take(limit.map_or(u64::MAX, |limit| limit.saturating_add(1)));
    let (mut digest, mut buffer, mut size) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PluginError::internal(format!("SHA256 digest: {error}"))),
        };
        size += count as u64;
        digest.update(&buffer[..count]);
    }
    match limit {
        Some(limit) if size > limit => {
            Err(PluginError::internal(format!("SHA256 digest: workload {path} exceeds size limit ({size} > {limit})")))
        }
        _ => Ok(hex(&digest.finish())),
    }
}
