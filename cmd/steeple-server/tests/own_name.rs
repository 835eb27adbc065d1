//! What the program says under its own name, where the reference says less.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory with a configuration that has unknown keys.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"server {
  trust_domain = "example.org"
  data_dir = "data"
  log_format = "json"
  nonsense = 1
}
plugins {}
"#;
    fs::write(dir.path().join("server.conf"), config).unwrap();
    dir
}

fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steeple-server"));
    command.args(args).current_dir(dir.path());
    command
}

fn answer(dir: &TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(dir, args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn tells_its_own_version_and_that_of_the_reference() {
    let version = format!("steeple {} (SPIRE 1.15.3)\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(answer(&place(), &["-version"]), (Some(0), version, String::new()));
}

#[test]
fn shows_its_own_name_in_its_usage() {
    let (exit, _, stderr) = answer(&place(), &[]);
    assert_eq!(
        (exit, stderr.lines().next()),
        (Some(127), Some("Usage: steeple-server [--version] [--help] <command> [<args>]"))
    );
}

#[test]
fn names_section_and_line_of_an_unknown_key() {
    let detail = "unknown configuration detected\n  line 5: \"nonsense\" means nothing in section server\n";
    let (exit, stdout, stderr) = answer(&place(), &["validate", "-config", "server.conf"]);
    let invalid = format!("SPIRE server configuration file is invalid: {detail}");
    assert_eq!((exit, stdout, stderr), (Some(1), String::new(), invalid));
    let (exit, _, stderr) = answer(&place(), &["run", "-config", "server.conf"]);
    assert_eq!((exit, stderr.as_str()), (Some(1), detail));
}

#[test]
fn says_what_belongs_in_the_place_of_a_wrong_value() {
    let dir = place();
    for (line, text) in [
        ("bind_port = true", "root.server.bind_port: unknown type *ast.LiteralType\n  expected a whole number\n"),
        ("admin_ids = \"a\"", "unknown slice type: *ast.LiteralType\n  expected a list: [ ... ]\n"),
    ] {
        fs::write(dir.path().join("server.conf"), format!("server {{\n  {line}\n}}\n")).unwrap();
        for command in ["validate", "run"] {
            let (exit, _, stderr) = answer(&dir, &[command, "-config", "server.conf"]);
            assert_eq!(exit, Some(1));
            assert!(stderr.ends_with(text), "{stderr}");
        }
    }
}

#[test]
fn says_that_json_is_cut_short() {
    let dir = place();
    let hint = "\n  the JSON ends before its outermost object does: is the file whole?\n";
    for text in [r#"{"server": {"trust_domain": "exam"#, r#"{"server": {"trust_domain": "example.org""#] {
        fs::write(dir.path().join("server.conf"), text).unwrap();
        let (exit, _, stderr) = answer(&dir, &["validate", "-config", "server.conf"]);
        assert_eq!(exit, Some(1));
        assert!(stderr.ends_with(hint), "{stderr}");
    }
    fs::write(dir.path().join("server.conf"), "{\"server\": {}}").unwrap();
    let (_, _, stderr) = answer(&dir, &["validate", "-config", "server.conf"]);
    assert!(!stderr.contains("ends before"), "{stderr}");
}

#[test]
fn logs_an_unknown_key_in_the_form_that_the_same_file_asks_for() {
    let dir = place();
    let (_, stdout, _) = answer(&dir, &["run", "-config", "server.conf"]);
    let line =
        r#"{"keys":"nonsense","level":"error","msg":"Unknown configuration detected","section":"server","time":""#;
    assert!(stdout.starts_with(line), "{stdout}");
    answer(&dir, &["run", "-config", "server.conf", "-logFile", "server.log", "-logFormat", "text"]);
    let log = fs::read_to_string(dir.path().join("server.log")).unwrap();
    assert!(
        log.ends_with(" level=error msg=\"Unknown configuration detected\" keys=nonsense section=server\n"),
        "{log}"
    );
}

#[test]
fn survives_that_nobody_reads_its_output() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let dir = place();
    let mut command = command(&dir, &["-h"]);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(0));
}
