//! `docs/configuration.md`: every key that a daemon reads, and what holds it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::{CONFIGURATIONS, Configuration, Structs, all_tests, plugins, quoted, read, structs_of};

const PAGE: &str = "docs/configuration.md";
const WITHOUT_EFFECT: &str = "no effect";

#[test]
fn the_page_of_the_configuration_has_the_keys_that_the_daemons_read() -> Result<()> {
    let page = read(PAGE)?;
    let tables = tables(&page)?;
    let of = |heading: &str| {
        let rows = tables.get(heading).with_context(|| format!("{PAGE} has no table below {heading:?}"))?;
        anyhow::Ok(rows.iter().map(|row| row.key.to_owned()).collect::<BTreeSet<_>>())
    };
    let mut count = 0;
    for (heading, Configuration { sources, .. }) in ["Server", "Agent"].into_iter().zip(&CONFIGURATIONS) {
        let mut structs = BTreeMap::new();
        for source in sources {
            structs.extend(structs_of(&read(source)?));
        }
        let mut keys = BTreeSet::new();
        add_paths(&structs, "File", "", &mut keys)?;
        let named = &of(heading)? | &of("Both daemons")?;
        same(&named, &keys, heading)?;
        count += keys.len();
    }
    let blocks = structs_of(&read("crates/config/src/plugins.rs")?);
    let keys = blocks.values().flatten().map(|(key, _)| format!("plugins.{key}")).collect();
    same(&of("Blocks of plugins")?, &keys, "Blocks of plugins")?;
    let keys = keys_of_plugins()?;
    same(&of("Plugins")?, &keys, "Plugins")?;
    println!("papers: {} keys of daemons and {} of plugins are in {PAGE}", count, keys.len());
    Ok(())
}

#[test]
fn every_key_of_the_page_is_held_by_tests_that_are_there_or_named_as_one_without_effect() -> Result<()> {
    let (page, differences, tests) = (read(PAGE)?, read("docs/differences.md")?, all_tests()?);
    let (_, without_effect) = differences.split_once("## Keys without effect").context("no keys without effect")?;
    let without_effect: BTreeSet<&str> =
        quoted(without_effect.split("\n## ").next().unwrap_or_default()).into_iter().collect();
    let (mut held, mut idle) = (0, BTreeSet::new());
    for row in tables(&page)?.values().flatten() {
        if row.held_by == WITHOUT_EFFECT {
            idle.insert(row.key.rsplit('.').next().unwrap_or_default());
            continue;
        }
        let names = quoted(row.held_by);
        ensure!(!names.is_empty(), "{PAGE}: nothing holds {}", row.key);
        for name in names {
            ensure!(tests.contains(name), "{PAGE}: {}: there is no test {name}", row.key);
        }
        held += 1;
    }
    let missing: Vec<_> = idle.difference(&without_effect).collect();
    ensure!(missing.is_empty(), "docs/differences.md does not name {missing:?} as without effect");
    println!("papers: {held} keys have a test, {} names have no effect and a line that says so", idle.len());
    Ok(())
}

struct Row<'t> {
    key: &'t str,
    held_by: &'t str,
}

/// The rows of each table by the heading above it. They are key, what it does, default, held by.
fn tables(page: &str) -> Result<BTreeMap<&str, Vec<Row<'_>>>> {
    let (mut tables, mut heading) = (BTreeMap::<&str, Vec<Row<'_>>>::new(), "");
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, key, what, _, held_by, _] = cells[..] else { continue };
        if key == "Key" || key.starts_with('-') {
            continue;
        }
        let key = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'));
        let key = key.with_context(|| format!("{PAGE}: no key in {line}"))?;
        ensure!(!what.is_empty() && !held_by.is_empty(), "{PAGE}: an empty cell of {key}");
        let rows = tables.entry(heading).or_default();
        ensure!(rows.iter().all(|row| row.key != key), "{PAGE}: {key} is there twice");
        rows.push(Row { key, held_by });
    }
    Ok(tables)
}

