//! Command lines that were recorded at the reference, and what ours answer.
//!
//! A file has a record a line, in the order in which they were made, each with the effect of those before it. What a
//! record needs to be there is its test's to bring.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex::{NoExpand, Regex};
use serde::Deserialize;

/// A command line and what it answered. What else a line has is for readers.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// Its name, which no other has.
    pub name: String,
    /// What was there when it was run, in words.
    pub setup: String,
    /// The command line, without the program.
    pub args: Vec<String>,
    /// What it read.
    pub stdin: String,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Files that are there from now on, by their paths.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// Its exit code.
    pub exit: i32,
    /// Regular expressions of what changes from run to run.
    volatile: Vec<String>,
    /// Whether the order of lines changes from run to run.
    #[serde(default)]
    unordered: bool,
    /// Whether all but the first line of `stderr` was a usage, whose text is our own.
    #[serde(default)]
    stderr_usage_dropped: bool,
    /// Whether the first line came once more below the usage.
    #[serde(default)]
    stderr_last_line_repeats_first: bool,
}

/// How long a daemon has run: a replay is faster than the recording was.
const UPTIME: &str = r#""uptime":\d+|Uptime: +[\dhms]+"#;

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; None when a signal ended it.
    pub exit: Option<i32>,
}

/// What is expected of a record.
#[derive(Clone, Copy, Debug)]
pub enum Coverage {
    /// Our answer is equal.
    Equal,
    /// Our answer is different, for this reason.
    Different(&'static str),
    /// Replayed elsewhere: it needs more than this test has.
    Elsewhere(&'static str),
    /// Not run: it needs what this work brings.
    Later(&'static str),
}

/// All records of a file.
pub fn records(text: &str) -> Vec<Record> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the records in `dir`, prints how many were equal, and fails by those that are not what is expected of them: also
/// by an exception that is none.
pub fn replay(
    records: &[Record],
    dir: &Path,
    coverage: impl Fn(&Record) -> Coverage,
    mut run: impl FnMut(&Record) -> Outcome,
) {
    let (mut equal, mut failing) = (0, Vec::new());
    let (mut differing, mut elsewhere, mut later) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for record in records {
        record.write_inputs(dir);
        match coverage(record) {
            Coverage::Equal => match record.difference(&run(record)) {
                None => equal += 1,
                Some(difference) => failing.push(difference),
            },
            Coverage::Different(reason) => match record.difference(&run(record)) {
                Some(_) => *differing.entry(reason).or_insert(0) += 1,
                None => failing.push(format!("{}: is equal now, so strike it out", record.name)),
            },
            Coverage::Elsewhere(place) => *elsewhere.entry(place).or_insert(0) += 1,
            Coverage::Later(work) => *later.entry(work).or_insert(0) += 1,
        }
    }
    report(equal, &differing, &elsewhere, &later, failing.len());
    assert!(failing.is_empty(), "{}", failing.join("\n"));
}

/// Each of these names is that of a record, and none is there twice: for lists of exceptions.
pub fn check_names(records: &[Record], listed: &[&str]) {
    for name in listed {
        assert!(records.iter().any(|record| record.name == *name), "there is no record {name}");
        assert_eq!(listed.iter().filter(|other| *other == name).count(), 1, "{name} is listed twice");
    }
}

/// Our program under the reference's name, in a directory and with nothing of this process around it.
pub fn program(path: &str, name: &str, dir: &Path) -> Command {
    let mut command = Command::new(path);
    command.arg0(name).current_dir(dir).env_clear();
    command.envs([("PATH", "/usr/bin:/bin"), ("HOME", "/root"), ("TZ", "UTC"), ("LANG", "C.UTF-8")]);
    command
}

impl Record {
    /// Starts its command line; all that it reads is there.
    pub fn start(&self, mut program: Command) -> Child {
        program.args(&self.args).envs(&self.env);
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read it has ended by now, perhaps.
        let _ = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        child
    }

    /// The same record, in which what matches `pattern` is not compared either.
    #[must_use]
    pub fn but_for(mut self, pattern: &str) -> Self {
        self.volatile.push(pattern.to_owned());
        self
    }

    /// The same, with lines that may come in any order.
    pub fn in_any_order(self) -> Self {
        Self { unordered: true, ..self }
    }

    /// What is different, if anything is.
    pub fn difference(&self, outcome: &Outcome) -> Option<String> {
        let Outcome { stdout, stderr, exit } = outcome;
        let mut difference = String::new();
        if *exit != Some(self.exit) {
            writeln!(difference, "  exit: {} expected, found {exit:?}", self.exit).unwrap();
        }
        let stderr = if self.stderr_usage_dropped { self.without_usage(stderr) } else { stderr.clone() };
        for (stream, expected, found) in [("stdout", &self.stdout, stdout), ("stderr", &self.stderr, &stderr)] {
            let (expected, found) = (self.comparable(expected), self.comparable(found));
            if expected != found {
                writeln!(difference, "  {stream} expected: {expected:?}\n  {stream} found:    {found:?}").unwrap();
            }
        }
        if difference.is_empty() { None } else { Some(format!("{}: {}\n{difference}", self.name, self.args.join(" "))) }
    }

    fn write_inputs(&self, dir: &Path) {
        for (path, text) in &self.inputs {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn without_usage(&self, stderr: &str) -> String {
        let mut lines = stderr.lines();
        let first = lines.next().unwrap_or_default();
        if self.stderr_last_line_repeats_first {
            assert_eq!(lines.next_back(), Some(first), "{}: the last line repeats the first", self.name);
        }
        format!("{first}\n")
    }

    fn comparable(&self, text: &str) -> String {
        let mask =
            |text: String, pattern: &str| Regex::new(pattern).unwrap().replace_all(&text, NoExpand("*")).into_owned();
        let patterns = self.volatile.iter().map(String::as_str).chain([UPTIME]);
        let masked = patterns.fold(text.to_owned(), mask);
        if !self.unordered {
            return masked;
        }
        let mut lines: Vec<_> = masked.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

impl Outcome {
    /// Waits for the end of a command that ran in `dir`, whose name stands for itself in the records.
    pub fn of(child: Child, dir: &Path) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(dir.to_str().unwrap(), "${dir}");
        Self { stdout: text(output.stdout), stderr: text(output.stderr), exit: output.status.code() }
    }
}

#[allow(clippy::print_stdout, reason = "the counts belong in the log of the tests")]
fn report(
    equal: i32,
    differing: &BTreeMap<&str, i32>,
    elsewhere: &BTreeMap<&str, i32>,
    later: &BTreeMap<&str, i32>,
    failing: usize,
) {
    let sum = |counts: &BTreeMap<&str, i32>| counts.values().sum::<i32>();
    let (different, not_covered) = (sum(differing), sum(later));
    println!("cli: {equal} equal, {different} differing on purpose, {not_covered} not covered yet, {failing} failing");
    differing.iter().for_each(|(reason, count)| println!("cli:   {count} differing: {reason}"));
    elsewhere.iter().for_each(|(place, count)| println!("cli:   {count} replayed {place}"));
    later.iter().for_each(|(work, count)| println!("cli:   {count} not covered until there is: {work}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(volatile: &str, stdout: &str) -> Record {
        let line = format!(
            r#"{{"name": "a", "setup": "", "args": ["x"], "stdin": "", "env": {{}}, "stdout": {stdout:?}, "stderr": "",
                "exit": 0, "volatile": [{volatile:?}]}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    fn outcome(stdout: &str, exit: i32) -> Outcome {
        Outcome { stdout: stdout.to_owned(), stderr: String::new(), exit: Some(exit) }
    }

    #[test]
    fn only_what_changes_from_run_to_run_may_differ() {
        let record = record(r"\b\d{2}:\d{2}\b", "at 12:00 sharp\n");
        assert_eq!(record.difference(&outcome("at 23:59 sharp\n", 0)), None);
        for (stdout, exit) in [("at 23:59 sharp", 0), ("at 2:59 sharp\n", 0), ("at 23:59 sharp\n", 1)] {
            assert!(record.difference(&outcome(stdout, exit)).is_some(), "{stdout:?} {exit}");
        }
    }

    #[test]
    #[should_panic(expected = "is equal now")]
    fn an_exception_that_is_none_fails() {
        let dir = std::env::temp_dir();
        replay(&[record("x", "same")], &dir, |_| Coverage::Different("a reason"), |_| outcome("same", 0));
    }
}
