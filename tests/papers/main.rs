//! The papers say what is there: configurations, plugin pages, conformance, faults, links, targets. Needs no daemon.

#[cfg(test)]
mod configuration;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A daemon's full configuration, and what it is compared with.
struct Configuration {
    path: &'static str,
    /// Where its structs are written.
    sources: [&'static str; 4],
    /// The daemon's own reader; an error as people see it.
    parse: fn(&str) -> Result<Vec<String>, String>,
}

const CONFIGURATIONS: [Configuration; 2] = [
    Configuration {
        path: "conf/server/server_full.conf",
        sources: [
            "crates/server/src/config/file.rs",
            "crates/config/src/sections.rs",
            "crates/config/src/telemetry.rs",
            "crates/config/src/otlp.rs",
        ],
        parse: |text| {
            use steeple_server::config::{Config, Flags};
            let config = Config::parse(text, "server_full.conf", Flags::default());
            config.map(|config| config.unbuilt).map_err(|error| error.in_full())
        },
    },
    Configuration {
        path: "conf/agent/agent_full.conf",
        sources: [
            "crates/agent/src/config/file.rs",
            "crates/config/src/sections.rs",
            "crates/config/src/telemetry.rs",
            "crates/config/src/otlp.rs",
        ],
        parse: |text| {
            use steeple_agent::config::{Config, Flags};
            let config = Config::parse(text, "agent_full.conf", Flags::default());
            config.map(|config| config.unbuilt).map_err(|error| error.in_full())
        },
    },
];

/// What the agent says to a key that excludes one which its file sets.
const EXCLUDED: &str = "can be specified, not both";

#[test]
fn the_full_configurations_are_accepted_as_they_are_and_with_each_key_that_they_show() -> Result<()> {
    for Configuration { path, sources: _, parse } in CONFIGURATIONS {
        let text = read(path)?;
        let unbuilt = parse(&text).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        ensure!(unbuilt.is_empty(), "{path} asks for what is not built yet: {unbuilt:?}");
        let shown = shown_keys(&text);
        for (line, with_it) in &shown {
            match parse(with_it) {
                Err(error) if !error.contains(EXCLUDED) => anyhow::bail!("{path}:{line}: {error}"),
                _ => {}
            }
        }
        println!("papers: {path} accepted, and with each of {} keys and blocks that it shows", shown.len());
    }
    Ok(())
}

#[test]
fn the_full_configurations_name_every_key() -> Result<()> {
    for Configuration { path, sources, parse: _ } in CONFIGURATIONS {
        let mut keys = BTreeSet::new();
        for source in sources {
            keys.extend(keys_of(&read(source)?));
        }
        let missing = not_named(&keys, &read(path)?);
        ensure!(missing.is_empty(), "{path} does not name {missing:?}");
        println!("papers: {path} names {0} of {0} keys", keys.len());
    }
    Ok(())
}

#[test]
fn each_plugin_has_its_page_and_each_page_its_plugin() -> Result<()> {
    let plugins = plugins(&read("crates/plugins/src/lib.rs")?);
    let pages = files("docs", "md")?.into_iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?.strip_prefix("plugin_")?.to_owned();
        Some(name)
    });
    let expected: BTreeSet<String> = plugins.iter().map(|(kind, name)| format!("{kind}_{name}")).collect();
    assert_eq!(pages.collect::<BTreeSet<_>>(), expected);
    for (kind, name) in &plugins {
        let source = match kind.as_str() {
            "datastore" => "crates/datastore/src/config.rs".to_owned(),
            kind => format!("crates/plugins/src/{kind}/{name}.rs"),
        };
        let (keys, page) = (keys_of(&read(&source)?), read(&format!("docs/plugin_{kind}_{name}.md"))?);
        let missing = not_named(&keys, &page);
        ensure!(missing.is_empty(), "docs/plugin_{kind}_{name}.md does not name {missing:?}");
    }
    println!("papers: {0} of {0} plugins have their page", plugins.len());
    Ok(())
}

