//! What the program says under its own name, where the reference says less.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::fs;
use std::os::unix::process::CommandExt;
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

/// What `validate` answers when it is called by a name: its exit code and all that it printed.
fn validated(name: &str, config: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agent.conf"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_steeple-agent"));
    command.arg0(name).args(["validate", "-config", "agent.conf"]).current_dir(dir.path());
    let output = command.output().unwrap();
    assert!(!dir.path().join("data").exists(), "something was written");
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

const CONFIG: &str = r#"agent {
  trust_domain = "example.org"
  server_address = "localhost"
  server_port = 8081
  data_dir = "data"
  insecure_bootstrap = true
}
plugins {
  KeyManager "disk" { plugin_data { directory = "data" } }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
}
"#;

#[test]
fn refuses_plugins_that_nobody_has_by_name_where_the_reference_does_not_look() {
    assert_eq!(validated("steeple-agent", CONFIG), (Some(0), "SPIRE agent configuration file is valid.\n".into()));
    for (from, to, refusal) in [
        (
            "KeyManager \"disk\"",
            "KeyManager \"floppy\"",
            "failed to load plugin \"floppy\": no built-in plugin \"floppy\" for type \"KeyManager\"",
        ),
        ("WorkloadAttestor", "Surplus", "unsupported plugin type \"Surplus\""),
    ] {
        let config = CONFIG.replace(from, to);
        let (code, text) = validated("steeple-agent", &config);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("SPIRE agent configuration file is invalid: {refusal}")), "{text}");
        let (code, text) = validated("spire-agent", &config);
        assert_eq!((code, text.as_str()), (Some(0), "SPIRE agent configuration file is valid.\n"));
    }
}

#[test]
fn refuses_plugins_that_there_cannot_be_yet_under_each_name() {
    for (from, to, refusal) in [
        (
            "WorkloadAttestor \"unix\"",
            "WorkloadAttestor \"k8s\"",
            "these plugins are not built in yet: WorkloadAttestor \"k8s\"",
        ),
        (
            "NodeAttestor \"join_token\" {",
            "NodeAttestor \"own\" { plugin_cmd = \"/bin/own\"",
            "external plugins (plugin_cmd) are not supported yet: NodeAttestor \"own\"",
        ),
    ] {
        for name in ["steeple-agent", "spire-agent"] {
            let (code, text) = validated(name, &CONFIG.replace(from, to));
            assert_eq!((code, text), (Some(1), format!("SPIRE agent configuration file is invalid: {refusal}\n")));
        }
    }
}

#[test]
fn says_what_belongs_in_the_place_of_a_wrong_value_and_that_json_is_cut_short() {
    let (code, text) = validated("steeple-agent", &CONFIG.replace("8081", "true"));
    assert_eq!(code, Some(1));
    assert!(
        text.ends_with("root.agent.server_port: unknown type *ast.LiteralType\n  expected a whole number\n"),
        "{text}"
    );
    let (code, text) = validated("steeple-agent", r#"{"agent": {"trust_domain": "example.org""#);
    assert_eq!(code, Some(1));
    assert!(text.ends_with("\n  the JSON ends before its outermost object does: is the file whole?\n"), "{text}");
}
