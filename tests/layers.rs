//! The rooms and their arrows: the table in ARCHITECTURE.md is compared with what cargo knows. Needs no daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Crates of which one version must be built: two would mean two TLS stacks, two wire formats or two back ends.
const ONCE: &[&str] = &["aws-lc-rs", "hyper", "prost", "rustls", "tonic"];

/// Crates that would be a second crypto back end.
const NEVER: &[&str] = &["openssl", "openssl-sys", "ring"];

/// Authorities that would be believed because they were compiled in. The crate that is built under this name is ours, and empty.
const ROOTS: (&str, &str) = ("webpki-roots", "v1.99.0");

/// What tests of every room may use besides.
const FOR_TESTS: &str = "steeple-testkit";

/// The one place with unsafe code.
const OS_ROOM: &str = "crates/runtime/src/os/";

/// Crate to the crates of this workspace that it uses (or may use).
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_arrow_between_the_rooms_is_in_the_table() -> Result<()> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let (table, actual) = (table(&text)?, arrows(&metadata()?)?);
    let wrong = differences(&table, &actual);
    assert!(wrong.is_empty(), "ARCHITECTURE.md and the Cargo.toml files differ:\n{}", wrong.join("\n"));
    println!("layers: {} crates, {} arrows", actual.len(), actual.values().map(BTreeSet::len).sum::<usize>());
    Ok(())
}

#[test]
fn builds_one_crypto_back_end_and_one_copy_of_what_must_be_one() -> Result<()> {
    // What is built, not what Cargo.lock lists: that names `ring`, because webpki could use it.
    let args =
        ["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}", "--frozen"];
    let built = String::from_utf8(cargo(&args)?)?;
    let wrong = unwanted(&built);
    assert!(wrong.is_empty(), "crates that are built (see `cargo tree -i NAME`):\n{}", wrong.join("\n"));
    Ok(())
}

/// The lints refuse unsafe code unless a file allows it; only those of this room may.
#[test]
fn unsafe_code_stays_in_the_room_of_the_operating_system() -> Result<()> {
    let files = String::from_utf8(Command::new("git").args(["ls-files", "*.rs"]).current_dir(root()).output()?.stdout)?;
    ensure!(files.contains(OS_ROOM), "git lists no files");
    let mut allowing = Vec::new();
    for file in files.lines().filter(|file| !file.starts_with(OS_ROOM)) {
        if fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains("allow(unsafe_code")) {
            allowing.push(file);
        }
    }
    // This file names what it looks for.
    assert_eq!(allowing, ["tests/layers.rs"]);
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> Result<Value> {
    let json = cargo(&["metadata", "--format-version", "1", "--no-deps", "--frozen"])?;
    Ok(serde_json::from_slice(&json)?)
}

fn cargo(args: &[&str]) -> Result<Vec<u8>> {
    let program = env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(program).args(args).current_dir(root()).output()?;
    ensure!(output.status.success(), "cargo {}: {}", args[0], String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// The arrows in cargo's metadata.
fn arrows(metadata: &Value) -> Result<Arrows> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let name = |value: &Value| value["name"].as_str().map(str::to_owned).context("no name");
    let members: BTreeSet<String> = packages.iter().map(name).collect::<Result<_>>()?;
    packages
        .iter()
        .map(|package| {
            let mut used = BTreeSet::new();
            for dependency in package["dependencies"].as_array().context("no dependencies")? {
                let dependency_name = name(dependency)?;
                let only_tests = dependency["kind"] == "dev" && dependency_name == FOR_TESTS;
                if members.contains(&dependency_name) && !only_tests {
                    used.insert(dependency_name);
                }
            }
            Ok((name(package)?, used))
        })
        .collect()
}

/// The table between `<!-- layers -->` and `<!-- /layers -->`: a row a crate, with the crates that it may use, separated
/// by commas; `-` for none. Names may stand in backticks.
fn table(text: &str) -> Result<Arrows> {
    let (_, rest) = text.split_once("<!-- layers -->").context("no <!-- layers --> in ARCHITECTURE.md")?;
    let (rows, _) = rest.split_once("<!-- /layers -->").context("no <!-- /layers --> in ARCHITECTURE.md")?;
    let mut arrows = Arrows::new();
    // The first two lines are the head and the rule below it.
    for row in rows.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, may_use, ..] = cells[..] else { anyhow::bail!("not two cells: {row}") };
        let may_use = may_use.split(',').map(crate_name).filter(|name| !name.is_empty()).collect();
        ensure!(arrows.insert(crate_name(name), may_use).is_none(), "{name} has two rows");
    }
    ensure!(!arrows.is_empty(), "no rows in the table");
    Ok(arrows)
}