#[test]
fn each_fuzz_target_is_built_and_has_inputs_to_begin_with() -> Result<()> {
    let manifest = read("fuzz/Cargo.toml")?;
    let built: BTreeSet<&str> = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")).collect();
    let targets = files("fuzz/fuzz_targets", "rs")?;
    let mut names = BTreeSet::new();
    for path in &targets {
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        ensure!(built.contains(&*format!("fuzz_targets/{name}.rs\"")), "fuzz/Cargo.toml does not build {name}");
        let inputs =
            fs::read_dir(root().join("fuzz/corpus").join(name)).with_context(|| format!("inputs of {name}"))?;
        ensure!(inputs.count() > 0, "there are no inputs for {name}");
        names.insert(name);
    }
    ensure!(built.len() == names.len() && !names.is_empty(), "fuzz/Cargo.toml builds {} targets", built.len());
    println!("papers: {0} of {0} fuzz targets are built and have inputs", names.len());
    Ok(())
}

#[test]
fn every_test_that_the_conformance_table_names_is_there() -> Result<()> {
    let tests = all_tests()?;
    let text = read("docs/conformance.md")?;
    let rules = rules(&text)?;
    let (mut named, mut held) = (0, 0);
    for Rule { number, held_by } in &rules {
        let names = quoted(held_by);
        for name in &names {
            ensure!(tests.contains(*name), "docs/conformance.md, {number}: there is no test {name}");
        }
        let is_excused = ["built later: ", "by design: ", "not ours: "].iter().any(|why| held_by.starts_with(why));
        ensure!(is_excused || !names.is_empty(), "docs/conformance.md, {number}: neither a test nor a reason");
        named += names.len();
        held += usize::from(!is_excused);
    }
    ensure!(named > 0, "docs/conformance.md names no test");
    println!(
        "papers: {named} of {named} tests of the conformance table are there; {held} of {} rules have one",
        rules.len()
    );
    Ok(())
}

/// The tests of the whole project.
fn all_tests() -> Result<BTreeSet<String>> {
    let mut tests = BTreeSet::new();
    for folder in ["crates", "cmd", "tests"] {
        for path in files(folder, "rs")? {
            tests.extend(tests_of(&fs::read_to_string(path)?));
        }
    }
    Ok(tests)
}

