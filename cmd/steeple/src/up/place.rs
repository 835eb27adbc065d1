//! The directory in which everything lies that the trust domain needs: configuration, keys, database, logs, sockets.
//!
//! It is removed when the command ends. A command that was killed could not do that, so each directory is locked as long
//! as its owner lives, and the next command removes those that nobody holds any more. The kernel gives a dead process's
//! locks back, and unlike a noted process id a lock can never seem to belong to a later process.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

/// The directory of one trust domain, readable by its user alone; removed when this value is dropped.
pub(super) struct Place {
    dir: TempDir,
    /// Held, never read.
    _lock: File,
}

impl Place {
    /// Makes a new directory, in `$TMPDIR` where that will do.
    pub(super) fn create() -> Result<Self> {
        Self::create_in(&parent())
    }

    /// As [`Place::create`], below this directory.
    pub(super) fn create_in(parent: &Path) -> Result<Self> {
        let make = || {
            let dir = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)?;
            // An unlocked directory with files in it is a dead one; this one is empty until it is locked.
            let lock = File::open(dir.path())?;
            lock.lock()?;
            fs::create_dir(dir.path().join(SVID))?;
            Ok(Self { dir, _lock: lock })
        };
        make().map_err(|error: io::Error| {
            let parent = parent.display();
            anyhow!("cannot make a directory in {parent}: {error}\nSet TMPDIR to a directory that you may write to.")
        })
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The server's configuration file.
    pub(super) fn server_config(&self) -> PathBuf {
        self.path().join("server.conf")
    }

    /// The agent's configuration file.
    pub(super) fn agent_config(&self) -> PathBuf {
        self.path().join("agent.conf")
    }

    /// What the server prints.
    pub(super) fn server_log(&self) -> PathBuf {
        self.path().join("server.log")
    }

    /// What the agent prints.
    pub(super) fn agent_log(&self) -> PathBuf {
        self.path().join("agent.log")
    }

    /// The server's admin socket.
    pub(super) fn server_socket(&self) -> PathBuf {
        self.path().join("server.sock")
    }

    /// The Workload API.
    pub(super) fn agent_socket(&self) -> PathBuf {
        self.path().join("agent.sock")
    }

    /// The server's database and keys.
    pub(super) fn server_data(&self) -> PathBuf {
        self.path().join("server")
    }

    /// The agent's SVID and key.
    pub(super) fn agent_data(&self) -> PathBuf {
        self.path().join("agent")
    }

    /// The server's authorities, with which the agent knows it.
    pub(super) fn bundle(&self) -> PathBuf {
        self.path().join("bundle.pem")
    }

    /// An empty directory for SVIDs that the caller wants as files.
    pub(super) fn svid(&self) -> PathBuf {
        self.path().join(SVID)
    }

    /// Removes the directory with all that is in it.
    pub(super) fn remove(self) -> io::Result<()> {
        let Self { dir, _lock } = self;
        dir.close()
    }
}

/// Removes the directories of this user's commands that were killed. Returns how many.
pub(super) fn sweep() -> usize {
    sweep_in(&parent())
}

fn sweep_in(parent: &Path) -> usize {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    ours.filter(|entry| remove_if_dead(&entry.path()).is_ok_and(|removed| removed)).count()
}

fn remove_if_dead(path: &Path) -> io::Result<bool> {
    // Anybody may put things into a temporary directory: neither links nor what others own is touched.
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(false);
    }
    let lock = File::open(path)?;
    if lock.try_lock().is_err() || fs::read_dir(path)?.next().is_none() {
        return Ok(false);
    }
    fs::remove_dir_all(path)?;
    Ok(true)
}

/// Where the directory is made. A socket's path has at most 107 bytes, and the path stands in configuration files and in
/// commands to be copied; a `$TMPDIR` that is too long, or has characters that mean something there, is passed over.
fn parent() -> PathBuf {
    let chosen = std::env::temp_dir();
    if is_usable(&chosen) { chosen } else { PathBuf::from("/tmp") }
}

fn is_usable(parent: &Path) -> bool {
    parent.to_str().is_some_and(|path| path.starts_with('/') && path.len() <= 80 && is_plain(path))
}

/// Whether the path has no character that means something to a shell or inside an HCL string.
pub(super) fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@%,".contains(&byte))
}

const PREFIX: &str = "steeple-up-";
const SVID: &str = "svid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_the_directories_of_the_dead_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let inside = |name: &str| parent.path().join(name);
        let alive = Place::create_in(parent.path()).unwrap();
        fs::create_dir_all(inside("steeple-up-dead").join("server")).unwrap();
        fs::create_dir(inside("steeple-up-being-born")).unwrap();
        fs::create_dir_all(inside("another").join("server")).unwrap();
        std::os::unix::fs::symlink(inside("another"), inside("steeple-up-link")).unwrap();

        assert_eq!(sweep_in(parent.path()), 1);
        assert!(!inside("steeple-up-dead").exists());
        for kept in ["steeple-up-being-born", "another/server", "steeple-up-link"] {
            assert!(inside(kept).exists(), "{kept}");
        }
        assert!(alive.path().exists());
        assert_eq!(sweep_in(parent.path()), 0);
    }

    #[test]
    fn keeps_others_out_and_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::create_in(parent.path()).unwrap();
        assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(place.server_log(), "line").unwrap();
        place.remove().unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn passes_over_a_parent_whose_path_a_socket_or_a_shell_would_not_take() {
        assert!(is_usable(Path::new("/tmp")) && is_usable(Path::new("/var/tmp/me.1")));
        for path in ["tmp", "/my tmp", "/a\"b", "/a$b", "/a\nb", &format!("/{}", "x".repeat(80))] {
            assert!(!is_usable(Path::new(path)), "{path}");
        }
    }
}
