//! kill -9 at a chosen moment: a library between a daemon and the system (`shim.c`, by `LD_PRELOAD`) counts what the
//! daemon changes on disk and ends it at the operation that a case names. The same library sets a daemon's clock ahead,
//! and has its files be read-only.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Installation, Output, Scratch};

/// The library, built for one case.
pub struct Shim {
    library: PathBuf,
}

/// How a daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Before an operation: a write, a sync, a file made, renamed or removed.
    Before,
    /// In the middle of a write, of which half is done. Only writes are counted.
    Amid,
}

/// What a case and one run of a daemon share.
pub struct Trap {
    control: File,
}

/// Where the fields of `struct control` in `shim.c` are.
mod field {
    pub(super) const AT: u64 = 8;
    pub(super) const COUNT: u64 = 16;
    pub(super) const HOW: u64 = 24;
    pub(super) const FIRED: u64 = 32;
    pub(super) const WHAT: u64 = 40;
    pub(super) const END: u64 = 512;
}

impl Shim {
    /// Builds it.
    ///
    /// # Errors
    /// There is no C compiler, or the scratch directory cannot be written to.
    pub async fn build(scratch: &Scratch) -> Result<Self> {
        let library = scratch.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/shim.c");
        let args = ["-shared", "-fPIC", "-O2", "-o", &*library.to_string_lossy(), source];
        Output::of(Path::new("cc"), &args).await?.ok()?;
        Ok(Self { library })
    }

    /// Puts the library before the next start of a daemon, and its clock so far ahead. What the daemon changes in its data
    /// directory, and its socket, will be counted once the trap is set.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn before(&self, daemon: &mut Installation, ahead: Duration) -> Result<Trap> {
        let path = daemon.data_dir.with_extension("shim");
        // A new file: the run before may still have the old one.
        let _ = fs::remove_file(&path);
        let control = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        control.set_len(field::END)?;
        let Self { library } = self;
        daemon.starter = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("SHIM_CONTROL={}", path.display()),
            format!("SHIM_BELOW={}:{}", daemon.data_dir.display(), daemon.socket.display()),
            format!("SHIM_AHEAD={}", ahead.as_secs()),
        ];
        Ok(Trap { control })
    }
}

impl Trap {
    /// Kills the daemon at the `at`th operation from now; the first one is 1.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, at: usize, how: Kill) -> Result<()> {
        let how = match how {
            Kill::Before => 1,
            Kill::Amid => 2,
        };
        self.write(field::HOW, how)?;
        self.write(field::COUNT, 0)?;
        self.write(field::AT, i64::try_from(at)?)
    }

    /// Refuses from now on whatever the daemon would change, as a file system does that has become read-only: a mount
    /// cannot be made so while files on it are open for writing, but the kernel does it when the disk has errors.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn make_read_only(&self) -> Result<()> {
        self.write(field::HOW, 3)?;
        self.write(field::COUNT, 0)?;
        self.write(field::AT, 1)
    }

    /// Kills and refuses no more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take_away(&self) -> Result<()> {
        self.write(field::AT, 0)
    }

    /// The operation at which the daemon was killed, as `rename /path`; None if it was not.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn sprung(&self) -> Result<Option<String>> {
        if self.read(field::FIRED)? == 0 {
            return Ok(None);
        }
        let mut text = [0; (field::END - field::WHAT) as usize];
        self.control.read_exact_at(&mut text, field::WHAT)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    /// How many operations there were, refused ones too, since the trap was set.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn count(&self) -> Result<usize> {
        usize::try_from(self.read(field::COUNT)?).context("a negative count")
    }

    fn write(&self, at: u64, value: i64) -> Result<()> {
        Ok(self.control.write_all_at(&value.to_ne_bytes(), at)?)
    }

    fn read(&self, at: u64) -> Result<i64> {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at)?;
        Ok(i64::from_ne_bytes(bytes))
    }
}
