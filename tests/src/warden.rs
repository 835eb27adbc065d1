//! A shell beside this process that ends the daemons and removes the directories when this process dies without being
//! able to (Ctrl-C, a crash of the harness). It reads a pipe: at its end nobody is left who could do it in order.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow};

/// Ctrl-C reaches the warden too, so it turns a deaf ear to it. Each line is `watch` or `release` with a process group
/// (as `-123`, which is how `kill` takes it) or a directory.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
watched=
while read -r verb thing; do
    others=
    for other in $watched; do [ "$other" = "$thing" ] || others="$others $other"; done
    watched=$others
    [ "$verb" = release ] || watched="$watched $thing"
done
for thing in $watched; do case $thing in -*) kill -s KILL -- "$thing" ;; esac; done
for thing in $watched; do case $thing in /*) rm -rf -- "$thing" ;; esac; done
"#;

/// A process group must not outlive this process.
pub(crate) fn watch_group(leader: u32) -> Result<()> {
    tell("watch", format_args!("-{leader}"))
}

/// The group has been ended.
pub(crate) fn release_group(leader: u32) -> Result<()> {
    tell("release", format_args!("-{leader}"))
}

/// A directory must not outlive this process. Its path has no spaces.
pub(crate) fn watch_directory(path: &Path) -> Result<()> {
    tell("watch", path.display())
}

/// The directory has been removed, or is to stay.
pub(crate) fn release_directory(path: &Path) -> Result<()> {
    tell("release", path.display())
}

fn tell(verb: &str, thing: impl Display) -> Result<()> {
    static WARDEN: OnceLock<Result<Mutex<Child>, String>> = OnceLock::new();
    let warden = WARDEN.get_or_init(|| start().map(Mutex::new).map_err(|error| format!("{error:#}")));
    let mut warden =
        warden.as_ref().map_err(|error| anyhow!("{error}"))?.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = warden.stdin.as_mut().context("the warden has no pipe")?;
    pipe.write_all(format!("{verb} {thing}\n").as_bytes()).context("the warden is gone")
}

fn start() -> Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start /bin/sh")
}
