use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

use crate::{Daemon, Installation, Output, Scratch};

/// Mounts the disk and stays, because the disk goes with the last process that has it.
const HOLD: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$0" && echo mounted && exec sleep infinity"#;

/// Has a daemon see its data directory as it is and not write to it, from its next start on.
pub fn read_only(installation: &mut Installation) {
    const SEAL: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let at = installation.data_dir.to_string_lossy();
    let starter = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SEAL, &at];
    installation.starter = starter.map(str::to_owned).to_vec();
}

/// Has a daemon heed the modes of files from its next start on, also when it is root. Why this machine cannot have that, if
/// it cannot.
///
/// # Errors
/// There is no `setpriv` (util-linux).
pub async fn heed_modes(installation: &mut Installation) -> Result<Option<String>> {
    const WITHOUT: [&str; 2] = ["--bounding-set", "-dac_override,-dac_read_search"];
    if !Uid::current().is_root() {
        return Ok(None);
    }
    let tried = Output::of(Path::new("setpriv"), &[&WITHOUT[..], &["true"]].concat()).await?;
    if tried.code != 0 {
        return Ok(Some(format!("root cannot be refused: {}", tried.stderr.trim())));
    }
    installation.starter = ["setpriv"].iter().chain(&WITHOUT).map(|&word| word.to_owned()).collect();
    Ok(None)
}

/// A disk with little room, at the place of a daemon's data directory: a tmpfs in namespaces of its own, which needs no
/// root. It outlives the daemon, so that what is on it can be taken up again.
pub struct SmallDisk {
    holder: Daemon,
    mounted_at: PathBuf,
}

impl SmallDisk {
    /// Why this machine has none, if it has none.
    ///
    /// # Errors
    /// There is no `unshare` (util-linux).
    pub async fn missing() -> Result<Option<String>> {
        let args = ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
        let tried = Output::of(Path::new("unshare"), &args).await?;
        Ok((tried.code != 0).then(|| format!("no user namespace: {}", tried.stderr.trim())))
    }

    /// Puts a daemon that does not run yet on a disk of so many bytes.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub async fn below(installation: &mut Installation, scratch: &Scratch, bytes: u32) -> Result<Self> {
        let at = installation.data_dir.clone();
        fs::create_dir_all(&at)?;
        let (text, size) = (at.to_string_lossy(), bytes.to_string());
        let args = ["--user", "--map-root-user", "--mount", "sh", "-c", HOLD, &*text, &size];
        let log = scratch.path().join(format!("{}-disk.log", installation.name));
        let mut holder = Daemon::start("disk", Path::new("unshare"), &args, &log)?;
        holder.line("mounted").await?;
        let target = holder.pid().to_string();
        let starter = ["nsenter", "--target", &target, "--user", "--mount", "--preserve-credentials", "--"];
        installation.starter = starter.map(str::to_owned).to_vec();
        Ok(Self { holder, mounted_at: at })
    }

    /// Takes all room but so many bytes.
    ///
    /// # Errors
    /// There is less, or the disk cannot be written to for another reason.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let mut ballast = File::create(self.ballast()?)?;
        let full = loop {
            if let Err(error) = ballast.write_all(&[0; 1024]) {
                break error;
            }
        };
        ensure!(full.kind() == ErrorKind::StorageFull, "the disk cannot be written to: {full}");
        let taken = ballast.metadata()?.len();
        Ok(ballast.set_len(taken.checked_sub(bytes).context("there is less room on the disk")?)?)
    }

    /// Gives back what [`SmallDisk::leave`] took.
    ///
    /// # Errors
    /// It took nothing.
    pub fn make_room(&self) -> Result<()> {
        fs::remove_file(self.ballast()?).context("nothing was taken")
    }

    /// As seen from outside of its namespace.
    fn ballast(&self) -> Result<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        Ok(root.join(self.mounted_at.strip_prefix("/")?).join("ballast"))
    }
}
