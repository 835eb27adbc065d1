//! Command lines of the reference and what it answered, run with our program under the reference's name.
//!
//! What a command prints of an agent's answers is compared in `src/cli/api/recorded.rs`, and the commands are replayed at
//! a running agent in `tests/whole/recorded.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steeple_testkit::commands::{self, Coverage, Outcome, Record};

#[test]
fn answers_as_the_reference() {
    let records = commands::records(include_str!("data/cli.jsonl"));
    commands::check_names(&records, RUN);
    let dir = tempfile::tempdir().unwrap();
    commands::replay(&records, dir.path(), coverage, |record| run(record, dir.path()));
}

/// Agents that meet a server.
const RUN: &[&str] = &["run-agent-unknown-token", "run-agent-no-token"];

fn coverage(record: &Record) -> Coverage {
    let socket = record.env.get("SPIRE_AGENT_PUBLIC_SOCKET").map_or("", String::as_str);
    if record.args.iter().any(|arg| arg == "admin/admin.sock") {
        Coverage::Elsewhere("at a running agent: tests/whole/recorded.rs")
    } else if RUN.contains(&&*record.name) {
        Coverage::Elsewhere("with a server: tests/whole/recorded.rs")
    } else if !["", "absent.sock"].contains(&socket) || record.name == "agent-instance-running" {
        Coverage::Elsewhere("at a running agent: tests/whole/recorded.rs")
    } else {
        Coverage::Equal
    }
}

fn run(record: &Record, dir: &Path) -> Outcome {
    let mut child = record.start(commands::program(env!("CARGO_BIN_EXE_steeple-agent"), "spire-agent", dir));
    let mut stderr = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    if record.setup.contains("SIGINT") {
        // Whatever came before the last line came before the signal.
        for _ in 1..record.stderr.lines().count() {
            lines.read_line(&mut stderr).unwrap();
        }
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    }
    lines.read_to_string(&mut stderr).unwrap();
    let stderr = stderr.replace(dir.to_str().unwrap(), "${dir}");
    Outcome { stderr, ..Outcome::of(child, dir) }
}