/// The package that a cell means: the table may leave the prefix out.
fn crate_name(cell: &str) -> String {
    let name = cell.trim().trim_matches('`');
    match name {
        "" | "-" => String::new(),
        name if name.starts_with("steeple-") => name.to_owned(),
        name => format!("steeple-{name}"),
    }
}

/// Each difference in a line that says what to do.
fn differences(table: &Arrows, actual: &Arrows) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, used) in actual {
        match table.get(name) {
            None => wrong.push(format!("{name} has no row in the table")),
            Some(allowed) => {
                wrong.extend(
                    used.difference(allowed).map(|other| format!("{name} uses {other}, which its row forbids")),
                );
            }
        }
    }
    let named = table.iter().flat_map(|(name, may_use)| may_use.iter().chain([name]));
    let unknown: BTreeSet<&String> = named.filter(|name| !actual.contains_key(*name)).collect();
    wrong.extend(unknown.into_iter().map(|name| format!("{name} stands in the table, but there is no such crate")));
    wrong
}

/// What the crates that are built, a line each (`NAME VERSION`, with a mark behind repeated ones), must not hold.
fn unwanted(built: &str) -> Vec<String> {
    let version_of = |line: &str, name: &str| -> Option<String> {
        let mut words = line.split(' ');
        (words.next() == Some(name)).then(|| words.next().map(str::to_owned)).flatten()
    };
    let versions = |name: &str| -> BTreeSet<String> { built.lines().filter_map(|l| version_of(l, name)).collect() };
    let never = NEVER.iter().filter(|name| !versions(name).is_empty()).map(|name| format!("{name}: not wanted at all"));
    let once = ONCE.iter().filter(|name| versions(name).len() != 1).map(|name| format!("{name}: {:?}", versions(name)));
    let (name, ours) = ROOTS;
    let roots =
        versions(name).into_iter().filter(|version| version != ours).map(|it| format!("{name}: {it} is not ours"));
    never.chain(once).chain(roots).collect()
}

#[test]
fn the_comparison_finds_each_kind_of_difference() -> Result<()> {
    let text = "<!-- layers -->\n| crate | may use |\n|---|---|\n| `proto` | - |\n| `spiffe` | `proto` |\n\
                | pki | spiffe, proto |\n| web | proto |\n<!-- /layers -->";
    let metadata = serde_json::json!({ "packages": [
        { "name": "steeple-proto", "dependencies": [{ "name": "prost", "kind": null }] },
        { "name": "steeple-spiffe", "dependencies": [{ "name": "steeple-pki", "kind": "dev" }] },
        { "name": "steeple-pki", "dependencies": [
            { "name": "steeple-proto", "kind": null }, { "name": "steeple-testkit", "kind": "dev" } ] },
        { "name": "steeple-testkit", "dependencies": [] },
    ] });
    assert_eq!(
        differences(&table(text)?, &arrows(&metadata)?),
        [
            "steeple-spiffe uses steeple-pki, which its row forbids",
            "steeple-testkit has no row in the table",
            "steeple-web stands in the table, but there is no such crate",
        ]
    );
    assert!(table("no markers").is_err());
    assert!(table("<!-- layers --><!-- /layers -->").is_err());
    Ok(())
}

#[test]
fn the_search_finds_what_must_not_be_built() {
    let good: String =
        ONCE.iter().map(|name| format!("{name} v1.0.0\n{name} v1.0.0 (*)\n{name}-other v2.0.0\n")).collect();
    assert!(unwanted(&good).is_empty());
    assert_eq!(unwanted(&format!("{good}ring v0.17.14\n")), ["ring: not wanted at all"]);
    let roots = format!("{good}webpki-roots v1.99.0 (/crates/webpki-roots)\nwebpki-roots v1.0.10\n");
    assert_eq!(unwanted(&roots), ["webpki-roots: v1.0.10 is not ours"]);
    assert_eq!(unwanted(&format!("{good}rustls v2.0.0\n")), [r#"rustls: {"v1.0.0", "v2.0.0"}"#]);
}