/// The functions that are run as tests: those with the attribute for it, behind which others may stand, and the cases of
/// a `suite!`, whose macro gives them one. A suite ends with the brace below its beginning.
fn tests_of(text: &str) -> BTreeSet<String> {
    let (mut tests, mut is_test, mut suite_end) = (BTreeSet::new(), false, None);
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("suite! {") && !line.ends_with('}') {
            suite_end = Some(format!("{}}}", " ".repeat(indent)));
        } else if suite_end.as_deref() == Some(line) {
            suite_end = None;
        }
        let line = line.trim();
        let is_name = |line: &str| line.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if suite_end.is_some() && !line.is_empty() && is_name(line) {
            tests.insert(line.to_owned());
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            tests.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    tests
}

#[test]
fn only_what_is_run_counts_as_a_test() {
    let text = r#"
        #[test]
        fn a() {}
        fn b() {}
        #[tokio::test(flavor = "multi_thread")]
        #[should_panic]
        // So.
        async fn c() {}
        proptest! {
            #[test]
            fn d(e: u8) {}
        }
        // fn f()
        #[cfg(test)]
        fn g() {}
        h
"#;
    let suite = "    suite! { all on i:\n    i {\n        j_k\n    }\n    }\nl\nsuite! { m }\nn\n";
    assert_eq!(tests_of(&format!("{text}{suite}")), ["a", "c", "d", "j_k"].map(str::to_owned).into());
}

/// A row of the page names a file and, where a figure stands there, the constant with its value.
#[test]
fn the_limits_of_the_page_are_those_of_the_code() -> Result<()> {
    let text = read("docs/limits.md")?;
    let (mut rows, mut constants) = (0, 0);
    for line in text.lines().filter(|line| line.contains(".rs`") && line.starts_with('|')) {
        let cell = line.trim_end_matches([' ', '|']).rsplit('|').next().context("no cells")?;
        let names = quoted(cell);
        let source = read(names.first().with_context(|| format!("docs/limits.md names no file: {line}"))?)?;
        for constant in &names[1..] {
            ensure!(source.contains(&format!("const {constant};")), "docs/limits.md: {cell} is not in the code");
            constants += 1;
        }
        rows += 1;
    }
    ensure!(constants > 20, "docs/limits.md names {constants} constants");
    println!("papers: {rows} limits, {constants} of {constants} constants as in the code");
    Ok(())
}

/// A row of the page is a kind of measurement, its names, and the rest. In the code a name is a text of its own.
#[test]
fn the_measurements_of_the_page_are_those_of_the_code() -> Result<()> {
    const KINDS: [&str; 4] = ["| call |", "| counter |", "| gauge |", "| sample |"];
    let (page, texts) = (read("docs/telemetry.md")?, texts_of_the_code()?);
    let rows = page.lines().filter(|line| KINDS.iter().any(|kind| line.starts_with(kind)));
    let names = rows.flat_map(|row| quoted(row.split('|').nth(2).unwrap_or_default()));
    // Names of calls and connections are made of services and methods.
    let named: BTreeSet<&str> = names.filter(|name| !name.ends_with('.') && !name.contains(".connection")).collect();
    for name in &named {
        ensure!(texts.contains(*name), "docs/telemetry.md: {name} is not in the code");
    }
    let is_name =
        |text: &str| text.contains('.') && text.chars().all(|c| "._".contains(c) || c.is_ascii_alphanumeric());
    let first = |text: &str| text.split('.').next().unwrap_or_default().to_owned();
    let families: BTreeSet<String> = named.iter().filter(|name| name.contains('.')).map(|name| first(name)).collect();
    let all: BTreeSet<&str> = quoted(&page).into_iter().collect();
    for text in texts.iter().filter(|text| is_name(text) && families.contains(&first(text))) {
        // `entry.v1.Entry` and the like are names of services, others of files and hosts.
        let ends = [".rs", ".pem", ".json", ".sock", ".sqlite3", ".test", ".org"];
        let is_elsewhere = text.contains(char::is_uppercase) || ends.iter().any(|end| text.ends_with(end));
        ensure!(is_elsewhere || all.contains(text.as_str()), "docs/telemetry.md does not name {text}");
    }
    ensure!(named.len() > 80, "docs/telemetry.md names {} measurements", named.len());
    println!("papers: {0} of {0} measurements as in the code", named.len());
    Ok(())
}

/// What the alerts and the dashboard ask for is measured.
#[test]
fn the_queries_of_alerts_and_dashboard_name_measurements_of_the_page() -> Result<()> {
    let page = read("docs/telemetry.md")?;
    let named: BTreeSet<String> = quoted(&page).into_iter().map(|name| name.replace('.', "_")).collect();
    let methods: BTreeSet<&str> = quoted(&page).into_iter().collect();
    let mut asked = BTreeSet::new();
    for path in ["deploy/prometheus/alerts.yml", "deploy/grafana/steeple.json"] {
        let text = read(path)?;
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // One that ends in an underscore is the beginning of a pattern.
        let words = words.filter(|word| !word.ends_with('_'));
        for word in words {
            let prefixes = ["spire_server_", "spire_agent_"];
            let Some(name) = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix)) else { continue };
            let base = ["_elapsed_time_sum", "_elapsed_time_count"].iter().find_map(|end| name.strip_suffix(end));
            let base = base.unwrap_or(name);
            let is_call = base.strip_prefix("rpc_").is_some_and(|rest| methods.iter().any(|it| rest.ends_with(it)));
            ensure!(is_call || named.contains(base), "{path}: {word} is not measured");
            asked.insert(word.to_owned());
        }
    }
    ensure!(asked.len() > 10, "the queries name {} measurements", asked.len());
    println!("papers: {0} of {0} names in queries are measured", asked.len());
    Ok(())
}

