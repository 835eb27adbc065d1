//! What the reference's agent answered on its sockets, call by call, and what ours answers: real daemons with the
//! recorded configurations. The calls of a server are replayed in `cmd/steeple-server/tests/api`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use steeple_testkit::calls::{Action, Place, Record, Records};
use steeple_tests::{Binaries, Installation, Scratch, case, free_port, say};
use steeple_transport::dial;
use steeple_transport::tls::Credential;
use tonic::transport::Channel;

#[test]
fn an_agent_answers_workloads_as_the_references_does() -> Result<()> {
    replay("workload")
}

#[test]
fn an_agent_answers_verifiers_that_are_nobody_as_the_references_does() -> Result<()> {
    replay("workload-unauthenticated")
}

#[test]
fn an_agent_answers_workloads_of_its_aliases_as_the_references_does() -> Result<()> {
    replay("workload-alias")
}

#[test]
fn an_agent_answers_its_administrators_as_the_references_does() -> Result<()> {
    replay("agent-admin")
}

fn replay(name: &str) -> Result<()> {
    case(async |scratch| {
        let records = Records {
            dir: Path::new(DATA).to_owned(),
            descriptors: &[
                steeple_proto::descriptors::PACKAGED,
                steeple_proto::descriptors::WORKLOAD,
                tonic_health::pb::FILE_DESCRIPTOR_SET,
                tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            ],
            unbuilt: &[],
            is_reference: Binaries::find()?.agent.is_reference,
        };
        let mut daemons = Daemons { scratch, ports: BTreeMap::new(), running: BTreeMap::new() };
        say(&records.replay(name, &mut daemons).await);
        Ok(())
    })
}

/// Records, configurations of agents, and that of a server of another trust domain.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/whole/data/api");
/// Configurations of servers, and files that configurations name.
const INPUTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cmd/steeple-server/tests/data/api");

/// Those of one file, by the names that it gives them.
struct Daemons<'a> {
    scratch: &'a Scratch,
    ports: BTreeMap<String, u16>,
    running: BTreeMap<String, Installation>,
}

impl Daemons<'_> {
    async fn start(&mut self, action: &Action) -> Result<()> {
        let Action { action, process, conf, join_token } = action;
        let binaries = Binaries::find()?;
        let (program, socket) = match action.as_str() {
            "start-server" => (&binaries.server, "api.sock"),
            "start-agent" => (&binaries.agent, "public/api.sock"),
            other => bail!("there is no action {other}"),
        };
        let dir = self.scratch.path().join(process);
        fs::create_dir(&dir)?;
        let mut installation = Installation::new(process, program, &dir);
        installation.socket = dir.join(socket);
        fs::write(&installation.conf, self.configuration(conf, process, &dir)?)?;
        let token = join_token.as_ref().map(|token| ["-joinToken", token]);
        installation.launch(token.as_ref().map_or(&[], |flags| &flags[..]))?;
        installation.healthy().await?;
        self.running.insert(process.clone(), installation);
        Ok(())
    }

    /// A recorded configuration with what it names in place.
    fn configuration(&mut self, conf: &str, process: &str, dir: &Path) -> Result<String> {
        let text = [DATA, INPUTS].iter().find_map(|from| fs::read_to_string(Path::new(from).join(conf)).ok());
        let text = text.with_context(|| format!("there is no {conf}"))?;
        let text = text.replace("${dir}", &dir.to_string_lossy()).replace("${inputs}", INPUTS);
        let mut filled = text.replace("${port}", &format!("${{port:{process}}}"));
        while let Some((_, rest)) = filled.split_once("${port:") {
            let name = rest.split('}').next().unwrap_or_default().to_owned();
            let port = match self.ports.get(&name) {
                Some(port) => *port,
                None => free_port()?,
            };
            self.ports.insert(name.clone(), port);
            filled = filled.replace(&format!("${{port:{name}}}"), &port.to_string());
        }
        Ok(filled)
    }

    fn socket(&self, record: &Record) -> PathBuf {
        let (process, socket) = match record.caller.as_str() {
            "local" => ("server", "api.sock"),
            "workload" => ("agent", "public/api.sock"),
            "agent-admin" => ("agent", "admin/admin.sock"),
            other => panic!("{other} calls no socket"),
        };
        let process = if record.process.is_empty() { process } else { &record.process };
        self.scratch.path().join(process).join(socket)
    }
}

impl Place for Daemons<'_> {
    async fn act(&mut self, action: &Action, _: &Record) {
        if let Err(error) = self.start(action).await {
            panic!("{} {}: {error:#}", action.action, action.process);
        }
    }

    fn channel(&self, record: &Record, _: Option<Credential>) -> Channel {
        dial::local(self.socket(record))
    }
}
