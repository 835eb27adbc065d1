use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steeple_runtime::os::reason;

use crate::Error;

/// A file that holds a password and nothing else. It is read at each new connection, so that a password that was changed
/// is found. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFile(Arc<Path>);

/// No password is longer.
const MOST: u64 = 64 << 10;

impl PasswordFile {
    /// The one with this path.
    pub fn at(path: PathBuf) -> Self {
        Self(path.into())
    }

    /// What it holds now, but for one end of a line behind it, which editors and `echo` leave.
    pub(super) fn read(&self) -> Result<String, Error> {
        let mut text = String::new();
        let read = std::fs::File::open(&self.0).and_then(|file| file.take(MOST).read_to_string(&mut text));
        read.map_err(|error| Error::Unavailable(format!("open {}: {}", self.0.display(), reason(&error))))?;
        let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        Ok(line.unwrap_or(&text).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_all_that_the_file_holds_but_for_the_end_of_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let file = PasswordFile::at(path.clone());
        for (held, password) in
            [("se:cret", "se:cret"), ("se cret\n", "se cret"), ("secret \r\n", "secret "), ("\n\n", "\n"), ("", "")]
        {
            std::fs::write(&path, held).unwrap();
            assert_eq!(file.read().unwrap(), password, "{held:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_holds_no_text_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let error = || PasswordFile::at(path.clone()).read().unwrap_err().to_string();
        assert_eq!(error(), format!("datastore-sql: open {}: no such file or directory", path.display()));
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(error(), format!("datastore-sql: open {}: stream did not contain valid UTF-8", path.display()));
    }
}
