use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::warden;

/// How much of each log a failed case shows.
const TAIL: usize = 40;

/// How the line begins that a thread which panics leaves behind, after the thread's name.
const PANIC: &str = "panicked at";

/// Runs one case. Whatever way it fails, the end of each log in its directory is printed with it. It fails too if a daemon
/// has panicked, even if nobody noticed.
///
/// # Errors
/// The case's, or there is a panic in a log.
pub fn case(body: impl AsyncFnOnce(&Scratch) -> Result<()>) -> Result<()> {
    let scratch = Scratch::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(Box::pin(body(&scratch))).and_then(|()| no_panic(scratch.path()));
    scratch.passed.set(outcome.is_ok());
    outcome
}

/// The directory of one case. It goes with the case; a failed one stays if `STEEPLE_KEEP` is set.
pub struct Scratch {
    dir: TempDir,
    folders: Cell<u32>,
    passed: Cell<bool>,
}

impl Scratch {
    /// Not below `TMPDIR`: the name of a socket has 107 bytes at most.
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("steeple-").tempdir_in("/tmp")?;
        warden::watch_directory(dir.path())?;
        Ok(Self { dir, folders: Cell::new(0), passed: Cell::new(false) })
    }

    /// Where the case may write.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new folder with a short name, for one trust domain.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self) -> Result<PathBuf> {
        let path = self.path().join(self.folders.get().to_string());
        self.folders.set(self.folders.get() + 1);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.passed.get() {
            print_logs(self.path());
            self.dir.disable_cleanup(env::var_os("STEEPLE_KEEP").is_some());
        }
        let _ = warden::release_directory(self.path());
    }
}

#[allow(clippy::print_stdout, reason = "the test harness shows it below the name of the failed case")]
fn print_logs(dir: &Path) {
    for (path, text) in logs(dir) {
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(TAIL)..];
        println!("--- {} (last {} of {} lines)", path.display(), shown.len(), lines.len());
        shown.iter().for_each(|line| println!("{line}"));
    }
}

fn no_panic(dir: &Path) -> Result<()> {
    for (path, text) in logs(dir) {
        if let Some(line) = text.lines().find(|line| line.contains(PANIC)) {
            bail!("there was a panic in {}: {line}", path.display());
        }
    }
    Ok(())
}

/// Each log of a directory, and what it says.
fn logs(dir: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let logs = files(dir).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        (path, text)
    })
}

/// The files of a directory and of its folders.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries(dir).flat_map(|path| if path.is_dir() { entries(&path).collect() } else { vec![path] }).collect();
    found.sort();
    found
}
