//! `backup`, `restore` and `migrate` as their callers see them, without a server.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use steeple_datastore::bundles::CreateBundle;
use steeple_datastore::{Bundle, DataStore, Options};
use steeple_runtime::Clock;
use tempfile::TempDir;

/// A configuration whose database and keys are in a directory of their own.
fn configuration(dir: &TempDir, name: &str, change: impl FnOnce(String) -> String) {
    fs::create_dir(dir.path().join(name)).unwrap();
    let text = format!(
        r#"server {{
  trust_domain = "example.org"
  bind_address = "127.0.0.1"
  bind_port = 1
  data_dir = "{name}"
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{name}/datastore.sqlite3"
    }}
  }}
  KeyManager "disk" {{
    plugin_data {{
      keys_path = "{name}/keys.json"
    }}
  }}
}}
"#
    );
    fs::write(dir.path().join(format!("{name}.conf")), change(text)).unwrap();
}

/// A directory with a database that has a bundle, keys, and configurations of it and of nothing yet.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    configuration(&dir, "old", |text| text);
    configuration(&dir, "new", |text| text);
    fs::write(dir.path().join("old/keys.json"), "{\n\t\"keys\": {}\n}\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options::sqlite(dir.path().join("old/datastore.sqlite3"));
        let store = DataStore::open(options, Clock::system()).await.unwrap();
        let bundle = Bundle { trust_domain_id: "spiffe://example.org".into(), ..Bundle::default() };
        store.write(CreateBundle(bundle)).await.unwrap();
        store.close().await;
    });
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

fn refusal(dir: &TempDir, args: &[&str]) -> String {
    let (exit, stdout, stderr) = answer(dir, args);
    assert_eq!((exit, stdout.as_str()), (Some(1), ""), "{stderr}");
    stderr
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn what_goes_through_a_pipe_comes_out_as_it_was() {
    let dir = place();
    // As on a host where no server has run yet.
    fs::remove_dir(dir.path().join("new")).unwrap();
    let args = ["backup", "-config", "old.conf", "-withKeys", "-out", "-", "-output", "json"];
    let mut saving = command(&dir, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut restoring = command(&dir, &["restore", "-config", "new.conf", "-in", "-"]);
    let restored = restoring.stdin(saving.stdout.take().unwrap()).output().unwrap();
    let saved = saving.wait_with_output().unwrap();
    let said = "{\"addresses\":[\"127.0.0.1:1\"],\"ca_journals\":0,\"file\":\"-\",\"keys\":true,\"rows\":1}\n";
    assert_eq!(String::from_utf8(saved.stderr).unwrap(), said);
    assert_eq!(String::from_utf8(restored.stdout).unwrap(), "Restored 1 row and the server's keys.\n");
    let keys = |name: &str| fs::read(dir.path().join(name).join("keys.json")).unwrap();
    assert_eq!(keys("new"), keys("old"));
    for file in ["new/keys.json", "new/datastore.sqlite3"] {
        assert_eq!(fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o007, 0, "{file}");
    }
    let told = refusal(&dir, &["restore", "-config", "new.conf", "-in", "new.conf"]);
    assert_eq!(told, "Error: the archive is damaged: it does not begin like an archive\n");
}

#[test]
fn an_archive_that_cannot_be_restored_as_a_whole_is_not_begun() {
    let dir = place();
    let (exit, said, _) = answer(&dir, &["backup", "-config", "old.conf", "-withKeys", "-out", "whole"]);
    assert_eq!(exit, Some(0));
    assert!(said.starts_with("Saved 1 row and the server's keys.\nNo other machine knows 127.0.0.1:1 as"), "{said}");
    let archive = fs::read(dir.path().join("whole")).unwrap();
    fs::write(dir.path().join("cut"), &archive[..archive.len() / 2]).unwrap();
    configuration(&dir, "other", |text| text.replace("example.org", "other.test"));
    configuration(&dir, "memory", |text| text.replace("\"disk\"", "\"memory\"").replace("keys_path", "# keys_path"));
    configuration(&dir, "keys", |text| text);
    fs::write(dir.path().join("keys/keys.json"), "{}").unwrap();
    for (name, archive, said) in [
        ("new", "cut", "Error: the archive is damaged: it ends in line "),
        ("new", "missing", "Error: open missing: no such file or directory"),
        ("other", "whole", "Error: the archive is of trust domain example.org, and the configuration of other.test"),
        ("memory", "whole", "Error: the archive has keys: only KeyManager \"disk\" has keys in a file"),
        ("keys", "whole", "Error: the archive has keys, and keys/keys.json is there already: move it away first"),
    ] {
        let told = refusal(&dir, &["restore", "-config", &format!("{name}.conf"), "-in", archive]);
        assert!(told.starts_with(said), "{told}");
        assert!(name == "keys" || is_empty(&dir.path().join(name)), "{name}");
    }
    assert!(!dir.path().join("keys/datastore.sqlite3").exists());
    let (exit, said, _) = answer(&dir, &["restore", "-config", "new.conf", "-in", "whole"]);
    assert_eq!((exit, said.as_str()), (Some(0), "Restored 1 row and the server's keys.\n"));
}

#[test]
fn flags_are_looked_at_before_anything_else() {
    let dir = place();
    for (args, said) in [
        (&["backup", "-config", "old.conf"][..], "Error: a file (-out) must be set\n"),
        (&["backup", "-out", "a", "-address", "host"], "Error: \"host\" is no host:port\n"),
        (&["restore", "-config", "old.conf"], "Error: an archive (-in) must be set\n"),
        (&["migrate", "-config", "old.conf"], "Error: a file (-to) must be set\n"),
        (
            &["backup", "-config", "new.conf", "-withKeys", "-out", "a"],
            "Error: unable to read the keys in new/keys.json",
        ),
    ] {
        let told = refusal(&dir, args);
        assert!(told.starts_with(said), "{told}");
    }
    assert!(!dir.path().join("a").exists() && !dir.path().join("a.tmp").exists());
}

#[test]
fn a_database_is_copied_to_where_a_file_says() {
    let dir = place();
    let (exit, said, _) = answer(&dir, &["migrate", "-config", "old.conf", "-to", "new.conf", "-output", "json"]);
    assert_eq!((exit, said.as_str()), (Some(0), "{\"rows\":1}\n"));
    configuration(&dir, "other", |text| text.replace("example.org", "other.test"));
    fs::write(dir.path().join("data.conf"), "database_type = \"oracle\"\nconnection_string = \"x\"\n").unwrap();
    for (to, said) in [
        ("new.conf", "Error: datastore-sql: the database is not empty: table bundles has rows\n"),
        ("old.conf", "Error: datastore-sql: the database is not empty: table bundles has rows\n"),
        ("other.conf", "Error: other.conf is of trust domain other.test, and the other configuration of example.org\n"),
        ("data.conf", "Error: data.conf: datastore-sql: unsupported database_type: oracle\n"),
        ("missing", "Error: open missing: no such file or directory\n"),
    ] {
        assert_eq!(refusal(&dir, &["migrate", "-config", "old.conf", "-to", to]), said);
    }
}
