//! A directory in which the records run one after another, and the server in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use steeple_datastore::bundles::SetBundle;
use steeple_datastore::entries::{CreateEntry, DeleteEntry, EntryFilter, EntryMask, UpdateEntry};
use steeple_datastore::nodes::{AttestNode, UpdateNode};
use steeple_datastore::{Bundle, DataStore, Entry, Mutation, Options, Page, Selector};
use steeple_runtime::Clock;
use steeple_testkit::commands::{self, Outcome, Record};
use tempfile::TempDir;

use crate::daemon;

pub(crate) struct Place {
    dir: TempDir,
    servers: Vec<Server>,
    /// The authorities of the records, by their IDs, and which of ours stand for them.
    authorities: BTreeMap<String, String>,
}

/// Is killed with the place.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/inputs");
        fs::create_dir(dir.path().join("inputs")).unwrap();
        for input in fs::read_dir(inputs).unwrap() {
            let input = input.unwrap();
            fs::copy(input.path(), dir.path().join("inputs").join(input.file_name())).unwrap();
        }
        // Where commands write tokens, and the databases of servers that are run.
        for name in ["mint", "wit", "v"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, servers: Vec::new(), authorities: BTreeMap::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the command of a record.
    pub(crate) fn run(&mut self, record: &Record) -> Outcome {
        self.prepare(&record.name);
        if daemon::is_one(record) {
            return daemon::run(record, self.path());
        }
        let mut record = record.clone();
        for arg in &mut record.args {
            if let Some(ours) = self.authorities.get(arg) {
                arg.clone_from(ours);
            }
        }
        let outcome = Outcome::of(record.start(program(self.path())), self.path());
        self.authorities.extend(authorities(&record.stdout).into_iter().zip(authorities(&outcome.stdout)));
        outcome
    }

    /// Does what had been done before a record, and by no other record that is run.
    fn prepare(&mut self, record: &str) {
        let golden = |name: &str| format!("spiffe://example.org/spire/agent/join_token/golden-{name}");
        match record {
            "healthcheck" => self.start("server", "", ""),
            "entry-create-generated-id" => {
                // The entries of the tokens had gone.
                self.write_with("server", async |store| {
                    let all = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap();
                    for entry in all.rows {
                        store.write(DeleteEntry { entry_id: entry.entry_id }).await.unwrap();
                    }
                });
            }
            "federation-create-partner" => {
                fs::copy(self.path().join("inputs/static.test.json"), self.path().join("partner.json")).unwrap();
            }
            "agent-list" => {
                let agent = |name| AttestNode {
                    spiffe_id: golden(name),
                    attestation_type: "join_token".into(),
                    serial: "212394676814195563106033511406606751".into(),
                    expires_at: 1_795_541_077,
                    can_reattest: false,
                    selectors: Vec::new(),
                };
                self.write("server", ["2", "3", "1"].map(agent));
                let version = Some("1.15.3".to_owned());
                let report = |name| UpdateNode {
                    spiffe_id: golden(name),
                    agent_version: version.clone(),
                    ..UpdateNode::default()
                };
                self.write("server", ["2", "3", "1"].map(report));
            }
            "bundle-delete-restrict" => self.write("server", [CreateEntry { entry: federated() }]),
            "bundle-delete-delete-json" => {
                // The bundle had come back, and the entry federated with it again.
                let id = "spiffe://static3.test".to_owned();
                self.write("server", [SetBundle(Bundle { trust_domain_id: id, ..Bundle::default() })]);
                let mask = EntryMask { federates_with: true, ..EntryMask::default() };
                self.write("server", [UpdateEntry { entry: federated(), mask }]);
            }
            // The recorder had made entries of the tokens of its agents.
            "debug-getinfo" => self.write("server", ["one", "two"].map(|name| CreateEntry { entry: of_token(name) })),
            "x509-activate-unknown" => {
                let entry_id = |name| format!("e-token-{name}");
                self.write("server", ["one", "two"].map(|name| DeleteEntry { entry_id: entry_id(name) }));
            }
            "agent-list-x509pop" => {
                self.start("pu", "", "");
                self.attest_x509pop(&[NODE_1, NODE_2]);
            }
            "agent-purge-json" => self.attest_x509pop(&[NODE_1]),
            "disabled-jwt-mint" => {
                let more = "disable_jwt_svids = true\nexperimental { feature_flags = [\"wit-svid\"] }";
                self.start("dj", more, "");
            }
            "upstream-x509-show" => {
                self.put_upstream("upstream1");
                let files = "cert_file_path = \"up.pem\"\nkey_file_path = \"up.key\"";
                self.start("up", "", &format!("UpstreamAuthority \"disk\" {{ plugin_data {{ {files} }} }}"));
            }
            "upstream-x509-prepare" => self.put_upstream("upstream2"),
            _ => {}
        }
    }

    /// Puts an authority where the server with one above it finds it.
    fn put_upstream(&self, name: &str) {
        for end in ["pem", "key"] {
            fs::copy(self.path().join(format!("inputs/{name}.{end}")), self.path().join(format!("up.{end}"))).unwrap();
        }
    }

    /// Agents that have attested by x509pop and ended a short while ago.
    fn attest_x509pop(&self, nodes: &[[&str; 3]]) {
        let spiffe_id = |node: &[&str; 3]| format!("spiffe://example.org/spire/agent/x509pop/{}", node[0]);
        let attested = |node: &[&str; 3]| AttestNode {
            spiffe_id: spiffe_id(node),
            attestation_type: "x509pop".into(),
            serial: "212394676814195563106033511406606751".into(),
            expires_at: Clock::system().unix_seconds() - 60,
            can_reattest: true,
            selectors: [
                "ca:fingerprint:f6d7752c4e8f56c04927003518f5019df3e39216".into(),
                format!("serialnumber:{}", node[1]),
                format!("subject:cn:{}", node[2]),
            ]
            .map(|value| Selector::new("x509pop", value))
            .into(),
        };
        self.write("pu", nodes.iter().map(attested));
        let agent_version = Some("1.15.3".to_owned());
        let report = |node: &[&str; 3]| UpdateNode {
            spiffe_id: spiffe_id(node),
            agent_version: agent_version.clone(),
            ..UpdateNode::default()
        };
        self.write("pu", nodes.iter().map(report));
    }

    /// Starts a server with files and a socket of this name, and with more keys and plugins than all of them have.
    fn start(&mut self, name: &str, more: &str, plugins: &str) {
        let dir = self.dir.path();
        let conf = SERVER.replace("ADDRESS", &loopback(self.servers.len())).replace("NAME", name).replace("MORE", more);
        let conf = conf.replace("PLUGINS", plugins);
        fs::write(dir.join(format!("{name}.conf")), conf).unwrap();
        let log = fs::File::create(dir.join(format!("{name}.log"))).unwrap();
        let run = ["run", "-config", &format!("{name}.conf")];
        let server = Server(program(dir).args(run).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        self.servers.push(server);
        let healthcheck = ["healthcheck", "-socketPath", &format!("{name}.sock")];
        let healthy = || program(dir).args(healthcheck).output().unwrap().status.success();
        for _ in 0..3000 {
            if healthy() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server is not healthy:\n{}", fs::read_to_string(dir.join(format!("{name}.log"))).unwrap());
    }

    /// Writes into a server's database, as another server would.
    fn write<M: Mutation>(&self, name: &str, mutations: impl IntoIterator<Item = M>) {
        self.write_with(name, async |store| {
            for mutation in mutations {
                store.write(mutation).await.unwrap();
            }
        });
    }

    fn write_with(&self, name: &str, write: impl AsyncFnOnce(&DataStore)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = Options::sqlite(self.dir.path().join(format!("{name}.sqlite3")));
            let store = DataStore::open(options, Clock::system()).await.unwrap();
            write(&store).await;
            store.close().await;
        });
    }
}

