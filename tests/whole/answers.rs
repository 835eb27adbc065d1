//! Each command of both daemons answers programs, too: with `-output json` it prints JSON and nothing else, however much it
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use steeple_tests::{Daemon, Domain, Installation, Output, case, say, skipped_on_the_reference};

/// A bundle from a file.
const STATIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cmd/steeple-server/tests/data/inputs/static.test.json");

/// The commands of a server in an order in which each finds what it needs, and what stands behind them. Names in braces
/// are values of the case, or of an answer before.
const OF_THE_SERVER: &[(&str, &str)] = &[
    ("healthcheck", ""),
    ("validate", "-config {conf}"),
    ("token generate", "-spiffeID spiffe://example.org/named"),
    ("entry create", "-entryID one -parentID {agent} -spiffeID spiffe://example.org/one -selector unix:uid:1"),
    ("entry update", "-entryID one -parentID {agent} -spiffeID spiffe://example.org/two -selector unix:uid:1"),
    ("entry show", "-entryID one"),
    ("entry count", ""),
    ("entry explain", "-agent {agent} -selector unix:uid:1"),
    ("entry delete", "-entryID one"),
    ("bundle set", "-id spiffe://static.test -format spiffe -path {static}"),
    ("bundle show", ""),
    ("bundle list", ""),
    ("bundle count", ""),
    ("bundle delete", "-id spiffe://static.test"),
    (
        "federation create",
        "-trustDomain web.test -bundleEndpointURL https://127.0.0.1:9/ -bundleEndpointProfile https_web",
    ),
    (
        "federation update",
        "-trustDomain web.test -bundleEndpointURL https://127.0.0.1:9/b -bundleEndpointProfile https_web",
    ),
    ("federation list", ""),
    ("federation show", "-trustDomain web.test"),
    ("federation delete", "-id web.test"),
    ("x509 mint", "-spiffeID spiffe://example.org/minted"),
    ("jwt mint", "-spiffeID spiffe://example.org/minted -audience a"),
    ("localauthority jwt show", ""),
    ("localauthority jwt prepare", ""),
    ("localauthority jwt activate", "-authorityID {prepared}"),
    ("localauthority jwt taint", "-authorityID {active}"),
    ("localauthority jwt revoke", "-authorityID {active}"),
    ("logger get", ""),
    ("logger set", "-level warn"),
    ("logger reset", ""),
    ("debug getinfo", ""),
    ("reload", ""),
    ("store status", ""),
    ("inventory count", "-config {conf}"),
    ("inventory list", "-config {conf}"),
    ("inventory verify", "-config {conf}"),
    ("backup", "-config {conf} -out {archive}"),
    ("restore", "-config {empty} -in {archive} -force"),
    ("migrate", "-config {conf} -to {database}"),
    ("agent list", ""),
    ("agent count", ""),
    ("agent show", "-spiffeID {agent}"),
    ("agent purge", "-expiredFor 1h"),
    ("agent ban", "-spiffeID {agent}"),
    ("agent evict", "-spiffeID {agent}"),
    ("localauthority x509 show", ""),
    ("localauthority x509 prepare", ""),
    ("localauthority x509 activate", "-authorityID {prepared}"),
    ("localauthority x509 taint", "-authorityID {active}"),
    ("localauthority x509 revoke", "-authorityID {active}"),
];

/// Those that do not answer once, or need more than there is here.
const OTHERS_OF_THE_SERVER: &[&str] = &[
    // What it writes is the log, which has a form of its own.
    "run",
    // A script for a shell.
    "completion",
    // They need a server above, or one that serves a bundle; compared with the recorded ones in `cmd/steeple-server`.
    "federation refresh",
    "upstreamauthority revoke",
    "upstreamauthority taint",
];

const OF_THE_AGENT: &[(&str, &str)] = &[
    ("healthcheck", ""),
    ("validate", "-config {conf}"),
    ("api fetch x509", ""),
    ("api fetch jwt", "-audience a"),
    ("api validate jwt", "-audience a -svid {token}"),
    ("debug getinfo", "-socketPath {admin}"),
    ("logger get", "-socketPath {admin}"),
    ("logger set", "-level warn -socketPath {admin}"),
    ("logger reset", "-socketPath {admin}"),
];

const OTHERS_OF_THE_AGENT: &[&str] = &["run", "completion", WATCH];
/// It goes on until it is told to stop, with a line of JSON each time.
const WATCH: &str = "api watch";

