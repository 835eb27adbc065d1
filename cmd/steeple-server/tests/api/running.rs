//! A server in this process, on a socket and a port of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use steeple_datastore::{DataStore, Options};
use steeple_runtime::logging::{Log, Options as LogOptions};
use steeple_runtime::{Clock, Shutdown};
use steeple_server::authpolicy::Source;
use steeple_server::config::{Config, Flags};
use steeple_spiffe::SpiffeId;
use steeple_testkit::calls::with_ports;
use steeple_transport::dial;
use steeple_transport::tls::{Credential, Expect, client_config};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::data;

/// A server that was started, and a second way into its database.
pub(crate) struct Running {
    dir: TempDir,
    port: u16,
    pub(crate) store: DataStore,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl Running {
    /// Starts a server with a recorded configuration, but for its policy.
    pub(crate) async fn start(conf: &str, policy: Source) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let text = std::fs::read_to_string(data(conf)).unwrap();
        let text = text.replace("${dir}", dir.path().to_str().unwrap()).replace("${port}", &port.to_string());
        let text = with_ports(&text).replace("${inputs}", data("").to_str().unwrap());
        let config = Config { policy, ..Config::parse(&text, conf, Flags::default()).unwrap() };
        let database = dir.path().join("data/datastore.sqlite3");
        let log = LogOptions { file: Some(dir.path().join("log")), ..config.log.clone() };
        let log = Log::open(log, Clock::system()).unwrap();
        let shutdown = Shutdown::new();
        let running = {
            let shutdown = shutdown.clone();
            // A runtime of its own, as a process has it.
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::spawn(move || {
                let process = steeple_server::Process::without_file(log, Clock::system(), shutdown);
                runtime.block_on(steeple_server::run(config, &steeple_plugins::SERVER, process)).unwrap();
            })
        };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            assert!(!running.is_finished(), "the server did not start: {:?}", running.join());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let store = DataStore::open(Options::sqlite(database), Clock::system()).await.unwrap();
        Self { dir, port, store, shutdown, running }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.stop();
        self.store.close().await;
        tokio::task::spawn_blocking(|| self.running.join().unwrap()).await.unwrap();
    }

    /// A channel to the admin socket.
    pub(crate) fn local(&self) -> Channel {
        dial::local(self.dir.path().join("api.sock"))
    }

    /// A channel over TLS, on which a client shows a certificate or none.
    pub(crate) fn remote(&self, credential: Option<Credential>) -> Channel {
        let expect =
            Expect::DangerouslyUnverified { id: SpiffeId::parse("spiffe://example.org/spire/server").unwrap() };
        let shown = credential.map(|credential| watch::channel(Some(credential)).1);
        let tls = client_config(shown, expect, Clock::system()).unwrap();
        dial::server("127.0.0.1", self.port, Arc::new(tls), dial::Proxy::none(), Clock::system())
    }
}
