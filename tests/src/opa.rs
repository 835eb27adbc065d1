//! OPA (github.com/open-policy-agent/opa) as SPIRE has it: a library that is asked about a policy.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::go_program::GoProgram;

/// What OPA answers to each input, as `tests/opa/main.go` tells it; None where nothing can build it, which is then said under
/// `case`.
///
/// # Errors
/// It does not build or run, or nothing can build it where everything must run.
pub fn opa(case: &str, policy: &Path, data: &Path, inputs: &[Value]) -> Result<Option<Vec<Value>>> {
    static PROGRAM: GoProgram = GoProgram::command(["OPA", "steeple-opa"], "opa", ".");
    let Some(program) = PROGRAM.find(case)? else { return Ok(None) };
    let mut asked = Command::new(program);
    let mut asked = asked.arg(policy).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = asked.stdin.take().context("it has no standard input")?;
    let lines: String = inputs.iter().map(|input| format!("{input}\n")).collect();
    // It answers while it reads.
    let asking = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let answered = asked.wait_with_output()?;
    asking.join().map_err(|_| anyhow!("nobody asks"))??;
    ensure!(answered.status.success(), "OPA: {}", answered.status);
    let answers = String::from_utf8(answered.stdout)?;
    answers.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>().map(Some)
}
