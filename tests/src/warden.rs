//! A shell beside this process that ends the daemons when this process dies without being able to (Ctrl-C, a crash of
//! the harness). It reads a pipe: at its end nobody is left who could stop them in an orderly way.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow};

/// Ctrl-C reaches the warden too, so it turns a deaf ear to it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
live=
while read -r verb group; do
    rest=
    for g in $live; do [ "$g" = "$group" ] || rest="$rest $g"; done
    live=$rest
    [ "$verb" = end ] || live="$live $group"
done
for g in $live; do kill -s KILL -- "-$g"; done
"#;

/// Adds a process group to those that must not outlive this process.
pub(crate) fn watch(group: u32) -> Result<()> {
    tell("start", group)
}

/// The group has been ended.
pub(crate) fn release(group: u32) -> Result<()> {
    tell("end", group)
}

fn tell(verb: &str, group: u32) -> Result<()> {
    static WARDEN: OnceLock<Result<Mutex<Child>, String>> = OnceLock::new();
    let warden = WARDEN.get_or_init(|| start().map(Mutex::new).map_err(|error| format!("{error:#}")));
    let mut warden =
        warden.as_ref().map_err(|error| anyhow!("{error}"))?.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = warden.stdin.as_mut().context("the warden has no pipe")?;
    pipe.write_all(format!("{verb} {group}\n").as_bytes()).context("the warden is gone")
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
