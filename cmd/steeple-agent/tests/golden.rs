//! Command lines of the reference and what it answered, run with our program under the reference's name.
//!
//! What a command prints of an agent's answers is compared in `src/cli/api/recorded.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

#[test]
fn answers_as_the_reference() {
    let lines = include_str!("data/cli.jsonl").lines();
    let records: Vec<Record> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let dir = tempfile::tempdir().unwrap();
    let (mut equal, mut later, mut failing) = (0, BTreeMap::new(), Vec::new());
    for record in &records {
        match record.needs() {
            Some(work) => *later.entry(work).or_insert(0) += 1,
            None => match record.difference(&record.run(dir.path())) {
                None => equal += 1,
                Some(difference) => failing.push(difference),
            },
        }
    }
    let not_covered: i32 = later.values().sum();
    let failures = failing.len();
    println!("cli: {equal} equal, 0 differing on purpose, {not_covered} not covered yet, {failures} failing");
    later.iter().for_each(|(work, count)| println!("cli:   {count} not covered until there is: {work}"));
    assert!(failing.is_empty(), "{}", failing.join("\n"));
}

/// A line of the file. What else a line has is for readers.
#[derive(Deserialize)]
struct Record {
    name: String,
    setup: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    stdout: String,
    stderr: String,
    exit: i32,
    /// Whether all but the first line of `stderr` was a usage, whose text is our own.
    #[serde(default)]
    stderr_usage_dropped: bool,
    /// Whether the first line came once more below the usage.
    #[serde(default)]
    stderr_last_line_repeats_first: bool,
}

struct Outcome {
    stdout: String,
    stderr: String,
    exit: Option<i32>,
}

impl Record {
    /// The work that a record waits for; `None` if it is run.
    fn needs(&self) -> Option<&'static str> {
        const COMMANDS: &[&str] = &["debug", "logger", "run", "validate"];
        let command = self.args.first().map_or("", String::as_str);
        let socket = self.env.get("SPIRE_AGENT_PUBLIC_SOCKET").map_or("", String::as_str);
        if COMMANDS.contains(&command) {
            Some("the command itself")
        } else if !["", "absent.sock"].contains(&socket) || self.name == "agent-instance-running" {
            Some("a running agent")
        } else {
            None
        }
    }

    fn run(&self, dir: &Path) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steeple-agent"));
        command.arg0("spire-agent").args(&self.args).current_dir(dir).env_clear();
        command
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/root"), ("TZ", "UTC"), ("LANG", "C.UTF-8")])
            .envs(&self.env);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        if self.setup.contains("SIGINT") {
            // Whatever came before the last line came before the signal.
            for _ in 1..self.stderr.lines().count() {
                lines.read_line(&mut stderr).unwrap();
            }
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        }
        lines.read_to_string(&mut stderr).unwrap();
        let output = child.wait_with_output().unwrap();
        let dir = dir.to_str().unwrap();
        Outcome {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: stderr.replace(dir, "${dir}"),
            exit: output.status.code(),
        }
    }

    /// What is different, if anything is.
    fn difference(&self, outcome: &Outcome) -> Option<String> {
        let Outcome { stdout, stderr, exit } = outcome;
        let stderr = if self.stderr_usage_dropped { self.without_usage(stderr) } else { stderr.clone() };
        if (stdout, &stderr, *exit) == (&self.stdout, &self.stderr, Some(self.exit)) {
            return None;
        }
        let Self { name, args, stdout: expected_stdout, stderr: expected_stderr, exit: expected_exit, .. } = self;
        Some(format!(
            "{name}: {}\n  expected {expected_exit}: {expected_stdout:?}\n    {expected_stderr:?}\n  \
             found {exit:?}: {stdout:?}\n    {stderr:?}\n",
            args.join(" ")
        ))
    }

    fn without_usage(&self, stderr: &str) -> String {
        let mut lines = stderr.lines();
        let first = lines.next().unwrap_or_default();
        if self.stderr_last_line_repeats_first {
            assert_eq!(lines.next_back(), Some(first), "{}: the last line repeats the first", self.name);
        }
        format!("{first}\n")
    }
}
