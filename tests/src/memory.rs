//! How much memory a daemon may have: a control group of its own, which the kernel ends when it takes more.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{Installation, Scratch};

/// Puts the shell into the group, and has it become the daemon.
const ENTER: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;

/// What the kernel says of a group and is told of it, by the version of its interface.
struct Files {
    /// Below which groups are made.
    root: &'static str,
    limit: &'static str,
    /// Above the limit the kernel might swap instead.
    swap: Option<&'static str>,
    peak: &'static str,
    /// Has a line `oom_kill N`.
    kills: &'static str,
}

const V2: Files = Files {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    swap: Some("memory.swap.max"),
    peak: "memory.peak",
    kills: "memory.events",
};
const V1: Files = Files {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    swap: None,
    peak: "memory.max_usage_in_bytes",
    kills: "memory.oom_control",
};

/// The group. It goes when this is dropped, which must be after the daemon has ended.
pub struct Memory {
    dir: PathBuf,
    files: &'static Files,
}

impl Memory {
    /// Holds a daemon to so many bytes, from its next start on.
    ///
    /// # Errors
    /// Groups cannot be made here: that needs root, and a kernel interface that is not read-only.
    pub fn of(installation: &mut Installation, scratch: &Scratch, bytes: u64) -> Result<Self> {
        let files = if Path::new(V2.root).join("cgroup.controllers").exists() { &V2 } else { &V1 };
        // Whose directory has a name that no other has.
        let dir = Path::new(files.root).join(scratch.path().file_name().context("a directory without a name")?);
        fs::create_dir(&dir).with_context(|| format!("no control group {}", dir.display()))?;
        let group = Self { dir, files };
        group.write(files.limit, bytes)?;
        if let Some(swap) = files.swap.filter(|swap| group.dir.join(swap).exists()) {
            group.write(swap, 0)?;
        }
        group.peak()?;
        let dir = group.dir.to_string_lossy();
        installation.starter = ["sh", "-c", ENTER, &dir].map(str::to_owned).to_vec();
        Ok(group)
    }

    /// The most that it ever had, in bytes, with its part of what the kernel keeps for it.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn peak(&self) -> Result<u64> {
        Ok(self.read(self.files.peak)?.trim().parse()?)
    }

    /// How often the kernel has ended a process of the group for want of memory.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn kills(&self) -> Result<u64> {
        let text = self.read(self.files.kills)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.with_context(|| format!("no oom_kill in {text:?}"))?.parse()?)
    }

    fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.dir.join(file)).with_context(|| format!("control group without {file}"))
    }

    fn write(&self, file: &str, value: u64) -> Result<()> {
        fs::write(self.dir.join(file), value.to_string()).with_context(|| format!("control group without {file}"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // One that still has a process stays; that is seen in the failure of its case.
        let _ = fs::remove_dir(&self.dir);
    }
}
