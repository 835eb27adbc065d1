//! Workloads in Go that use go-spiffe as others do: `tests/go`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::{Agent, Daemon, Scratch, cannot_run_here};

/// The program with the Go workloads, built once a run; `None` where there is no Go, which is then said under `case`.
///
/// # Errors
/// It does not compile, or Go is missing where everything must run.
pub fn go_workloads(case: &str) -> Result<Option<&'static Path>> {
    static BUILT: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match built {
        Ok(Some(path)) => Ok(Some(path)),
        Ok(None) => cannot_run_here(case, "there is no `go`").map(|()| None),
        Err(error) => Err(anyhow!("{error}")),
    }
}

fn build() -> Result<Option<PathBuf>> {
    if Command::new("go").arg("version").output().is_err() {
        return Ok(None);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let program = env::current_exe()?.with_file_name("steeple-go-workloads");
    let output = Command::new("go").arg("build").arg("-o").arg(&program).arg(".").current_dir(source).output()?;
    ensure!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(program))
}

/// A Go workload. It prints one JSON object a line, each with an `event`.
pub struct GoWorkload {
    process: Daemon,
}

impl GoWorkload {
    /// Starts the sub-command `args` on the node of `agent`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, agent: &Agent, args: &[&str], scratch: &Scratch) -> Result<Self> {
        let (command, flags) = args.split_first().context("no sub-command")?;
        let log = scratch.path().join(format!("go-{command}.log"));
        let socket = format!("unix://{}", agent.socket.display());
        let args = [&[*command, "-socket", &socket], flags].concat();
        Ok(Self { process: Daemon::start(&format!("go {command}"), program, &args, &log)? })
    }

    /// Waits for the first event of this name.
    ///
    /// # Errors
    /// The workload ends without it.
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        let line = self.process.line(&format!(r#""event":"{name}""#)).await?;
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }

    /// The events up to now.
    ///
    /// # Errors
    /// It has printed something else.
    pub fn events(&self) -> Result<Vec<Value>> {
        let log = self.process.log()?;
        log.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
    }

    /// Waits until it has ended well and returns its events.
    ///
    /// # Errors
    /// It fails.
    pub async fn finish(mut self) -> Result<Vec<Value>> {
        let status = self.process.exit().await?;
        ensure!(status.success(), "a Go workload failed ({status}): {}", self.process.log()?);
        self.events()
    }
}
