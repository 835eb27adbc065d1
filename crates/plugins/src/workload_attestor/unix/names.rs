//! The names of users and groups, as this host's name service has them.

use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};
use steeple_catalog::PluginError;
use tokio::sync::Semaphore;
use tracing::debug;

use super::Owner;

/// So many processes are looked up at once.
const AT_ONCE: usize = 8;

/// Looks up names, away from the threads that serve: the name service may ask a directory over the network, and wait.
pub(super) struct Names(Arc<Semaphore>);

impl Default for Names {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Names {
    /// The selectors of an owner, by number and, where the host knows it, by name.
    ///
    /// # Errors
    /// INTERNAL: the agent is stopping.
    pub(super) async fn selectors(&self, owner: Owner) -> Result<Vec<String>, PluginError> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(PluginError::internal)?;
        let looking_up = tokio::task::spawn_blocking(move || {
            // Freed when the answer is there, not when the caller has lost interest.
            let _place = place;
            selectors(&owner)
        });
        looking_up.await.map_err(PluginError::internal)
    }
}

fn selectors(owner: &Owner) -> Vec<String> {
    let mut selectors = vec![format!("uid:{}", owner.uid)];
    selectors.extend(user_name(owner.uid).map(|name| format!("user:{name}")));
    selectors.push(format!("gid:{}", owner.gid));
    selectors.extend(group_name(owner.gid).map(|name| format!("group:{name}")));
    for gid in &owner.groups {
        selectors.push(format!("supplementary_gid:{gid}"));
        selectors.extend(group_name(*gid).map(|name| format!("supplementary_group:{name}")));
    }
    selectors
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
