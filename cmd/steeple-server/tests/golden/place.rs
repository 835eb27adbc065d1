//! A directory in which the records run one after another, and the server in it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use steeple_datastore::bundles::SetBundle;
use steeple_datastore::entries::{DeleteEntry, EntryFilter};
use steeple_datastore::nodes::{AttestNode, UpdateNode};
use steeple_datastore::{Bundle, DataStore, Mutation, Options, Page};
use steeple_runtime::Clock;
use steeple_testkit::commands::{self, Outcome, Record};
use tempfile::TempDir;

pub(crate) struct Place {
    dir: TempDir,
    server: Option<Server>,
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
        Self { dir: tempfile::tempdir().unwrap(), server: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the command of a record.
    pub(crate) fn run(&mut self, record: &Record) -> Outcome {
        self.prepare(&record.name);
        Outcome::of(record.start(program(self.path())), self.path())
    }

    /// Does what had been done before a record, and by no other record that is run.
    fn prepare(&mut self, record: &str) {
        let golden = |name: &str| format!("spiffe://example.org/spire/agent/join_token/golden-{name}");
        match record {
            "healthcheck" => self.server = Some(self.start()),
            "entry-create-generated-id" => {
                // The entries of the tokens had gone. Bundles had come, by `bundle set`: who signs there does not matter.
                self.write_with(async |store| {
                    let all = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap();
                    for entry in all.rows {
                        store.write(DeleteEntry { entry_id: entry.entry_id }).await.unwrap();
                    }
                });
                let bundle = |name| Bundle { trust_domain_id: format!("spiffe://{name}.test"), ..Bundle::default() };
                self.write(["static", "static2", "static3"].map(|name| SetBundle(bundle(name))));
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
                self.write(["2", "3", "1"].map(agent));
                let version = Some("1.15.3".to_owned());
                let report = |name| UpdateNode {
                    spiffe_id: golden(name),
                    agent_version: version.clone(),
                    ..UpdateNode::default()
                };
                self.write(["2", "3", "1"].map(report));
            }
            _ => {}
        }
    }

    fn start(&self) -> Server {
        let dir = self.dir.path();
        fs::write(dir.join("server.conf"), SERVER.replace("ADDRESS", &loopback())).unwrap();
        let log = fs::File::create(dir.join("server.log")).unwrap();
        let run = ["run", "-config", "server.conf"];
        let server = Server(program(dir).args(run).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let healthy =
            || program(dir).args(["healthcheck", "-socketPath", "server.sock"]).output().unwrap().status.success();
        for _ in 0..3000 {
            if healthy() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server is not healthy:\n{}", fs::read_to_string(dir.join("server.log")).unwrap());
    }

    /// Writes into the server's database, as another server would.
    fn write<M: Mutation>(&self, mutations: impl IntoIterator<Item = M>) {
        self.write_with(async |store| {
            for mutation in mutations {
                store.write(mutation).await.unwrap();
            }
        });
    }

    fn write_with(&self, write: impl AsyncFnOnce(&DataStore)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = Options::sqlite(self.dir.path().join("db.sqlite3"));
            let store = DataStore::open(options, Clock::system()).await.unwrap();
            write(&store).await;
            store.close().await;
        });
    }
}

fn program(dir: &Path) -> Command {
    commands::program(env!("CARGO_BIN_EXE_steeple-server"), "spire-server", dir)
}

/// A loopback address that no other process takes from us, so that the port is free there.
fn loopback() -> String {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    format!("127.{}.{b}.{c}", 128 | a)
}

const SERVER: &str = r#"
server {
  trust_domain = "example.org"
  bind_address = "ADDRESS"
  bind_port = 28081
  socket_path = "server.sock"
  data_dir = "."
  log_level = "DEBUG"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "db.sqlite3" } }
  KeyManager "memory" {}
  NodeAttestor "join_token" {}
}
"#;
