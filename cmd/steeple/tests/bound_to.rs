//! The step behind which `steeple up` starts its daemons, as a process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STEEPLE: &str = env!("CARGO_BIN_EXE_steeple");

#[test]
fn a_daemon_is_killed_with_the_process_that_started_it() {
    let daemon = r#""$0" bound-to $$ sh -c 'echo started; exec sleep 100' & wait"#;
    let mut parent = Command::new("sh").args(["-c", daemon, STEEPLE]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");

    let began = Instant::now();
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The daemon holds the other end of this pipe as long as it lives.
    output.read_to_string(&mut line).unwrap();
    assert!(began.elapsed() < Duration::from_secs(50), "it lived on");
}

#[test]
fn a_daemon_whose_parent_has_ended_already_is_not_started() {
    let output = Command::new(STEEPLE).args(["bound-to", "1", "sh", "-c", "echo started"]).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "the parent has ended\n");
}
