//! An administrator's own program on the public SDK of SPIRE's APIs (`tests/admin`).

use anyhow::{Result, ensure};

use crate::go_program::GoProgram;
use crate::{Output, Server};

/// Lets an administrator do to a server all that may be done, over its socket, or over TLS with the SVID that a Workload API
/// gives. Returns what was done, a sentence each; None where nothing can build the program, which is then said under `case`.
///
/// # Errors
/// An answer is not what it must be, or nothing can build the program where everything must run.
pub async fn administer(server: &Server, workload_api: Option<&str>, case: &str) -> Result<Option<Vec<String>>> {
    static PROGRAM: GoProgram = GoProgram::tests(["the SDK of SPIRE's APIs", "steeple-administrator"], "admin");
    let Some(program) = PROGRAM.find(case)? else { return Ok(None) };
    let (socket, address) = (server.socket.display().to_string(), format!("127.0.0.1:{}", server.port));
    let mut args = vec!["-test.v", "-socket", &socket, "-server", &address];
    args.extend(workload_api.iter().flat_map(|workload_api| ["-workload", workload_api]));
    let told = Output::of(program, &args).await?;
    let skipped = told.stdout.lines().any(|line| line.starts_with("--- SKIP"));
    ensure!(!skipped, "something was skipped: {told}");
    let passed = |line: &str| Some(line.strip_prefix("--- PASS: Test")?.split_once(' ')?.0.to_owned());
    Ok(Some(told.ok()?.lines().filter_map(passed).collect()))
}
