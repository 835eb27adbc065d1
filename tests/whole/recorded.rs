//! What the reference's commands printed when they asked a running agent, asked of ours. The records are those of
//! `cmd/steeple-agent`, whose own test replays all that need no agent. What it answered to calls is in [`calls`].

mod admin;
mod calls;
mod unbuilt;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steeple_testkit::commands::{self, Outcome, Record};
use steeple_tests::{Agent, Domain, Scratch, case, say};

const RECORDS: &str = include_str!("../../cmd/steeple-agent/tests/data/cli.jsonl");
/// A bundle from a file, with two kinds of keys.
const STATIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cmd/steeple-server/tests/data/inputs/static.test.json");

#[test]
fn the_agents_commands_print_what_the_references_print() -> Result<()> {
    case(async |scratch| {
        let place = Place::new(scratch).await?;
        let Place { domain, agent, .. } = &place;
        let records = commands::records(RECORDS);
        let asking: Vec<&Record> = records.iter().filter(|record| asks_an_agent(record)).collect();
        let mut failing = Vec::new();
        for record in &asking {
            // The records tell in words what was registered when they were made, and are in that order.
            let federates = ["-federatesWith", "spiffe://static.test", "-federatesWith", "spiffe://partner.test"];
            if record.setup.starts_with("one entry") && domain.server.entry_ids().await?.is_empty() {
                let flags = [&federates[..], &["-entryID", "w-a", "-hint", "first", "-dns", "a.example.org"]].concat();
                domain.entry(&agent.id, "/workload/a", &flags).await?;
                agent.workload().follow().until("all bundles", |update| update.federated_bundles.len() == 2).await?;
            } else if record.setup.starts_with("two entries") && domain.server.entry_ids().await?.len() == 1 {
                let flags = [&federates[..], &["-entryID", "w-b"]].concat();
                domain.entry(&agent.id, "/workload/b", &flags).await?;
                agent.workload().follow().until("both SVIDs", |update| update.svids.len() == 2).await?;
            }
            failing.extend(place.difference(record).await?);
        }
        ensure!(failing.is_empty(), "{}", failing.join("\n"));
        say(&format!("recorded: {0} of {0} commands to a running agent are equal", asking.len()));
        Ok(())
    })
}

#[test]
fn agents_that_cannot_attest_log_what_the_references_log() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().default_intervals().start(scratch).await?;
        let stranger = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("bad").await?;
        let records = commands::records(RECORDS);
        let recorded = |name| records.iter().find(|record| record.name == name).with_context(|| format!("no {name}"));
        let dir = scratch.path().display().to_string();
        let (data_dir, before) = (agent.data_dir.display().to_string(), agent.socket.display().to_string());
        let bundle = agent.data_dir.with_extension("pem");
        // The directory of the socket is made by the agent, as in the records.
        agent.socket = scratch.path().join("bad/api.sock");
        agent.reconfigure(|conf| conf.replace(&before, &agent.socket.display().to_string()))?;
        for (name, server, flags) in [
            ("run-agent-unknown-token", &stranger.server, &["-joinToken", "nosuchtoken"][..]),
            ("run-agent-no-token", &domain.server, &[]),
        ] {
            fs::write(&bundle, server.bundle_pem().await?)?;
            let before = agent.written().unwrap_or_default().len();
            agent.launch(flags)?;
            agent.process()?.line("Failed to retrieve attestation result").await?;
            agent.stop().await?;
            let told = agent.written()?.split_off(before).replace(&data_dir, "data/bad").replace(&dir, "${dir}");
            let expected: Vec<String> = recorded(name)?.stdout.lines().filter_map(lasting).collect();
            let found: Vec<String> = told.lines().filter_map(lasting).collect();
            ensure!(expected == found, "{name}:\n{}\nfound:\n{}", expected.join("\n"), found.join("\n"));
        }
        Ok(())
    })
}

/// A log line without what is another one in each run; None if it is one that only one of the two has.
fn lasting(line: &str) -> Option<String> {
    if ONE_SIDED.iter().any(|(text, _)| line.contains(text)) {
        return None;
    }
    let (_, rest) = line.split_once(' ')?;
    let end = [" retry_interval=", " version="].into_iter().find_map(|field| rest.find(field));
    let rest = &rest[..end.unwrap_or(rest.len())];
    // Of a connection, where and why it failed; the words for the way to there are those of the libraries.
    let connection = rest.split_once("code = Unavailable desc = ");
    Some(match connection.and_then(|(before, after)| Some((before, after.rsplit_once(": x509: ")?.1))) {
        Some((before, why)) => format!("{before}{}", why.replace('\\', "").replace("\"\"", "\"")),
        None => rest.to_owned(),
    })
}

