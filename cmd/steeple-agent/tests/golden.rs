//! Command lines of the reference and what it answered, run with our program under the reference's name.
//!
//! What a command prints of an agent's answers is compared in `src/cli/api/recorded.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::fs;
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
    let (mut equal, mut differing, mut later, mut failing) = (0, 0, BTreeMap::new(), Vec::new());
    for (name, _) in DIFFERENT {
        assert!(records.iter().any(|record| record.name == *name), "there is no record {name}");
    }
    for record in &records {
        record.write_inputs(dir.path());
        if let Some(work) = record.needs() {
            *later.entry(work).or_insert(0) += 1;
            continue;
        }
        let reason = DIFFERENT.iter().find(|(name, _)| *name == record.name);
        match (record.difference(&record.run(dir.path())), reason) {
            (None, None) => equal += 1,
            (Some(_), Some(_)) => differing += 1,
            (Some(difference), None) => failing.push(difference),
            (None, Some(_)) => failing.push(format!("{}: is equal now, so strike it out", record.name)),
        }
    }
    let not_covered: i32 = later.values().sum();
    let failures = failing.len();
    println!("cli: {equal} equal, {differing} differing on purpose, {not_covered} not covered yet, {failures} failing");
    DIFFERENT.iter().for_each(|(name, reason)| println!("cli:   {name} is different: {reason}"));
    later.iter().for_each(|(work, count)| println!("cli:   {count} not covered until there is: {work}"));
    assert!(failing.is_empty(), "{}", failing.join("\n"));
}

/// Records that differ on purpose, each with the reason.
const DIFFERENT: &[(&str, &str)] = &[];

/// A line of the file. What else a line has is for readers.
#[derive(Deserialize)]
struct Record {
    name: String,
    setup: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// Files that are there from now on, by their paths.
    #[serde(default)]
    inputs: BTreeMap<String, String>,
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
        const COMMANDS: &[&str] = &["debug", "logger", "run"];
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

    fn write_inputs(&self, dir: &Path) {
        for (path, text) in &self.inputs {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
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
        let equal = without_times(stdout) == without_times(&self.stdout) && stderr == self.stderr;
        if equal && *exit == Some(self.exit) {
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

/// Log lines without when they were written: what changes from run to run in the records that are run.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("time=\"").and_then(|rest| rest.split_once('"')) {
        Some((_, rest)) => format!("time{rest}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
