//! `unix`: who a process runs as.
//!
//! Selectors: `uid:N`, `user:NAME`, `gid:N`, `group:NAME`, of the effective IDs, and `supplementary_gid:N`,
//! `supplementary_group:NAME`. Names that the host does not know are left out.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use nix::unistd::{Gid, Group, Uid, User};
use serde::Deserialize;
use steeple_catalog::workload_attestor::Plugin;
use steeple_catalog::{Configuration, PluginError};
use steeple_runtime::os::peer::proc_dir;
use tracing::debug;

struct Unix {
    proc: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    discover_workload_path: bool,
}

/// Reads its options.
///
/// # Errors
/// When one has the wrong type, or asks for what is not built in yet.
pub fn build(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    let Options { discover_workload_path } = configuration.decode()?;
    if discover_workload_path {
        return Err(PluginError::unimplemented(
            "discover_workload_path is not built in yet; remove it or set it to false",
        ));
    }
    Ok(Arc::new(Unix { proc: proc_dir() }))
}

#[async_trait]
impl Plugin for Unix {
    async fn attest(&self, pid: i32) -> Result<Vec<String>, PluginError> {
        let status = fs::read_to_string(self.proc.join(pid.to_string()).join("status"))
            .map_err(|error| PluginError::internal(format!("failed to get process: {error}")))?;
        let owner = Owner::of(&status)?;
        let mut selectors = vec![format!("uid:{}", owner.uid)];
        selectors.extend(user_name(owner.uid).map(|name| format!("user:{name}")));
        selectors.push(format!("gid:{}", owner.gid));
        selectors.extend(group_name(owner.gid).map(|name| format!("group:{name}")));
        for gid in owner.groups {
            selectors.push(format!("supplementary_gid:{gid}"));
            selectors.extend(group_name(gid).map(|name| format!("supplementary_group:{name}")));
        }
        Ok(selectors)
    }
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

fn user_name(uid: u32) -> Option<String> {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(user) => user.map(|user| user.name),
        Err(error) => {
            debug!(target: "workload_attestor", uid, error = %error, "Failed to lookup user name by uid");
            None
        }
    }
}

fn group_name(gid: u32) -> Option<String> {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(group) => group.map(|group| group.name),
        Err(error) => {
            debug!(target: "workload_attestor", gid, error = %error, "Failed to lookup group name by gid");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_ids_count() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n";
        assert_eq!(Owner::of(status).unwrap(), Owner { uid: 2, gid: 6, groups: vec![10, 20] });
        assert_eq!(Owner::of("Uid:\t1\n").unwrap_err().message, "UIDs lookup: malformed Uid: line in process status");
    }

    #[tokio::test]
    async fn this_process_has_its_own_ids() {
        let unix = Unix { proc: proc_dir() };
        let selectors = unix.attest(std::process::id() as i32).await.unwrap();
        assert!(selectors.contains(&format!("uid:{}", Uid::effective())), "{selectors:?}");
        assert!(selectors.contains(&format!("gid:{}", Gid::effective())), "{selectors:?}");
    }

    #[tokio::test]
    async fn a_process_that_is_gone_is_an_error() {
        let error = Unix { proc: proc_dir() }.attest(i32::MAX).await.unwrap_err();
        assert!(error.message.starts_with("failed to get process: "), "{error}");
    }
}
