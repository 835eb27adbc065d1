//! A storm: all agents of a trust domain come back at once to a server that has just started, has little memory, and whose
//! database answers slowly. They are spoken by `steeple load return`; real ones may be among them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use nix::unistd::Uid;
use serde_json::{Value, json};
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, BatchDeleteEntryRequest};
use steeple_proto::spire::api::types::{Entry, Selector};
use steeple_spiffe::SpiffeId;
use steeple_transport::dial;
use steeple_transport::id::on_wire;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use crate::{Agent, Domain, Memory, Scratch, Shared, Toxiproxy, cannot_run_here, figures, say, steeple, within};

/// How long each answer of the database takes, in milliseconds.
const LATENCY: u64 = 50;
/// Entries of each agent.
const ENTRIES: u64 = 3;
/// In which all have attested, one after the other mostly.
const PREPARATION: Duration = Duration::from_secs(600);
/// New workloads at a time.
const NEWCOMERS: usize = 4;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Force {
    /// Agents that come back.
    pub agents: u64,
    /// What the server may have, in bytes.
    pub memory: u64,
    /// In which all of 99 in a hundred new workloads have their first SVID, where nothing else runs on the machine.
    pub newcomers: Option<Duration>,
}

impl Force {
    /// What is over within seconds, or with `STEEPLE_WHOLE_STORM` what a server is built for.
    pub fn of_environment() -> Self {
        if env::var_os("STEEPLE_WHOLE_STORM").is_some() {
            Self { agents: 2000, memory: 256 << 20, newcomers: Some(Duration::from_secs(2)) }
        } else {
            Self { agents: 300, memory: 96 << 20, newcomers: None }
        }
    }
}

/// A trust domain before it: all agents have attested, and are away.
pub struct Storm {
    /// Its server is held to its memory.
    pub domain: Domain,
    force: Force,
    memory: Memory,
    line: Toxiproxy,
}

impl Storm {
    /// A trust domain on PostgreSQL; None where it cannot be had, which is then said under `case`.
    ///
    /// # Errors
    /// It does not start, or cannot be had where everything must run.
    pub async fn before(case: &str, force: Force, scratch: &Scratch) -> Result<Option<Self>> {
        let shared = Shared::on_postgres(scratch).await?;
        let Some(line) = Toxiproxy::before(shared.port, case, scratch).await? else { return Ok(None) };
        let mut domain = Domain::builder().default_intervals().database(shared.through(line.port)).write(scratch)?;
        let memory = match Memory::of(&mut domain.server, scratch, force.memory) {
            Ok(memory) => memory,
            Err(reason) => return cannot_run_here(case, &format!("{reason:#}")).map(|()| None),
        };
        domain.server.start().await?;
        Ok(Some(Self { domain, force, memory, line }))
    }

    /// Lets it break loose while `agent`, a real one, serves workloads that are new. Fails unless every agent is back within
    /// its minute, as who it was, the server has kept to its memory, and no new workload was forgotten.
    ///
    /// # Errors
    /// One of these, or something that is needed is not there.
    pub async fn breaks_loose(&mut self, agent: &Agent) -> Result<()> {
        let Force { agents, memory: bound, newcomers } = self.force;
        let mut load = Load::start(&self.domain, agents).await?;
        let before = self.agents().await?;
        self.domain.server.stop().await?;
        self.line.poison("latency", json!({ "latency": LATENCY }), 1.0).await?;
        self.domain.server.start().await?;
        // It has found its server again by then.
        self.newcomer(agent, "first").await?;
        load.enter().await?;
        let over = Cell::new(false);
        let told = async {
            let told = within("all agents", load.told()).await?;
            over.set(true);
            told
        };
        let lanes = (0..NEWCOMERS).map(|lane| self.newcomers(agent, lane, &over));
        let (told, took) = tokio::try_join!(told, try_join_all(lanes))?;
        let (created, signed): (Vec<_>, Vec<_>) = took.concat().into_iter().unzip();
        let took: Vec<Duration> = created.iter().zip(&signed).map(|(created, signed)| *created + *signed).collect();

        let (peak, kills) = (self.memory.peak()?, self.memory.kills()?);
        let [p50, p99, max] =
            ["p50", "p99", "max"].map(|part| told["latency_ms"][part].as_f64().unwrap_or_default() / 1e3);
        say(&format!(
            "storm: {} of {agents} agents back with SVIDs and renewed: p50 {p50:.1} s, p99 {p99:.1} s, at most {max:.1} s; \
             {}; {:.0} of {:.0} MB at most; {:.1} s of CPU",
            told["operations"],
            told["notes"].as_array().and_then(|notes| notes.last()?.as_str()).unwrap_or_default(),
            mega(peak),
            mega(bound),
            told["cpu"]["seconds"].as_f64().unwrap_or_default(),
        ));
        say(&figures("storm: until an entry is created", created));
        say(&figures("storm: from there to its workload's first SVID", signed));
        say(&figures("storm: both", took.clone()));

        // What an agent does has failed if it is not done within a minute, with all that it was tried again.
        ensure!(told["operations"] == agents && told["failed"] == json!({}), "{told:#}");
        ensure!(self.domain.server.process()?.exited()?.is_none(), "the server has ended");
        ensure!(peak < bound && kills == 0, "{peak} bytes of {bound}, {kills} processes killed");
        // Their tokens are used up: who had lost its SVID could not have come back, and nobody has come in its place.
        ensure!(self.agents().await? == before, "other agents than before");
        let slow = newcomers.map_or(0, |most| took.iter().filter(|took| **took > most).count());
        ensure!(slow * 100 <= took.len(), "{slow} of {} new workloads waited for too long", took.len());
        Ok(())
    }