#[test]
fn each_command_of_both_daemons_answers_in_json() -> Result<()> {
    case(async |scratch| {
        let inventory = "experimental { steeple { inventory { sink = \"file\" } } }";
        let domain = Domain::builder().default_intervals().server_text(inventory).start(scratch).await?;
        if domain.server.program.is_reference {
            skipped_on_the_reference("-output json", "not all of its commands know it");
            return Ok(());
        }
        let mut agent = domain.new_agent("node1").await?;
        let (public, admin) = (scratch.path().join("public/api.sock"), scratch.path().join("private/admin.sock"));
        let before = agent.socket.display().to_string();
        agent.socket = public;
        agent.reconfigure(|conf| {
            let key = format!("agent {{\n    admin_socket_path = \"{}\"\n", admin.display());
            conf.replace(&before, &agent.socket.display().to_string()).replacen("agent {\n", &key, 1)
        })?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/web")).await?;

        let token = agent.workload().jwt_svids("a").await?.swap_remove(0).svid;
        let values = BTreeMap::from([("conf", text(&agent.conf)), ("admin", text(&admin)), ("token", token)]);
        let of_the_agent = asked(&agent, OF_THE_AGENT, OTHERS_OF_THE_AGENT, values).await?;
        let args = ["api", "watch", "-output", "json", "-socketPath", &text(&agent.socket)];
        let mut watch = Daemon::start(WATCH, &agent.program.path, &args, &scratch.path().join("watch.log"))?;
        let line: Value = serde_json::from_str(&watch.line("spiffe_id").await?)?;
        ensure!(line["svids"][0]["spiffe_id"] == domain.id("/web"), "{line}");
        ensure!(line["svids"][0]["x509_svid_key"].is_null(), "a key where it is watched");

        let (database, empty) = (scratch.path().join("to.conf"), domain.another_server("empty", None)?);
        let sqlite = scratch.path().join("migrated.sqlite3");
        let keys = format!("database_type = \"sqlite3\"\nconnection_string = \"{}\"\n", sqlite.display());
        std::fs::write(&database, keys)?;
        let own = text(&domain.server.data_dir);
        empty.reconfigure(|conf| conf.replace(&own, &text(&empty.data_dir)))?;
        let values = BTreeMap::from([
            ("conf", text(&domain.server.conf)),
            ("agent", agent.id.clone()),
            ("static", STATIC.to_owned()),
            ("archive", text(&scratch.path().join("archive"))),
            ("database", text(&database)),
            ("empty", text(&empty.conf)),
        ]);
        let of_the_server = asked(&domain.server, OF_THE_SERVER, OTHERS_OF_THE_SERVER, values).await?;
        say(&format!("answers: {of_the_server} commands of the server and {of_the_agent} of the agent answer in JSON"));
        Ok(())
    })
}

#[test]
fn an_import_of_more_entries_than_one_call_takes_is_whole_and_told_in_its_order() -> Result<()> {
    const COUNT: usize = 1500;
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let entry = |number: usize| {
            json!({
                "entry_id": format!("e-{number}"),
                "parent_id": "spiffe://example.org/node",
                "spiffe_id": format!("spiffe://example.org/{number}"),
                "selectors": [{"type": "unix", "value": "uid:1"}],
            })
        };
        let entries: Vec<_> = (0..COUNT).map(entry).collect();
        let file = scratch.path().join("entries.json");
        std::fs::write(&file, json!({ "entries": entries }).to_string())?;
        let created = domain.server.command(&["entry", "create", "-data", &text(&file), "-output", "json"]).await?;
        let results = created.json()?["results"].take();
        let id = |result: &Value| result["entry"]["id"].as_str().map(str::to_owned);
        let ids: Vec<_> = results.as_array().context("no results")?.iter().filter_map(id).collect();
        let wanted: Vec<_> = (0..COUNT).map(|number| format!("e-{number}")).collect();
        ensure!(ids == wanted, "{} results: {ids:?}", ids.len());
        let shown = domain.server.entry_ids().await?;
        ensure!(shown.len() == COUNT, "{} entries", shown.len());
        Ok(())
    })
}

/// Runs all commands of a program, which are those of the lists; returns how many have answered.
async fn asked(
    program: &Installation,
    asked: &[(&str, &str)],
    others: &[&str],
    mut values: BTreeMap<&'static str, String>,
) -> Result<usize> {
    let script = Output::of(&program.program.path, &["completion", "bash"]).await?.ok()?;
    let listed: BTreeSet<_> = asked.iter().map(|(words, _)| *words).chain(others.iter().copied()).collect();
    let there = commands(&script);
    ensure!(there.iter().map(String::as_str).eq(listed.iter().copied()), "{there:?} are not {listed:?}");
    for (words, flags) in asked {
        let filled = values
            .iter()
            .fold((*flags).to_owned(), |flags, (name, value)| flags.replace(&format!("{{{name}}}"), value));
        let mut args: Vec<_> = words.split(' ').chain(filled.split_whitespace()).chain(["-output", "json"]).collect();
        let socket = text(&program.socket);
        // What works on files knows no socket.
        if !filled.contains("-config") && !filled.contains("-socketPath") {
            args.extend(["-socketPath", &socket]);
        }
        let printed = Output::of(&program.program.path, &args).await?.ok()?;
        let lines: Vec<Value> = printed
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{words}: {printed}"))?;
        ensure!(
            !lines.is_empty() && lines.iter().all(|line| line.is_object() || line.is_array()),
            "{words} printed {printed:?}"
        );
        for (value, member) in [("prepared", "prepared_authority"), ("active", "active")] {
            if let Some(id) = lines[0][member]["authority_id"].as_str() {
                values.insert(value, id.to_owned());
            }
        }
    }
    Ok(asked.len())
}

/// The commands that do something, as the completion of a shell knows them, in their order.
fn commands(script: &str) -> BTreeSet<String> {
    let groups: BTreeMap<&str, Vec<&str>> = script
        .lines()
        .filter_map(|line| {
            let (path, rest) = line.trim().strip_prefix('\'')?.split_once("') COMPREPLY=($(compgen -W '")?;
            Some((path, rest.split_once('\'')?.0.split(' ').collect()))
        })
        .collect();
    let below = groups.iter().flat_map(|(path, names)| names.iter().map(move |name| format!("{path} {name}")));
    below.map(|command| command.trim().to_owned()).filter(|command| !groups.contains_key(&**command)).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
