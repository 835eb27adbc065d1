//! Daemons in this process, whose services targets call on their sockets: decoding, layers and handlers are those of the
//! programs. What they store is where `TMPDIR` says, which `.ci/fuzz` has in memory, and their clock stands still until
//! somebody waits for it.
//!
//! Of an input the first byte says which method of the service is called, and by whom; the rest is the message.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use steeple_pki::{KeyType, Name, PrivateKey, certificate, csr};
use steeple_proto::descriptors;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types::{AttestationData, Entry, Selector, Spiffeid};
use steeple_runtime::logging::Log;
use steeple_runtime::signals::Signals;
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::{Certificate, SpiffeId};
use steeple_testkit::ManualClock;
use steeple_testkit::wire::Schema;
use steeple_testkit::wire::malformed::{framed, is_clear};
use steeple_testkit::wire::raw::ask;
use steeple_transport::dial;
use steeple_transport::tls::{Credential, Expect, client_config};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;

/// In the first byte: whether an agent calls over the network, and not a process of this host.
const BY_AGENT: u8 = 0x80;

/// The header that the Workload API wants, and nobody else minds.
const OF_WORKLOADS: &[(&str, &str)] = &[("workload.spiffe.io", "true")];

/// How long a call takes that waits for nothing.
const PATIENCE: Duration = Duration::from_millis(50);

/// The token of the agent that calls, and of the one that runs.
const TOKENS: [&str; 2] = ["caller", "running"];

/// A service of a daemon that runs in this process.
pub struct Service {
    runtime: Runtime,
    clock: ManualClock,
    /// The paths of its methods, and whether each streams its answers.
    methods: Vec<(String, bool)>,
    local: Channel,
    agent: Channel,
    _dir: TempDir,
}

impl Service {
    /// One of the server's, by its full name.
    pub fn of_server(name: &str) -> Self {
        let (dir, runtime, clock) = (directory(), runtime(), ManualClock::new(Clock::system().now()));
        let (agent, local) = runtime.block_on(async {
            let (_, agent) = server(dir.path(), &clock).await;
            (agent, dial::local(dir.path().join("server.sock")))
        });
        Self { runtime, clock, methods: methods(name), local, agent, _dir: dir }
    }

    /// One of the agent's, by its full name and the socket that it is on.
    pub fn of_agent(name: &str, socket: &str) -> Self {
        let (dir, runtime, clock) = (directory(), runtime(), ManualClock::new(Clock::system().now()));
        let local = runtime.block_on(async {
            let (port, _) = server(dir.path(), &clock).await;
            agent(dir.path(), port, &clock).await;
            dial::local(dir.path().join(socket))
        });
        Self { runtime, clock, methods: methods(name), agent: local.clone(), local, _dir: dir }
    }

    /// Calls what an input says. The answer is one that a caller can do something with.
    pub fn call(&self, input: &[u8]) {
        let Some((first, message)) = input.split_first() else { return };
        let channel = if first & BY_AGENT == 0 { &self.local } else { &self.agent };
        let (method, streams_answers) = &self.methods[usize::from(first & !BY_AGENT) % self.methods.len()];
        let body = framed(0, message.len(), message).into();
        let asked = ask(channel, method, OF_WORKLOADS, body, *streams_answers);
        let status = self.runtime.block_on(self.passing(asked)).expect("an answer").status;
        assert!(is_clear(status.code(), status.message()), "{method}: {status:?}");
    }

    /// Time passes while a call takes long: it may wait for its turn under a limit.
    async fn passing<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            match tokio::time::timeout(PATIENCE, &mut call).await {
                Ok(answer) => return answer,
                Err(_) => self.clock.advance(Duration::from_secs(1)),
            }
        }
    }
}

fn methods(service: &str) -> Vec<(String, bool)> {
    let schema = Schema::new(&[descriptors::PACKAGED, descriptors::WORKLOAD, tonic_health::pb::FILE_DESCRIPTOR_SET]);
    let methods = schema.methods(|name| name == service);
    assert!(!methods.is_empty(), "there is no {service}");
    methods.into_iter().map(|method| (method.to_owned(), schema.streams_answers(method))).collect()
}