/// The IDs that a command of `localauthority` printed, in their order.
fn authorities(printed: &str) -> Vec<String> {
    let id = |text: &str| text.split(['\n', '"']).next().unwrap_or_default().to_owned();
    let after = |mark: &str| printed.split(mark).skip(1).map(id).collect::<Vec<_>>();
    [after("  Authority ID: "), after("\"authority_id\":\"")].concat()
}

fn federated() -> Entry {
    Entry {
        entry_id: "e-fed".into(),
        spiffe_id: "spiffe://example.org/fed".into(),
        parent_id: "spiffe://example.org/node1".into(),
        selectors: vec![Selector::new("unix", "uid:50")],
        federates_with: vec!["spiffe://static3.test".into()],
        ..Entry::default()
    }
}

fn of_token(name: &str) -> Entry {
    Entry {
        entry_id: format!("e-token-{name}"),
        spiffe_id: format!("spiffe://example.org/of-token/{name}"),
        parent_id: format!("spiffe://example.org/spire/agent/join_token/{name}"),
        selectors: vec![Selector::new("spiffe_id", "spiffe://example.org/agent")],
        ..Entry::default()
    }
}

pub(crate) fn program(dir: &Path) -> Command {
    commands::program(env!("CARGO_BIN_EXE_steeple-server"), "spire-server", dir)
}

/// A loopback address that no other process takes from us, so that the port is free there.
fn loopback(server: usize) -> String {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    format!("127.{}.{b}.{c}", 128 | a | u8::try_from(server).unwrap() << 5)
}

/// What the ID, the serial number and the subject of an agent's certificate end in.
const NODE_1: [&str; 3] = ["ea423628b001b8d1c46c384dce9f8c51edbeca74", "d3", "node1"];
const NODE_2: [&str; 3] = ["433170a1b915dbe052f5e35f766ee70f3b2ad2c6", "d4", "node2"];

const SERVER: &str = r#"
server {
  trust_domain = "example.org"
  bind_address = "ADDRESS"
  bind_port = 28081
  socket_path = "NAME.sock"
  MORE
  data_dir = "."
  log_level = "DEBUG"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "NAME.sqlite3" } }
  KeyManager "memory" {}
  NodeAttestor "join_token" {}
  PLUGINS
}
"#;
