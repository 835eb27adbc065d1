//! Files that must survive a crash whole: keys, agent data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by `content`, readable by its owner alone: written to `path.tmp` with mode 0600, synced, renamed, and
/// the directory synced, so that a crash leaves the old file or the new one.
///
/// # Errors
/// Whatever the file system says; the old file is then unchanged.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write_all(content)?;
    replacement.finish()
}

/// What will replace a file, as [`replace_private`] does, and is written piece by piece. Dropped before the end it leaves
/// the old file.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    path: PathBuf,
    /// None when it has got its name.
    temporary: Option<PathBuf>,
}

impl Replacement {
    /// Begins to replace `path`.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let temporary = with_suffix(path, ".tmp");
        // Removed first: an old temporary file may have another mode or be a link.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { file, path: path.to_owned(), temporary: Some(temporary) })
    }

    /// Puts what was written in the place of the old file.
    ///
    /// # Errors
    /// Whatever the file system says; the old file is then unchanged.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path)?;
        }
        self.temporary = None;
        File::open(parent(&self.path))?.sync_all()
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // A full disk must not keep half a file; the first error is the one that tells.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn replaces_a_file_whole_and_keeps_it_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        fs::write(&path, "old").unwrap();
        fs::write(dir.path().join("keys.json.tmp"), "left by a crash").unwrap();
        replace_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(replace_private(&path, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