/// Starts a server that knows two agents, with an entry each. Returns its port, and the way of one of them to it.
async fn server(dir: &Path, clock: &ManualClock) -> (u16, Channel) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|bound| bound.local_addr()).expect("a port").port();
    let text = format!(
        r#"server {{
            trust_domain = "example.org"
            bind_address = "127.0.0.1"
            bind_port = {port}
            socket_path = "{dir}/server.sock"
            data_dir = "{dir}"
            log_file = "/dev/null"
            experimental {{ feature_flags = ["wit-svid"] }}
            ca_ttl = "87600h"
            agent_ttl = "8760h"
            ratelimit {{ attestation = false, signing = false }}
        }}
        plugins {{
            DataStore "sql" {{
                plugin_data {{ database_type = "sqlite3", connection_string = "{dir}/datastore.sqlite3" }}
            }}
            KeyManager "memory" {{ plugin_data {{}} }}
            NodeAttestor "join_token" {{ plugin_data {{}} }}
        }}"#,
        dir = dir.display(),
    );
    let config =
        steeple_server::config::Config::parse(&text, "server.conf", Default::default()).expect("a server.conf");
    let log = Log::open(config.log.clone(), clock.clock()).expect("a log");
    let process = steeple_server::Process::without_file(log, clock.clock(), Shutdown::new());
    daemon(move || steeple_server::run(config, &steeple_plugins::SERVER, process));

    let local = dial::local(dir.join("server.sock"));
    for token in TOKENS {
        let request = CreateJoinTokenRequest { token: token.to_owned(), ttl: 600, agent_id: None };
        while AgentClient::new(local.clone()).create_join_token(request.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let id = |path: String| Some(Spiffeid { trust_domain: "example.org".to_owned(), path });
        let uid = std::fs::metadata(dir).map(|dir| std::os::unix::fs::MetadataExt::uid(&dir)).expect("an owner");
        let entry = Entry {
            id: format!("of-{token}"),
            spiffe_id: id("/web".to_owned()),
            parent_id: id(format!("/spire/agent/join_token/{token}")),
            selectors: vec![Selector { r#type: "unix".to_owned(), value: format!("uid:{uid}") }],
            ..Entry::default()
        };
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
        EntryClient::new(local.clone()).batch_create_entry(request).await.expect("an entry");
    }
    let credential = attest(channel(port, None, clock)).await;
    (port, channel(port, Some(credential), clock))
}

/// Starts the other agent, and waits until it has an SVID for this process.
async fn agent(dir: &Path, port: u16, clock: &ManualClock) {
    let text = format!(
        r#"agent {{
            trust_domain = "example.org"
            server_address = "127.0.0.1"
            server_port = {port}
            socket_path = "{dir}/public/agent.sock"
            admin_socket_path = "{dir}/private/admin.sock"
            data_dir = "{dir}/agent"
            log_file = "/dev/null"
            insecure_bootstrap = true
            join_token = "running"
        }}
        plugins {{
            KeyManager "memory" {{ plugin_data {{}} }}
            NodeAttestor "join_token" {{ plugin_data {{}} }}
            WorkloadAttestor "unix" {{ plugin_data {{}} }}
        }}"#,
        dir = dir.display(),
    );
    let config = steeple_agent::config::Config::parse(&text, "agent.conf", Default::default()).expect("an agent.conf");
    let log = Log::open(config.log.clone(), clock.clock()).expect("a log");
    let (signals, shutdown) = (Signals::none(), Shutdown::new());
    let process = steeple_agent::Process { log, clock: clock.clock(), signals, shutdown };
    let with_token = steeple_plugins::node_attestor::join_token::with_token;
    daemon(move || steeple_agent::run(config, &steeple_plugins::AGENT, with_token, process));
    let (public, method) = (dial::local(dir.join("public/agent.sock")), "/SpiffeWorkloadAPI/FetchX509SVID");
    let body = || framed(0, 0, &[]).into();
    while !ask(&public, method, OF_WORKLOADS, body(), true).await.is_ok_and(|answer| answer.status.code() == Code::Ok) {
        // The agent may have to wait, by this clock.
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Attests with the first token.
async fn attest(server: Channel) -> Credential {
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
    let subject = Name::try_from(&certificate::svid_subject()).expect("a name");
    let params = attest_agent_request::Params {
        data: Some(AttestationData { r#type: "join_token".to_owned(), payload: TOKENS[0].into() }),
        params: Some(AgentX509svidParams { csr: csr::build(&subject, None, &[], &key).expect("a request") }),
    };
    let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
    let answers = AgentClient::new(server).attest_agent(tokio_stream::once(request)).await;
    let answer = answers.expect("an answer").into_inner().message().await.expect("an answer");
    let Some(attest_agent_response::Step::Result(result)) = answer.and_then(|answer| answer.step) else {
        panic!("no SVID")
    };
    let chain: Result<Vec<_>, _> =
        result.svid.unwrap_or_default().cert_chain.iter().map(|der| Certificate::from_der(der)).collect();
    Credential::new(&chain.expect("a chain"), &key.to_pkcs8_der().expect("its key")).expect("a credential")
}

fn channel(port: u16, credential: Option<Credential>, clock: &ManualClock) -> Channel {
    let id = SpiffeId::parse("spiffe://example.org/spire/server").expect("an ID");
    let shown = credential.map(|credential| watch::channel(Some(credential)).1);
    let tls = client_config(shown, Expect::DangerouslyUnverified { id }, clock.clock()).expect("TLS");
    dial::server("127.0.0.1", port, Arc::new(tls), dial::Proxy::none(), clock.clock())
}

/// Runs a daemon on a thread and a runtime of its own, as a process has them. It ends with this process.
fn daemon<E: Error, F: Future<Output = Result<(), E>>>(run: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        let ended = runtime().block_on(run());
        panic!("a daemon has ended: {ended:?}");
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// libFuzzer ends the process without a word to anybody: `.ci/fuzz` removes what is left.
fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}
