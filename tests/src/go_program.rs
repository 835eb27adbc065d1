//! Programs in Go, of the versions and with the checksums that folders of `tests/` name.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

use crate::cannot_run_here;
use crate::foreign::{is_missing, run};

/// A program that is built once a run, into cargo's directory.
pub(crate) struct GoProgram {
    /// What it is called, for whoever misses it, and as a file.
    names: [&'static str; 2],
    folder: &'static str,
    what: What,
    built: OnceLock<Result<Option<PathBuf>, String>>,
}

enum What {
    Package(&'static str),
    Tests,
}

impl GoProgram {
    /// The command `package`, as the module in `tests/FOLDER` has it.
    pub(crate) const fn command(names: [&'static str; 2], folder: &'static str, package: &'static str) -> Self {
        Self { names, folder, what: What::Package(package), built: OnceLock::new() }
    }

    /// The tests of the package in `tests/FOLDER`, as a program.
    pub(crate) const fn tests(names: [&'static str; 2], folder: &'static str) -> Self {
        Self { names, folder, what: What::Tests, built: OnceLock::new() }
    }

    /// Where it is; None where there is no Go, which is then said under `case`.
    ///
    /// # Errors
    /// It does not build, or there is no Go where everything must run.
    pub(crate) fn find(&self, case: &str) -> Result<Option<&Path>> {
        let [name, _] = self.names;
        match self.built.get_or_init(|| self.build().map_err(|error| format!("{error:#}"))) {
            Ok(Some(program)) => Ok(Some(program)),
            Ok(None) => cannot_run_here(case, &format!("there is no `go` for {name}")).map(|()| None),
            Err(error) => Err(anyhow!("{name}: {error}")),
        }
    }

    fn build(&self) -> Result<Option<PathBuf>> {
        if is_missing("go") {
            return Ok(None);
        }
        // Tests run from `target/PROFILE/deps`.
        let test = env::current_exe()?;
        let into = test.parent().context("this test has no directory")?.join(self.names[1]);
        let mut go = Command::new("go");
        go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder));
        match self.what {
            What::Package(package) => run(go.args(["build", "-o"]).arg(&into).arg(package))?,
            What::Tests => run(go.args(["test", "-c", "-o"]).arg(&into).arg("."))?,
        }
        Ok(Some(into))
    }
}