    /// New workloads, one after the other, until it is over; how long each of them has waited.
    async fn newcomers(&self, agent: &Agent, lane: usize, over: &Cell<bool>) -> Result<Vec<(Duration, Duration)>> {
        let mut took = Vec::new();
        while !over.get() {
            took.push(self.newcomer(agent, &format!("{lane}-{}", took.len())).await?);
        }
        Ok(took)
    }

    /// How long an entry takes to be created, and from then on a workload that connects to have its SVID.
    async fn newcomer(&self, agent: &Agent, name: &str) -> Result<(Duration, Duration)> {
        let (start, id) = (Instant::now(), self.domain.id(&format!("/newcomer/{name}")));
        let (r#type, value) = ("unix".to_owned(), format!("uid:{}", Uid::current()));
        let entry = Entry {
            id: format!("newcomer-{name}"),
            spiffe_id: Some(on_wire(&SpiffeId::parse(&id)?)),
            parent_id: Some(on_wire(&SpiffeId::parse(&agent.id)?)),
            selectors: vec![Selector { r#type, value }],
            ..Entry::default()
        };
        let ids = vec![entry.id.clone()];
        let mut entries = EntryClient::new(dial::local(&self.domain.server.socket));
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
        let results = within("an entry", entries.batch_create_entry(request)).await??.into_inner().results;
        let status = results.into_iter().next().and_then(|result| result.status).context("no result")?;
        ensure!(status.code == 0, "{status:?}");
        let created = start.elapsed();
        agent.workload().follow().until_id(&id).await?;
        let took = start.elapsed() - created;
        within("the end of an entry", entries.batch_delete_entry(BatchDeleteEntryRequest { ids })).await??;
        Ok((created, took))
    }

    /// Who has attested and is not banned.
    async fn agents(&self) -> Result<BTreeSet<String>> {
        let agents = self.domain.server.agents().await?;
        let good = agents.iter().filter(|agent| agent["banned"] == false);
        Ok(good.map(|agent| agent["id"].to_string()).collect())
    }
}

/// The agents: `steeple load return`.
struct Load {
    process: Child,
    input: ChildStdin,
    errors: Lines<BufReader<ChildStderr>>,
}

impl Load {
    /// Has them attest.
    async fn start(domain: &Domain, agents: u64) -> Result<Self> {
        let (socket, address) = (&domain.server.socket, format!("127.0.0.1:{}", domain.server.port));
        let mut command = Command::new(steeple()?);
        command.args(["load", "return", "-keep", "-output", "json", "-duration", "0", "-serverAddress", &address]);
        command.args(["-count", &agents.to_string(), "-size", &ENTRIES.to_string(), "-serverSocketPath"]).arg(socket);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("cannot start steeple")?;
        let (input, errors) = (process.stdin.take().context("no input")?, process.stderr.take().context("no errors")?);
        let mut lines = BufReader::new(errors).lines();
        let line = timeout(PREPARATION, lines.next_line()).await.context("the agents have not attested")??;
        ensure!(line.as_ref().is_some_and(|line| line.contains("are away")), "steeple load: {line:?}");
        Ok(Self { process, input, errors: lines })
    }

    /// Lets them come.
    async fn enter(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"\n").await?)
    }

    /// What it tells of them when they are back.
    async fn told(self) -> Result<Value> {
        let Self { process, input: _input, mut errors } = self;
        let told = async {
            let mut told = Vec::new();
            while let Ok(Some(line)) = errors.next_line().await {
                told.push(line);
            }
            told
        };
        let (output, told) = tokio::join!(process.wait_with_output(), told);
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).with_context(|| format!("steeple load: {}: {told:?} {text:?}", output.status))
    }
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
