//! A record, and how an outcome is compared with it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use crate::mask::mask;

/// A line of the file. What else a line has is for readers.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) stdin: String,
    pub(crate) env: BTreeMap<String, String>,
    /// Files that are there from now on, by their paths.
    #[serde(default)]
    pub(crate) inputs: BTreeMap<String, String>,
    stdout: String,
    stderr: String,
    exit: i32,
    /// What changes from run to run.
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

/// What a command did.
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Option<i32>,
}

/// All records.
pub(crate) fn all() -> Vec<Record> {
    let lines = include_str!("../data/cli.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Record {
    /// What is different, if anything is.
    pub(crate) fn difference(&self, outcome: &Outcome) -> Option<String> {
        let mut difference = String::new();
        if outcome.exit != Some(self.exit) {
            writeln!(difference, "  exit: {} expected, found {:?}", self.exit, outcome.exit).unwrap();
        }
        let stderr =
            if self.stderr_usage_dropped { self.without_usage(&outcome.stderr) } else { outcome.stderr.clone() };
        for (stream, expected, found) in [("stdout", &self.stdout, &outcome.stdout), ("stderr", &self.stderr, &stderr)]
        {
            let (expected, found) = (self.comparable(expected), self.comparable(found));
            if expected != found {
                writeln!(difference, "  {stream} expected: {expected:?}\n  {stream} found:    {found:?}").unwrap();
            }
        }
        if difference.is_empty() { None } else { Some(format!("{}: {}\n{difference}", self.name, self.args.join(" "))) }
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
        let mut masked = self.volatile.iter().fold(text.to_owned(), |text, pattern| mask(pattern, &text));
        if self.unordered {
            let mut lines: Vec<_> = masked.lines().collect();
            lines.sort_unstable();
            masked = lines.join("\n");
        }
        masked
    }
}