/// What stands between quotation marks in the crates, but for tests.
fn texts_of_the_code() -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for path in files("crates", "rs")? {
        let is_test =
            |part: std::path::Component<'_>| ["tests", "tests.rs"].map(AsRef::as_ref).contains(&part.as_os_str());
        let is_test = path.strip_prefix(root())?.components().any(is_test);
        if !is_test {
            let source = fs::read_to_string(&path)?;
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            texts.extend(lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned));
        }
    }
    Ok(texts)
}

#[test]
fn every_fault_has_tests_that_are_there_and_a_paragraph() -> Result<()> {
    let (tests, text) = (all_tests()?, read("docs/faults.md")?);
    let faults = faults(&text)?;
    let mut named = 0;
    for (number, held_by) in &faults {
        let names = quoted(held_by);
        ensure!(!names.is_empty(), "docs/faults.md, {number}: no test");
        for name in &names {
            ensure!(tests.contains(*name), "docs/faults.md, {number}: there is no test {name}");
        }
        named += names.len();
        let is_about = |line: &str| {
            let title = line.strip_prefix("**").and_then(|rest| rest.split_once(','));
            title.is_some_and(|(numbers, _)| numbers.split(" and ").any(|of| of == *number))
        };
        ensure!(text.lines().any(is_about), "docs/faults.md, {number}: no paragraph");
    }
    ensure!(!faults.is_empty(), "docs/faults.md has no fault");
    println!("papers: {named} of {named} tests of {} faults are there, each with its paragraph", faults.len());
    Ok(())
}

#[test]
fn every_outage_of_the_database_has_tests_that_are_there() -> Result<()> {
    let (tests, text) = (all_tests()?, read("docs/outages.md")?);
    let (_, table) = text.split_once("| Held by |").context("docs/outages.md has no table of outages")?;
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let mut named = 0;
    for row in &rows {
        let held_by = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let names = quoted(held_by);
        ensure!(!names.is_empty(), "docs/outages.md: no test in {row}");
        for name in &names {
            ensure!(tests.contains(*name), "docs/outages.md: there is no test {name}");
        }
        named += names.len();
    }
    ensure!(!rows.is_empty(), "docs/outages.md has no outage");
    println!("papers: {named} of {named} tests of {} outages are there", rows.len());
    Ok(())
}

/// The faults of the table, whose rows are number, fault, what workloads see, what is on disk, process, operator, tests.
/// Each as number and tests.
fn faults(text: &str) -> Result<Vec<(&str, &str)>> {
    let mut faults: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, fault, workloads, disk, process, operator, held_by, _] = cells[..] else { continue };
        if number == "No." || number.starts_with('-') {
            continue;
        }
        let all = [number, fault, workloads, disk, process, operator, held_by];
        ensure!(all.iter().all(|cell| !cell.is_empty()), "docs/faults.md, {number}: an empty cell");
        ensure!(faults.iter().all(|(other, _)| *other != number), "docs/faults.md, {number}: twice");
        faults.push((number, held_by));
    }
    Ok(faults)
}

/// A rule of a standard.
struct Rule<'t> {
    /// As in `X12`.
    number: &'t str,
    /// Tests, or why there are none.
    held_by: &'t str,
}

/// The rules of the conformance table, whose rows are number, section, force, rule, held by. Numbers count without a
/// gap below each heading.
fn rules(text: &str) -> Result<Vec<Rule<'_>>> {
    const FORCES: [&str; 5] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", ""];
    let (mut rules, mut count) = (Vec::new(), 0);
    for line in text.lines() {
        if line.starts_with('#') {
            count = 0;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, _, force, rule, held_by, _] = cells[..] else { continue };
        if number == "No." || number.starts_with('-') {
            continue;
        }
        count += 1;
        ensure!(number[1..] == count.to_string(), "docs/conformance.md: {number} should end with {count}");
        ensure!(FORCES.contains(&force), "docs/conformance.md, {number}: {force:?} is no force");
        ensure!(!rule.is_empty() && !held_by.is_empty(), "docs/conformance.md, {number}: an empty cell");
        rules.push(Rule { number, held_by });
    }
    Ok(rules)
}

