//! `steeple load` against whole daemons: each operation does what it says, and leaves nothing behind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_tests::{
    Agent, Daemon, Domain, Installation, Output, Scratch, case, say, skipped_on_the_reference, steeple, until,
};

#[test]
fn each_operation_tells_what_it_costs_the_daemon() -> Result<()> {
    case(async |scratch| {
        let (domain, agent) = start(scratch).await?;
        let entries = domain.server.entry_ids().await?;
        let load = Load { domain: &domain, agent: &agent };
        let server = [
            "mint -count 20 -warmUp 2",
            "mint-jwt -count 20 -warmUp 2 -concurrency 1",
            "batch -count 20 -warmUp 2 -size 3 -agents 3",
            "jwt -count 20 -warmUp 2 -rate 200",
            "authorized -count 20 -warmUp 2 -size 30",
            "entries -count 20 -size 1 -parents 3",
            "list -count 20 -warmUp 2 -size 2",
            "list -count 20 -warmUp 2 -by parent -size 30",
            "list -count 20 -warmUp 2 -by id -size 3",
            "list -count 20 -warmUp 2 -by selector -size 3",
            "attest -count 20 -warmUp 2",
            "renew -count 20 -warmUp 2 -size 8 -concurrency 4",
            "arrival -count 2 -pause 0",
            "change -count 20 -warmUp 2 -size 3",
            "agents -count 3 -duration 0 -size 2",
            "return -count 3 -duration 0 -size 2",
        ];
        for line in server {
            if ["agents", "change", "return"].iter().any(|held| line.starts_with(held))
                && domain.server.program.is_reference
            {
                skipped_on_the_reference(line, "it has no stream for agents");
                continue;
            }
            load.measures(line, &domain.server).await?;
        }
        for line in ["fetch", "fetch-held", "fetch-jwt"] {
            load.measures(&format!("{line} -count 20 -warmUp 2"), &agent).await?;
        }
        let held = load.measures("held -count 20 -duration 10ms", &agent).await?;
        ensure!(held["bytes_per_stream"].is_number(), "{held}");
        let idle = load.output("idle -duration 10ms -output json").await?.json()?;
        ensure!(idle["operations"] == 0 && idle["seconds"].as_f64() >= Some(0.01), "{idle}");

        let text = load.output("mint -count 5 -warmUp 1").await?.ok()?;
        ensure!(text.starts_with("mint: 5 operations in "), "{text}");
        let kept = load.output("entries -count 3 -keep -output json").await?.json()?;
        assert_eq!(kept["items"]["count"], 3);
        // Those that were asked to stay, and nothing else that any of these runs has made.
        let left = domain.server.entry_ids().await?;
        assert_eq!((left.len(), left.is_superset(&entries)), (entries.len() + 3, true), "{left:?}");
        let agents = domain.server.agents().await?;
        assert_eq!(agents.len(), 1, "{agents:?}");
        Ok(())
    })
}

#[test]
fn a_signal_ends_a_run_with_what_was_measured_and_takes_away_what_it_made() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let (program, log) = (steeple()?, scratch.path().join("load.log"));
        let socket = domain.server.socket.to_string_lossy();
        let args = "load entries -count 1000000 -size 1 -concurrency 1 -duration 1h -output json -serverSocketPath";
        let args: Vec<&str> = args.split(' ').chain([&*socket]).collect();
        let run = Daemon::start("load", &program, &args, &log)?;
        until("an entry of the run", async || {
            domain.server.entry_ids().await.is_ok_and(|ids| !ids.is_empty()).then_some(())
        })
        .await?;
        let status = run.stop().await?;
        let printed = fs::read_to_string(&log)?;
        ensure!(status.success(), "{status}: {printed}");
        let told: Value = serde_json::from_str(&printed).with_context(|| printed.clone())?;
        ensure!(told["interrupted"] == true && told["operations"].as_u64() > Some(0), "{told}");
        assert_eq!(domain.server.entry_ids().await?, [].into());
        Ok(())
    })
}

