//! kill -9 at each operation that changes what is on disk, one after the other, until the work ends untouched: whatever
//! the moment, the next start has everything that was acknowledged, and the rest whole or not at all.

mod agent;
mod authorities;
mod calls;
mod erased;
mod given_up;
mod kept;
mod known;
mod node;
mod start;

use std::env;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use steeple_tests::{Binaries, Installation, Kill, Scratch, Shim, case, say, skipped_on_the_reference};

/// Kills come in the middle of each write.
const EVERY_WRITE: usize = 1;

/// Kills come in the middle of one write in so many: databases have hundreds. Odd, because a page in the write-ahead log of
/// SQLite is two writes. `STEEPLE_EVERY_WRITE` takes all of them.
const SOME_WRITES: usize = 5;

/// How one run of a case is killed, and at which operations.
#[derive(Clone, Copy, Debug)]
struct Plan {
    how: Kill,
    every: usize,
}

/// Where a daemon was killed, or None if it was not.
type Sprung = Option<String>;

/// Runs a case with the library that kills: before each operation, and then in the middle of writes. Go's programs do not
/// call the C library, so there it cannot be done.
fn killed(name: &str, writes: usize, body: impl AsyncFn(&Scratch, &Shim, Plan) -> Result<usize>) -> Result<()> {
    case(async |scratch| {
        let binaries = Binaries::find()?;
        if binaries.server.is_reference || binaries.agent.is_reference {
            skipped_on_the_reference(name, "it does not change files through the C library");
            return Ok(());
        }
        let every = if env::var_os("STEEPLE_EVERY_WRITE").is_some() { EVERY_WRITE } else { writes };
        let shim = Shim::build(scratch).await?;
        for plan in [Plan { how: Kill::Before, every: 1 }, Plan { how: Kill::Amid, every }] {
            let points = body(scratch, &shim, plan).await?;
            ensure!(points > 0, "{name}: it was never killed");
            say(&format!("killed: {name}: {plan}: survived {points} of {points}"));
        }
        Ok(())
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { how: Kill::Before, .. } => f.write_str("before each operation"),
            Self { how: Kill::Amid, every: 1 } => f.write_str("in the middle of each write"),
            Self { how: Kill::Amid, every } => write!(f, "in the middle of one write in {every}"),
        }
    }
}

impl Plan {
    /// The operations at which to kill, in their order; without an end.
    fn points(self) -> impl Iterator<Item = usize> {
        (1..).step_by(self.every)
    }

    /// The same for one of several lanes that share them.
    fn points_of(self, lane: usize, lanes: usize) -> impl Iterator<Item = usize> {
        self.points().skip(lane).step_by(lanes)
    }

    /// Calls `run` with each point until a run ends without a kill, so many at a time. Returns how many were killed.
    async fn each_point(self, at_once: usize, run: impl AsyncFn(usize) -> Result<Sprung>) -> Result<usize> {
        let runs = stream::iter(self.points()).map(|at| {
            let run = &run;
            async move { run(at).await.with_context(|| format!("killed at operation {at}")) }
        });
        let (mut runs, mut killed) = (pin!(runs.buffered(at_once)), 0);
        while let Some(Some(_)) = runs.try_next().await? {
            killed += 1;
        }
        Ok(killed)
    }
}

/// Runs so many lanes at the same time, each of which returns how often it has killed. Returns how often all have.
async fn lanes(lanes: Range<usize>, run: impl AsyncFn(usize) -> Result<usize>) -> Result<usize> {
    Ok(try_join_all(lanes.map(async |lane| run(lane).await)).await?.into_iter().sum())
}

/// What a kill must not leave in any daemon's way: keys that others can read, and a log that tells of a panic.
fn leaves_nothing_bad(daemon: &Installation) -> Result<()> {
    for entry in fs::read_dir(&daemon.data_dir).into_iter().flatten() {
        let entry = entry?;
        let (name, mode) = (entry.file_name(), entry.metadata()?.permissions().mode() & 0o777);
        let is_private = ["keys.json", "agent-data.json"].iter().any(|start| name.to_string_lossy().starts_with(start));
        ensure!(!is_private || mode == 0o600, "{} has mode {mode:o}", name.display());
    }
    let log = fs::read_to_string(daemon.conf.with_extension("log"))?;
    ensure!(!log.contains("panicked at"), "{} has panicked", daemon.name);
    Ok(())
}

/// Copies the files of a data directory.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        fs::copy(&path, to.join(path.file_name().context("no name")?))?;
    }
    Ok(())
}