#[test]
fn every_link_between_the_papers_leads_somewhere() -> Result<()> {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for Paper { path, text } in papers()? {
        for target in links(&text).into_iter().filter(|target| !target.contains("://")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { root().join(&path) } else { root().join(&path).with_file_name(file) };
            let found = to.exists() && (anchor.is_empty() || anchors(&fs::read_to_string(&to)?).contains(anchor));
            if !found {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    ensure!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    println!("papers: {count} of {count} links lead somewhere");
    Ok(())
}

#[test]
fn every_target_that_the_papers_name_is_in_the_makefile() -> Result<()> {
    let makefile = read("Makefile")?;
    let is_target = |name: &str| makefile.lines().any(|line| line.starts_with(&format!("{name}:")));
    for Paper { path, text } in papers()? {
        for name in quoted(&text).into_iter().chain(text.lines()).filter_map(|words| words.strip_prefix("make ")) {
            let name = name.split_whitespace().next().unwrap_or_default();
            ensure!(is_target(name), "{}: there is no target {name}", path.display());
        }
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// All files with this extension below a folder of the project.
fn files(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// One of the project's own texts.
struct Paper {
    /// From the project's root.
    path: PathBuf,
    text: String,
}

/// The texts in the project's root and in `docs`.
fn papers() -> Result<Vec<Paper>> {
    let mut paths = files("docs", "md")?;
    for entry in fs::read_dir(root())? {
        paths.push(entry?.path());
    }
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| Ok(Paper { text: fs::read_to_string(&path)?, path: path.strip_prefix(root())?.to_owned() }))
        .collect()
}

/// The plugins in the tables of built-ins, as folder and name, which is how their pages are called. A plugin is
/// `name: "disk", build: key_manager::disk::server`, or one of `node_attestors: &["join_token"]`.
fn plugins(tables: &str) -> BTreeSet<(String, String)> {
    let built = tables.split("name: \"").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once('"')?;
        let (_, rest) = rest.split_once("build: ")?;
        Some((rest.split("::").next()?.to_owned(), name.to_owned()))
    });
    let named = tables.lines().filter_map(|line| line.trim().split_once("s: &[\"")).flat_map(|(kind, rest)| {
        let names = rest.split('"').step_by(2).filter(|name| !name.contains(']'));
        names.map(move |name| (kind.to_owned(), name.to_owned()))
    });
    // In no table: a server has always had this one.
    built.chain(named).chain([("datastore".to_owned(), "sql".to_owned())]).collect()
}

/// For each key or block that a configuration shows in comments (`#key`, without a space), its line and the text of the
/// configuration with it.
fn shown_keys(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_shown =
        |line: &str| line.trim_start().strip_prefix('#').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    let mut shown = Vec::new();
    let mut first = 0;
    while first < lines.len() {
        if !is_shown(lines[first]) {
            first += 1;
            continue;
        }
        let indent = lines[first].split('#').next().unwrap_or_default();
        let end = format!("{indent}#}}");
        let is_block = lines[first].ends_with('{');
        let last = if is_block { (first..lines.len()).find(|at| lines[*at] == end).unwrap_or(first) } else { first };
        let with_it = lines.iter().enumerate().map(|(at, line)| match (first..=last).contains(&at) {
            true => format!("{}\n", line.replacen('#', "", 1)),
            false => format!("{line}\n"),
        });
        shown.push((first + 1, with_it.collect()));
        first = last + 1;
    }
    shown
}

/// The structs of a source text that are read out of a configuration: keys and types of their fields.
type Structs = BTreeMap<String, Vec<(String, String)>>;

fn structs_of(source: &str) -> Structs {
    let (mut structs, mut derives, mut inside, mut renamed) = (Structs::new(), false, None, None);
    for line in source.lines() {
        let line = line.trim();
        if line.starts_with("#[derive(") {
            derives = line.contains("Deserialize");
        } else if let Some((_, rest)) = line.split_once("struct ").filter(|_| line.ends_with(['{', '}'])) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            inside = derives.then(|| structs.entry(name).or_default()).filter(|_| line.ends_with('{'));
        } else if line == "}" {
            inside = None;
        } else if let Some(name) = line.strip_prefix("#[serde(rename = \"").and_then(|rest| rest.split('"').next()) {
            renamed = Some(name.to_owned());
        } else if let Some(fields) = inside.as_mut().filter(|_| !line.starts_with(['/', '#'])) {
            let field = line.trim_start_matches("pub(super) ").trim_start_matches("pub ");
            if let Some((name, kind)) = field.split_once(": ") {
                fields.push((renamed.take().unwrap_or_else(|| name.to_owned()), kind.to_owned()));
            }
        }
    }
    structs
}

/// The keys of all of them.
fn keys_of(source: &str) -> BTreeSet<String> {
    structs_of(source).into_values().flatten().map(|(key, _)| key).collect()
}

fn not_named<'a>(keys: &'a BTreeSet<String>, text: &str) -> Vec<&'a str> {
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    keys.iter().map(String::as_str).filter(|key| !words.contains(key)).collect()
}

