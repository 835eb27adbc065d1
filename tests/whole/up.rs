//! `steeple up`, which is what `make run` starts: to its end, and without one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use steeple_tests::{Binaries, Daemon, Scratch, case, say, steeple, until};

#[test]
fn shows_an_identity_and_its_renewals_and_leaves_nothing_behind() -> Result<()> {
    case(async |scratch| {
        let began = Instant::now();
        let mut up = Up::start(scratch, "up").await?;
        for line in ["X.509-SVID, verified against the bundle", "JWT-SVID, verified against the bundle"] {
            up.process.line(line).await?;
        }
        for renewal in ["X.509-SVID  renewed", "JWT-SVID    renewed"] {
            let line = up.process.line(renewal).await?;
            ensure!(line.contains("spiffe://example.org/user/"), "{line}");
        }
        let renewed = began.elapsed();

        up.process.signal(Signal::SIGINT)?;
        let code = up.process.exit().await?.code();
        ensure!(code == Some(0), "exit code {code:?}: {}", up.process.log()?);
        up.process.line("nothing is left behind").await?;
        ensure!(!up.dir.exists(), "{} is still there", up.dir.display());
        for daemon in &up.daemons {
            ensure!(fs::read_link(daemon).is_err(), "{} runs on", daemon.display());
        }
        say(&format!("up: both SVIDs were renewed {:.1} s after the start", renewed.as_secs_f64()));
        Ok(())
    })
}

#[test]
fn takes_its_daemons_with_it_when_it_is_killed_and_the_next_one_sweeps_up() -> Result<()> {
    case(async |scratch| {
        let mut killed = Up::start(scratch, "killed").await?;
        ensure!(!killed.process.log()?.contains("swept"), "there was something to sweep");
        killed.process.signal(Signal::SIGKILL)?;
        killed.process.exit().await?;
        for daemon in &killed.daemons {
            let what = format!("the end of {}", daemon.display());
            until(&what, async || fs::read_link(daemon).is_err().then_some(())).await?;
        }
        ensure!(killed.dir.join("server/keys.json").exists(), "nothing was left behind, so nothing can be swept up");

        let mut next = Up::start(scratch, "next").await?;
        let swept = next.process.line("swept").await?;
        ensure!(swept.contains("1 that killed commands had left behind"), "{swept}");
        ensure!(!killed.dir.exists(), "{} is still there", killed.dir.display());
        next.process.signal(Signal::SIGINT)?;
        let code = next.process.exit().await?.code();
        ensure!(code == Some(0), "exit code {code:?}");
        Ok(())
    })
}

/// A running `steeple up` that has told of its identity.
struct Up {
    process: Daemon,
    /// Its temporary directory.
    dir: PathBuf,
    /// The executables of its server and its agent as the kernel names them. A process that is no more has none.
    daemons: [PathBuf; 2],
}

impl Up {
    /// Its directory is made in that of the case.
    async fn start(scratch: &Scratch, name: &str) -> Result<Self> {
        let bin = Binaries::find()?.server.path.parent().context("a server without a directory")?;
        let (bin, parent) = (format!("STEEPLE_BIN={}", bin.display()), format!("TMPDIR={}", scratch.path().display()));
        let steeple = steeple()?;
        let args = [&*bin, &*parent, &*steeple.to_string_lossy(), "up", "-ttl", "10s"];
        let log = scratch.path().join(format!("{name}.log"));
        let mut process = Daemon::start(name, Path::new("env"), &args, &log)?;
        process.line("X.509-SVID, verified").await?;
        process.line("Rotations and other changes").await?;

        let dir = process.line("  directory").await?;
        let dir = PathBuf::from(dir.trim_start_matches("  directory").trim());
        ensure!(dir.starts_with(scratch.path()) && dir.exists(), "a directory elsewhere: {}", dir.display());
        let daemons = [executable(&mut process, "  server").await?, executable(&mut process, "  agent").await?];
        for daemon in &daemons {
            fs::read_link(daemon).with_context(|| format!("{} does not run", daemon.display()))?;
        }
        Ok(Self { process, dir, daemons })
    }
}

/// What stands in the line about a daemon, as in `  server        starting ..., healthy after 90 ms (pid 4711)`.
async fn executable(process: &mut Daemon, label: &str) -> Result<PathBuf> {
    let line = process.line(label).await?;
    let (_, pid) = line.trim_end().rsplit_once("(pid ").with_context(|| format!("no pid in {line}"))?;
    Ok(Path::new("/proc").join(pid.trim_end_matches(')')).join("exe"))
}