/// The keys below a struct, behind the blocks that they are in. A block without keys is one itself.
fn add_paths(structs: &Structs, name: &str, prefix: &str, paths: &mut BTreeSet<String>) -> Result<()> {
    for (key, kind) in structs.get(name).with_context(|| format!("no struct {name}"))? {
        match inner(structs, kind) {
            Some(inner) => add_paths(structs, inner, &format!("{prefix}{key}."), paths)?,
            None => drop(paths.insert(format!("{prefix}{key}"))),
        }
    }
    Ok(())
}

/// The struct that a field is of, if it has keys.
fn inner<'t>(structs: &Structs, kind: &'t str) -> Option<&'t str> {
    let mut words = kind.split(|c: char| !c.is_alphanumeric());
    words.rfind(|word| structs.get(*word).is_some_and(|fields| !fields.is_empty()))
}

/// As in `KeyManager "disk".keys_path`.
fn keys_of_plugins() -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for (kind, name) in plugins(&read("crates/plugins/src/lib.rs")?) {
        let (title, source) = match kind.as_str() {
            "datastore" => ("DataStore".to_owned(), "crates/datastore/src/config.rs".to_owned()),
            kind => (in_capitals(kind), format!("crates/plugins/src/{kind}/{name}.rs")),
        };
        let structs = structs_of(&read(&source)?);
        let blocks: BTreeSet<_> = structs.values().flatten().filter_map(|(_, kind)| inner(&structs, kind)).collect();
        for outer in structs.keys().filter(|outer| !blocks.contains(outer.as_str())) {
            add_paths(&structs, outer, &format!("{title} {name:?}."), &mut keys)?;
        }
    }
    Ok(keys)
}

/// `key_manager` as configurations have it: `KeyManager`.
fn in_capitals(kind: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    kind.split('_').map(word).collect()
}

fn same(named: &BTreeSet<String>, read: &BTreeSet<String>, what: &str) -> Result<()> {
    let missing: Vec<_> = read.difference(named).collect();
    ensure!(missing.is_empty(), "{PAGE}, {what}: {missing:?} are read and not named");
    let surplus: Vec<_> = named.difference(read).collect();
    ensure!(surplus.is_empty(), "{PAGE}, {what}: {surplus:?} are named and not read");
    Ok(())
}

#[test]
fn keys_are_found_behind_their_blocks_and_rows_below_their_headings() {
    let source = "#[derive(Deserialize)]\nstruct File {\n    a: A,\n    list: Vec<B>,\n    none: Option<C>,\n}\n\
                  #[derive(Deserialize)]\nstruct A {\n    b: Option<B>,\n    x: String,\n}\n\
                  #[derive(Deserialize)]\nstruct B {\n    y: i64,\n}\n#[derive(Deserialize)]\nstruct C {}\n";
    let mut paths = BTreeSet::new();
    add_paths(&structs_of(source), "File", "", &mut paths).unwrap();
    assert_eq!(paths, ["a.b.y", "a.x", "list.y", "none"].map(str::to_owned).into());
    assert_eq!(in_capitals("key_manager"), "KeyManager");

    let page = "## One\n| Key | What | Default | Held by |\n|---|---|---|---|\n| `a` | b | | `t` |\n## Two\n| `c` | d | e | no effect |\n";
    let read = tables(page).unwrap();
    let rows = |heading: &str| read[heading].iter().map(|row| (row.key, row.held_by)).collect::<Vec<_>>();
    assert_eq!((rows("One"), rows("Two")), (vec![("a", "`t`")], vec![("c", "no effect")]));
    for wrong in [page.replace("`c`", "c"), page.replace("`t`", ""), page.replace("## Two\n| `c`", "| `a`")] {
        assert!(tables(&wrong).is_err(), "{wrong}");
    }
}