/// What stands in backticks on a line.
fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The anchors that headings have: their words in lower case, with dashes between.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn the_readers_of_this_test_see_what_is_there() {
    let conf = "a = 1\n    #b = 2\n    # prose\n#c {\n#    # more\n#    d = 3\n#}\ne = 4\n";
    let texts: Vec<String> = shown_keys(conf).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts[0], conf.replace("#b", "b"));
    assert_eq!(texts[1], "a = 1\n    #b = 2\n    # prose\nc {\n    # more\n    d = 3\n}\ne = 4\n");
    let tables =
        "BuiltIn { name: \"disk\", build: key_manager::disk::server },\n    node_attestors: &[\"a\", \"b\"],\n";
    let plugin = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let expected = [
        plugin("datastore", "sql"),
        plugin("key_manager", "disk"),
        plugin("node_attestor", "a"),
        plugin("node_attestor", "b"),
    ];
    assert_eq!(plugins(tables), BTreeSet::from(expected));
    let source = "#[derive(Deserialize)]\npub struct A {\n    /// Doc: text\n    pub(super) one: String,\n    \
                  #[serde(rename = \"Two\")]\n    pub two: i64,\n}\n#[derive(Debug)]\nstruct B {\n    three: i64,\n}\n";
    assert_eq!(keys_of(source), BTreeSet::from(["Two".to_owned(), "one".to_owned()]));
    let table = "## One\n| No. | Section | Force | Rule | Held by |\n|---|---|---|---|---|\n\
                 | A1 | 2 | MUST | a | `t` |\n| A2 | 2 | | b | not ours: c |\n## Two\n| B1 | 1 | SHOULD | d | `u` |\n";
    let read: Vec<String> =
        rules(table).unwrap().iter().map(|rule| format!("{} {}", rule.number, rule.held_by)).collect();
    assert_eq!(read, ["A1 `t`", "A2 not ours: c", "B1 `u`"]);
    for wrong in [table.replace("A2", "A3"), table.replace("SHOULD", "MAY"), table.replace("`u`", "")] {
        assert!(rules(&wrong).is_err(), "{wrong}");
    }
    let table =
        "| No. | Fault | W | D | P | O | Held by |\n|---|---|---|---|---|---|---|\n| S1 | a | b | c | d | e | `t` |\n";
    assert_eq!(faults(table).unwrap(), [("S1", "`t`")]);
    for wrong in [table.replace("| c |", "|  |"), format!("{table}{table}")] {
        assert!(faults(&wrong).is_err(), "{wrong}");
    }
    assert_eq!(links("a [b](c.md#d) [e](f)"), ["c.md#d", "f"]);
    assert_eq!(quoted("`a` b `c`"), ["a", "c"]);
    assert_eq!(
        anchors("# What is \"here\"?\ntext\n## Two words"),
        ["two-words".to_owned(), "what-is-here".to_owned()].into()
    );
}