#[test]
fn says_what_is_in_the_way_and_what_to_do() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let load = Load { domain: &domain, agent: &agent };

        let text = load.output("fetch -count 1").await?.refused()?;
        ensure!(text.contains("no identity issued") && text.contains("entry create -parentID"), "{text}");
        let text = load.output("mint -count 1 -serverSocketPath /no/such.sock").await?.refused()?;
        let told = "cannot connect to the server's administrative socket, /no/such.sock: no such file or directory\n\
                    start the daemon, or say with -serverSocketPath where its socket is";
        ensure!(text.contains(told), "{text}");
        let (socket, free) = (agent.socket.display(), steeple_tests::free_port()?);
        let text = load.output(&format!("mint -count 1 -serverSocketPath {socket}")).await?.refused()?;
        ensure!(text.contains("does -serverSocketPath name the administrative socket of a server"), "{text}");
        let text = load.output(&format!("jwt -count 1 -serverAddress 127.0.0.1:{free}")).await?.refused()?;
        ensure!(text.contains("does -serverAddress say where the server listens?"), "{text}");
        Ok(())
    })
}

/// A trust domain whose agent has an identity for this process.
async fn start(scratch: &Scratch) -> Result<(Domain, Agent)> {
    let domain = Domain::builder().start(scratch).await?;
    let agent = domain.agent("node1").await?;
    domain.entry(&agent.id, "/load", &[]).await?;
    agent.workload().follow().until_id("spiffe://example.org/load").await?;
    Ok((domain, agent))
}

struct Load<'a> {
    domain: &'a Domain,
    agent: &'a Agent,
}

impl Load<'_> {
    /// Runs an operation, and looks at what it tells of the daemon: all that were asked for, none failed, and every figure
    /// there.
    async fn measures(&self, line: &str, daemon: &Installation) -> Result<Value> {
        let told = self.output(&format!("{line} -output json")).await?.json()?;
        let words: Vec<&str> = line.split(' ').collect();
        let count: u64 = words.iter().skip_while(|word| **word != "-count").nth(1).context("no count")?.parse()?;
        let whole = || format!("{line}: {told:#}");
        ensure!(told["operation"] == words[0] && told["interrupted"] == false, "{}", whole());
        ensure!(told["operations"] == count && told["failed"] == serde_json::json!({}), "{}", whole());
        let program = fs::read_link(Path::new("/proc").join(told["process"]["pid"].to_string()).join("exe"))?;
        ensure!(program == daemon.program.path.canonicalize()?, "{}", whole());
        for figure in
            ["/cpu/seconds", "/cpu/us_per_operation", "/latency_ms/p50", "/latency_ms/max", "/resident_bytes/after"]
        {
            ensure!(told.pointer(figure).and_then(Value::as_f64) > Some(0.0), "no {figure} in {}", whole());
        }
        say(&format!("load: {line}: {} us of CPU an operation", told["cpu"]["us_per_operation"]));
        Ok(told)
    }

    /// Runs `steeple load` with a line of arguments, and with the sockets and the address that its operation takes.
    async fn output(&self, line: &str) -> Result<Output> {
        let mut args: Vec<String> = ["load"].into_iter().chain(line.split(' ')).map(str::to_owned).collect();
        let operation = line.split(' ').next().unwrap_or_default();
        let is_agents = ["fetch", "fetch-held", "fetch-jwt", "held"].contains(&operation);
        let mut put = |flag: &str, value: String| {
            if !line.contains(flag) {
                args.extend([flag.to_owned(), value]);
            }
        };
        if !is_agents {
            put("-serverSocketPath", self.domain.server.socket.display().to_string());
        }
        if is_agents || operation == "arrival" {
            put("-agentSocketPath", self.agent.socket.display().to_string());
        }
        if ["batch", "jwt", "authorized", "change", "attest", "renew", "agents", "return"].contains(&operation) {
            put("-serverAddress", format!("127.0.0.1:{}", self.domain.server.port));
        }
        Output::of(&steeple()?, &args.iter().map(String::as_str).collect::<Vec<_>>()).await
    }
}
