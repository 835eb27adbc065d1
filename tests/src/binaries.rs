use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

/// The daemons under test, decided once a run.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The server.
    pub server: Program,
    /// The agent.
    pub agent: Program,
}

/// The tool `steeple`, always the one that cargo built: it works with any daemons.
///
/// # Errors
/// It was not built.
pub fn steeple() -> Result<PathBuf> {
    let path = built_beside_this_test()?.join("steeple");
    anyhow::ensure!(path.is_file(), "no {}: run `cargo build -p steeple-cmd` first", path.display());
    Ok(path)
}

/// One daemon.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Whether it is SPIRE's, so that what only Steeple does is not asked of it.
    pub is_reference: bool,
}

impl Binaries {
    /// Those of `STEEPLE_BIN`, or of the directory into which cargo built this test.
    ///
    /// # Errors
    /// A daemon is missing there.
    pub fn find() -> Result<&'static Self> {
        static FOUND: OnceLock<Result<Binaries, String>> = OnceLock::new();
        FOUND.get_or_init(|| look().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Those of `STEEPLE_PEER_BIN`, which the ones under test meet on the wire and on disk.
    ///
    /// # Errors
    /// It is not set, or a daemon is missing there.
    pub fn peers() -> Result<Self> {
        Self::in_directory(&named("STEEPLE_PEER_BIN")?.context("STEEPLE_PEER_BIN does not say where the peers are")?)
    }

    fn in_directory(dir: &Path) -> Result<Self> {
        Ok(Self { server: program(dir, "server")?, agent: program(dir, "agent")? })
    }
}

fn look() -> Result<Binaries> {
    let dir = named("STEEPLE_BIN")?;
    Binaries::in_directory(&dir.map_or_else(built_beside_this_test, Ok)?)
}

/// The directory that an environment variable names.
fn named(variable: &'static str) -> Result<Option<PathBuf>> {
    env::var_os(variable).map(|dir| PathBuf::from(dir).canonicalize().context(variable)).transpose()
}

fn program(dir: &Path, role: &str) -> Result<Program> {
    [("steeple", false), ("spire", true)]
        .map(|(family, is_reference)| Program { path: dir.join(format!("{family}-{role}")), is_reference })
        .into_iter()
        .find(|program| program.path.is_file())
        .with_context(|| {
            let dir = dir.display();
            format!("no steeple-{role} in {dir}: run `cargo build -p steeple-{role}-cmd` first, or set STEEPLE_BIN")
        })
}

/// Tests run from `target/PROFILE/deps`, programs stand one above.
fn built_beside_this_test() -> Result<PathBuf> {
    let test = env::current_exe()?;
    let deps = test.parent().context("this test has no directory")?;
    Ok(deps.parent().context("this test does not run from cargo's directory")?.to_owned())
}
