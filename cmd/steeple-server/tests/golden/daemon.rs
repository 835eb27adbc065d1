//! Records of `run`: what a server logs, from its start to its end by itself or by SIGTERM.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steeple_testkit::commands::{Outcome, Record};

use crate::place::program;

/// Stands for the port in the records.
const PORT: &str = "${port}";
/// The first line of each listener when it is there. There are two.
const STARTED: &str = "Starting Server APIs";
/// The last one of each.
const STOPPED: &str = "Server APIs have stopped";
/// Lines of federation, which is not built yet.
const FEDERATION: &str = "subsystem_name=bundle_client";

/// Whether a record is one of these.
pub(crate) fn is_one(record: &Record) -> bool {
    record.args.iter().any(|arg| arg == PORT)
}

/// Whether a record has lines of federation, which [`settled`] leaves out.
pub(crate) fn has_federation(record: &Record) -> bool {
    is_one(record) && record.stdout.lines().any(|line| line.contains(FEDERATION))
}

/// The record with what it may be compared by.
pub(crate) fn settled(mut record: Record) -> Record {
    if is_one(&record) {
        let told = record.stdout.lines().filter(|line| !line.contains(FEDERATION));
        record.stdout = lasting(&told.map(with_newline).collect::<String>());
    }
    record
}

/// Runs a server as long as it has something to say, and stops it.
pub(crate) fn run(record: &Record, dir: &Path) -> Outcome {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut record = record.clone();
    record.args.iter_mut().filter(|arg| *arg == PORT).for_each(|arg| arg.clone_from(&port));
    let mut child = record.start(program(dir));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (mut stdout, mut listeners) = (String::new(), 0);
    for line in &mut lines {
        listeners += usize::from(line.contains(STARTED));
        stdout.push_str(&with_newline(&line));
        if line.contains(STARTED) && listeners == 2 {
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        }
    }
    let stdout = stdout.replace(&format!(":{port}\""), &format!(":{PORT}\"")).replace(dir.to_str().unwrap(), "${dir}");
    Outcome { stdout: lasting(&stdout), ..Outcome::of(child, dir) }
}

/// Without what is another one in each run: keys, moments, the version of the database. What the two listeners say comes in
/// any order.
fn lasting(log: &str) -> String {
    let lines: Vec<String> = log.lines().map(masked).collect();
    let start = lines.iter().position(|line| line.contains(STARTED)).unwrap_or(lines.len());
    let end = lines.iter().rposition(|line| line.contains(STOPPED)).map_or(start, |last| last + 1);
    let mut both = lines[start..end].to_vec();
    both.sort_unstable();
    lines[..start].iter().chain(&both).chain(&lines[end..]).map(|line| with_newline(line)).collect()
}

fn masked(line: &str) -> String {
    let mut names = vec!["time", "issued_at", "expiration", "local_authority_id"];
    if line.contains("Connected to SQL database") {
        names.push("version");
    }
    names.into_iter().fold(line.to_owned(), |line, name| {
        let Some((before, rest)) = line.split_once(&format!("{name}=")) else { return line };
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map(|end| end + 2),
            None => rest.find(' '),
        };
        format!("{before}{name}=*{}", &rest[end.unwrap_or(rest.len())..])
    })
}

fn with_newline(line: &str) -> String {
    format!("{line}\n")
}
