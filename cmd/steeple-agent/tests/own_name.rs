//! What the program says under its own name, where the reference says less.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::process::Command;

#[test]
fn tells_its_own_version_and_that_of_the_reference() {
    let output = Command::new(env!("CARGO_BIN_EXE_steeple-agent")).arg("-version").output().unwrap();
    let version = format!("steeple {} (SPIRE 1.15.3)\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), version));
}

#[test]
fn shows_its_own_name_in_its_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_steeple-agent")).output().unwrap();
    let usage = String::from_utf8(output.stderr).unwrap();
    assert_eq!(usage.lines().next(), Some("Usage: steeple-agent [--version] [--help] <command> [<args>]"));
    assert_eq!(output.status.code(), Some(127));
}