/// Lines that only one of the two has, and why.
const ONE_SIDED: &[(&str, &str)] = &[
    ("Creating admin UDS directory", "these agents have no administrative socket here"),
    ("Keys recovered, but no SVID found", "ours asks again with the key of an attempt without an answer"),
    ("The last attestation has had no answer", "the same"),
];

/// Whether a record was made with an agent's public socket; those of the administrative one are in [`admin`].
fn asks_an_agent(record: &Record) -> bool {
    let socket = record.env.get("SPIRE_AGENT_PUBLIC_SOCKET").map_or("", String::as_str);
    socket == "agent/api.sock" || record.name == "agent-instance-running"
}

/// An agent whose socket is where that of the records was, and another trust domain.
struct Place<'a> {
    scratch: &'a Scratch,
    domain: Domain,
    agent: Agent,
    partner: Domain,
}

impl<'a> Place<'a> {
    async fn new(scratch: &'a Scratch) -> Result<Self> {
        let domain = Domain::builder().start(scratch).await?;
        let partner = Domain::builder().name("partner.test").start(scratch).await?;
        let bundle = scratch.path().join("partner.json");
        fs::write(&bundle, partner.server.command(&["bundle", "show", "-format", "spiffe"]).await?.ok()?)?;
        for (id, path) in [("spiffe://static.test", Path::new(STATIC)), ("spiffe://partner.test", &bundle)] {
            let set = ["bundle", "set", "-format", "spiffe", "-id", id, "-path", &path.to_string_lossy()];
            domain.server.command(&set).await?.ok()?;
        }
        let agent = domain.agent("node1").await?;
        for name in ["agent", "out"] {
            fs::create_dir(scratch.path().join(name))?;
        }
        symlink(&agent.socket, scratch.path().join("agent/api.sock"))?;
        Ok(Self { scratch, domain, agent, partner })
    }

    async fn difference(&self, record: &Record) -> Result<Option<String>> {
        let mut record = (*record).clone();
        self.put_tokens(&mut record).await?;
        // Of other trust domains the reference tells in any order.
        let record =
            if record.args.starts_with(&["api".into(), "fetch".into()]) { record.in_any_order() } else { record };
        let program = self.agent.program.path.to_string_lossy();
        let child = record.start(commands::program(&program, "spire-agent", self.scratch.path()));
        let outcome = if record.setup.contains("SIGINT") {
            interrupted(child, &record)?
        } else {
            Outcome::of(child, self.scratch.path())
        };
        Ok(record.difference(&outcome))
    }

    /// Recorded tokens are over; these are in their places.
    async fn put_tokens(&self, record: &mut Record) -> Result<()> {
        let Some(at) = record.args.iter().position(|arg| arg == "-svid").map(|at| at + 1) else { return Ok(()) };
        let recorded = record.args[at].clone();
        let Some((_, signature)) = recorded.rsplit_once('.') else { return Ok(()) };
        let token = if record.name.contains("foreign") {
            let mint = ["jwt", "mint", "-spiffeID", "spiffe://partner.test/w", "-audience", "aud1"];
            self.partner.server.command(&mint).await?.ok()?.trim().to_owned()
        } else {
            let svids = self.agent.workload().jwt_svids("aud1").await?;
            svids.into_iter().find(|svid| svid.spiffe_id.ends_with("/a")).context("no token")?.svid
        };
        let (signed, _) = token.rsplit_once('.').context("no signature")?;
        record.args[at] = if signature == "AAAA" { format!("{signed}.AAAA") } else { token };
        Ok(())
    }
}

/// Waits for what came before the signal, sends it, and reads the rest.
fn interrupted(mut child: Child, record: &Record) -> Result<Outcome> {
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut stderr = BufReader::new(child.stderr.take().context("no stderr")?);
    let (mut printed, mut said) = (String::new(), String::new());
    if record.stdout.is_empty() {
        // Its last line is about the signal.
        (1..record.stderr.lines().count()).try_for_each(|_| stderr.read_line(&mut said).map(drop))?;
    } else {
        (0..record.stdout.lines().count()).try_for_each(|_| stdout.read_line(&mut printed).map(drop))?;
    }
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    stdout.read_to_string(&mut printed)?;
    stderr.read_to_string(&mut said)?;
    Ok(Outcome { stdout: printed, stderr: said, exit: child.wait()?.code() })
}
