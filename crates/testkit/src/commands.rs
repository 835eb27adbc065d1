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

use crate::documented;

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
#[derive(Clone, Debug)]
pub enum Coverage {
    /// Our answer is equal.
    Equal,
    /// Our answer is different, in this way.
    Different(Difference),
    /// Replayed elsewhere: it needs more than this test has.
    Elsewhere(&'static str),
    /// Our answer is different until there is what is not built yet.
    Unbuilt(Difference),
    /// Our answer is equal, but for what is left out of the record until there is this.
    Lacks(&'static str),
}

/// What ours answers where it is not what was recorded; what it does not name is as recorded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Why, for the log.
    pub why: String,
    /// A phrase of `docs/differences.md`.
    pub documented: String,
    /// Whether it is there because something is not built yet.
    #[serde(default)]
    pub unbuilt: bool,
    stdout: Option<String>,
    stderr: Option<String>,
    exit: Option<i32>,
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
    let (mut differing, mut elsewhere, mut later) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for record in records {
        record.write_inputs(dir);
        match coverage(record) {
            Coverage::Equal => match record.difference(&run(record)) {
                None => equal += 1,
                Some(difference) => failing.push(difference),
            },
            Coverage::Lacks(what) => match record.difference(&run(record)) {
                None => later.push(format!("{}: {what}; the rest is equal", record.name)),
                Some(difference) => failing.push(difference),
            },
            Coverage::Different(difference) => match record.fault(&difference, &run(record)) {
                None => *differing.entry(difference.why).or_insert(0) += 1,
                Some(fault) => failing.push(fault),
            },
            Coverage::Unbuilt(difference) => match record.fault(&difference, &run(record)) {
                None => later.push(format!("{}: {}", record.name, difference.why)),
                Some(fault) => failing.push(fault),
            },
            Coverage::Elsewhere(place) => *elsewhere.entry(place).or_insert(0) += 1,
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

    /// What is wrong with an exception, if anything is: ours is another than it says, or as recorded, or the page does not
    /// tell of it.
    fn fault(&self, told: &Difference, outcome: &Outcome) -> Option<String> {
        let Difference { documented, stdout, stderr, exit, .. } = told.clone();
        if let Some(fault) = documented::fault(&documented) {
            return Some(format!("{}: {fault}", self.name));
        }
        if self.difference(outcome).is_none() {
            return Some(format!("{}: is equal now, so strike it out", self.name));
        }
        let ours = Self {
            stdout: stdout.unwrap_or_else(|| self.stdout.clone()),
            stderr: stderr.unwrap_or_else(|| self.stderr.clone()),
            exit: exit.unwrap_or(self.exit),
            ..self.clone()
        };
        ours.difference(outcome)
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
    differing: &BTreeMap<String, i32>,
    elsewhere: &BTreeMap<&str, i32>,
    later: &[String],
    failing: usize,
) {
    let (different, not_covered) = (differing.values().sum::<i32>(), later.len());
    println!("cli: {equal} equal, {different} differing on purpose, {not_covered} not covered yet, {failing} failing");
    differing.iter().for_each(|(reason, count)| println!("cli:   {count} differing: {reason}"));
    elsewhere.iter().for_each(|(place, count)| println!("cli:   {count} replayed {place}"));
    later.iter().for_each(|line| println!("cli:   not covered yet: {line}"));
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
    fn another_standard_error_is_a_difference() {
        let found = Outcome { stderr: "Error: x\n".to_owned(), ..outcome("", 0) };
        assert!(record("x", "").difference(&found).is_some());
        let recorded = Record { stderr: "Error: x\n".to_owned(), ..record("y", "") };
        assert_eq!(recorded.difference(&found), None);
        assert!(recorded.difference(&outcome("", 0)).is_some());
    }

    #[test]
    fn lines_in_any_order_are_the_same_lines_all_the_same() {
        let recorded = record("x", "a\nb\n");
        assert!(recorded.difference(&outcome("b\na\n", 0)).is_some());
        let recorded = recorded.in_any_order();
        assert_eq!(recorded.difference(&outcome("b\na\n", 0)), None);
        for other in ["b\n", "a\na\n", "a\nb\nb\n", "a\nc\n"] {
            assert!(recorded.difference(&outcome(other, 0)).is_some(), "{other:?}");
        }
    }

    #[test]
    fn above_a_usage_the_first_line_counts() {
        let stderr = "flag provided but not defined: -x\n".to_owned();
        let recorded = Record { stderr_usage_dropped: true, stderr, ..record("y", "") };
        let found = |stderr: &str| Outcome { stderr: stderr.to_owned(), ..outcome("", 0) };
        let usage = "flag provided but not defined: -x\nUsage of ours:\n  -y\n";
        assert_eq!(recorded.difference(&found(usage)), None);
        for other in ["", "Usage of ours:\n", "flag provided but not defined: -y\nUsage of ours:\n"] {
            assert!(recorded.difference(&found(other)).is_some(), "{other:?}");
        }
    }

    #[test]
    #[should_panic(expected = "the last line repeats the first")]
    fn a_first_line_that_should_come_again_does() {
        let stderr = "no\n".to_owned();
        let recorded =
            Record { stderr_usage_dropped: true, stderr_last_line_repeats_first: true, stderr, ..record("y", "") };
        let _ = recorded.difference(&Outcome { stderr: "no\nUsage\n".to_owned(), ..outcome("", 0) });
    }

    /// Of a record that prints `recorded`.
    fn replay_one(coverage: Coverage, printed: &str) {
        let dir = std::env::temp_dir();
        replay(&[record("x", "recorded")], &dir, |_| coverage.clone(), |_| outcome(printed, 0));
    }

    fn ours() -> Difference {
        Difference {
            why: "a reason".to_owned(),
            documented: "verifies the signature of each certificate request".to_owned(),
            unbuilt: false,
            stdout: Some("ours".to_owned()),
            stderr: None,
            exit: None,
        }
    }

    #[test]
    fn what_is_as_expected_does_not_fail() {
        replay_one(Coverage::Equal, "recorded");
        replay_one(Coverage::Lacks("something"), "recorded");
        replay_one(Coverage::Different(ours()), "ours");
        replay_one(Coverage::Unbuilt(ours()), "ours");
    }

    #[test]
    #[should_panic(expected = "stdout found")]
    fn another_output_than_the_recorded_one_fails() {
        replay_one(Coverage::Equal, "another");
    }

    #[test]
    #[should_panic(expected = "stdout found")]
    fn another_output_fails_where_only_a_part_was_left_out() {
        replay_one(Coverage::Lacks("something"), "another");
    }

    #[test]
    #[should_panic(expected = "is equal now")]
    fn an_exception_that_is_none_fails() {
        replay_one(Coverage::Different(ours()), "recorded");
    }

    #[test]
    #[should_panic(expected = "is equal now")]
    fn what_is_built_by_now_fails() {
        replay_one(Coverage::Unbuilt(ours()), "recorded");
    }

    #[test]
    #[should_panic(expected = "stdout found")]
    fn an_exception_with_another_output_than_it_names_fails() {
        replay_one(Coverage::Different(ours()), "a crash");
    }

    #[test]
    #[should_panic(expected = "does not stand in docs/differences.md")]
    fn an_exception_without_its_line_in_the_page_fails() {
        let documented = "a phrase of nobody".to_owned();
        replay_one(Coverage::Different(Difference { documented, ..ours() }), "ours");
    }
}
