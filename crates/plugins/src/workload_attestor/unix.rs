//! `unix`: who a process runs as, and which program it runs.
//!
//! Selectors: `uid:N`, `user:NAME`, `gid:N`, `group:NAME`, of the effective IDs, and `supplementary_gid:N`,
//! `supplementary_group:NAME`. Names that the host does not know are left out. With `discover_workload_path` also
//! `path:PATH` and `sha256:HEX` of the program.

mod names;
mod program;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use steeple_catalog::workload_attestor::Plugin;
use steeple_catalog::{Configuration, PluginError};
use steeple_runtime::Clock;
use steeple_runtime::os::peer::proc_dir;

use names::Names;
use program::{Hashing, Programs};

struct Unix {
    proc: PathBuf,
    names: Names,
    /// None when nobody asked for programs.
    programs: Option<Programs>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    discover_workload_path: bool,
    workload_size_limit: i64,
}

/// Reads its options.
///
/// # Errors
/// When one has the wrong type.
pub fn build(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    Ok(Arc::new(Unix::new(proc_dir(), configuration.decode()?, configuration.host.clock().clone())))
}

impl Unix {
    fn new(proc: PathBuf, options: Options, clock: Clock) -> Self {
        let Options { discover_workload_path, workload_size_limit } = options;
        let hashing = match u64::try_from(workload_size_limit) {
            Err(_) => Hashing::Never,
            Ok(0) => Hashing::Always,
            Ok(limit) => Hashing::UpTo(limit),
        };
        let programs = discover_workload_path.then(|| Programs::new(hashing));
        Self { proc, names: Names::new(clock), programs }
    }
}

#[async_trait]
impl Plugin for Unix {
    async fn attest(&self, pid: i32) -> Result<Vec<String>, PluginError> {
        let process = self.proc.join(pid.to_string());
        let status =
            status_of(&process).map_err(|error| PluginError::internal(format!("failed to get process: {error}")))?;
        let owner = Owner::of(&status)?;
        let mut selectors = self.names.selectors(&owner).await?;
        if let Some(programs) = &self.programs {
            let program = programs.of(process).await?;
            selectors.push(format!("path:{}", program.path));
            selectors.extend(program.sha256.map(|digest| format!("sha256:{digest}")));
        }
        Ok(selectors)
    }
}

/// `/proc/PID/status`. The kernel does not tell the length of such files, so that room is made for it before: it is read
/// at one go then.
fn status_of(process: &Path) -> io::Result<String> {
    let mut status = String::with_capacity(4096);
    File::open(process.join("status"))?.take(STATUS_LIMIT).read_to_string(&mut status)?;
    Ok(status)
}

/// Whom a process acts as.
#[derive(Debug, PartialEq)]
struct Owner {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Owner {
    /// Out of `/proc/PID/status`. Of real, effective, saved and file system ID, the effective one counts.
    fn of(status: &str) -> Result<Self, PluginError> {
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::split_ascii_whitespace);
        let effective = |key: &str, what: &str| {
            let id = line(key).and_then(|mut ids| ids.nth(1)).and_then(|id| id.parse().ok());
            id.ok_or_else(|| PluginError::internal(format!("{what} lookup: malformed {key} line in process status")))
        };
        let groups = line("Groups:").into_iter().flatten().map(str::parse).collect::<Result<_, _>>();
        Ok(Self {
            uid: effective("Uid:", "UIDs")?,
            gid: effective("Gid:", "GIDs")?,
            groups: groups.map_err(|error| PluginError::internal(format!("supplementary GIDs lookup: {error}")))?,
        })
    }
}

/// In bytes; more than any has: 65536 supplementary groups are the most.
const STATUS_LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests;
