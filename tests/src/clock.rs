use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::Installation;

/// Stands between a program and the system's clock; Debian's package `faketime`.
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// A wall clock that a case sets, for one daemon or for all of one machine. Time itself, by which daemons measure how long
/// something takes, is not touched: so it is when somebody sets the clock, and when a machine has slept.
pub struct WallClock {
    /// Seconds ahead of the real time, as the library reads them.
    file: PathBuf,
}

impl WallClock {
    /// Why this machine has none, if it has none.
    pub fn missing() -> Option<String> {
        library().is_none().then(|| format!("no {LIBRARY}: install faketime"))
    }

    /// One that shows the real time, of a daemon that does not run yet.
    ///
    /// # Errors
    /// This machine has none, or its file cannot be written.
    pub fn of(installation: &mut Installation) -> Result<Self> {
        let clock = Self { file: installation.conf.with_extension("clock") };
        clock.set(0)?;
        clock.give_to(installation)?;
        Ok(clock)
    }

    /// Has another daemon read this clock too, from its next start on.
    ///
    /// # Errors
    /// This machine has none.
    pub fn give_to(&self, installation: &mut Installation) -> Result<()> {
        let library = library().context("no libfaketime")?;
        installation.starter = [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            // What is set is seen at once.
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]
        .into();
        Ok(())
    }

    /// Sets it so many seconds ahead of the real time, or behind.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub fn set(&self, ahead: i64) -> Result<()> {
        // Renamed, because it is read all the time.
        let new = self.file.with_extension("clock-new");
        fs::write(&new, format!("{ahead:+}"))?;
        Ok(fs::rename(&new, &self.file)?)
    }
}

fn library() -> Option<PathBuf> {
    let beside_the_c_library = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    beside_the_c_library
        .chain(["/usr/lib".into(), "/usr/lib64".into()])
        .map(|dir| dir.join(LIBRARY))
        .find(|path| path.is_file())
}
