//! What SPIRE 1.15.3 answered, call by call, and what this server answers.
//!
//! Each file of `tests/data/api` starts from nothing and is replayed from top to bottom against a server of its own, over
//! its real socket and its real port. What is not built yet answers UNIMPLEMENTED; what such a call would have done is
//! then done behind the server's back, so that the records after it find what they expect (`effects`). The records of an
//! agent's sockets are replayed in `tests/whole/recorded/calls.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's report"
)]

mod effects;
mod running;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use steeple_server::authpolicy::{Files, Source};
use steeple_testkit::calls::{Action, Place, Record, Records};
use steeple_transport::tls::Credential;
use tonic::transport::Channel;

use running::Running;

#[tokio::test]
async fn entry() {
    replay("entry").await;
}

#[tokio::test]
async fn entry_agent() {
    replay("entry-agent").await;
}

#[tokio::test]
async fn agent() {
    replay("agent").await;
}

#[tokio::test]
async fn bundle() {
    replay("bundle").await;
}

#[tokio::test]
async fn svid() {
    replay("svid").await;
}

#[tokio::test]
async fn svid_without_jwt() {
    replay("svid-nojwt").await;
}

#[tokio::test]
async fn svid_wit() {
    replay("svid-wit").await;
}

#[tokio::test]
async fn rate_limits() {
    replay("ratelimit").await;
}

#[tokio::test]
async fn localauthority() {
    replay("localauthority").await;
}

#[tokio::test]
async fn localauthority_below_another() {
    replay("localauthority-upstream").await;
}

#[tokio::test]
async fn logger_debug_health() {
    replay("logger-debug-health").await;
}

#[tokio::test]
async fn callers() {
    replay("callers").await;
}

#[tokio::test]
async fn trustdomain() {
    replay("trustdomain").await;
}

#[tokio::test]
async fn authz() {
    replay("authz").await;
}

/// The default policy, from files.
#[tokio::test]
async fn authz_by_a_policy_in_rego() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/server");
    let data = Some(conf.join("policy_data.json"));
    replay_by("authz", Source::Files(Files { rego: conf.join("policy.rego"), data })).await;
}

async fn replay(name: &str) {
    replay_by(name, Source::Standard).await;
}

async fn replay_by(name: &str, policy: Source) {
    let records = Records {
        dir: data(""),
        descriptors: &[steeple_proto::descriptors::PACKAGED, tonic_health::pb::FILE_DESCRIPTOR_SET],
        unbuilt: &[],
        is_reference: false,
    };
    let mut servers = Servers { policy, running: BTreeMap::new() };
    println!("{}", records.replay(name, &mut servers).await);
    for running in servers.running.into_values() {
        running.stop().await;
    }
}

/// Those that a file has started, by the names of their processes.
struct Servers {
    policy: Source,
    running: BTreeMap<String, Running>,
}

impl Servers {
    /// The one that is called unless a record names another one.
    fn running(&self) -> &Running {
        self.of("server")
    }

    fn of(&self, process: &str) -> &Running {
        self.running.get(process).expect("the server was started")
    }
}

impl Place for Servers {
    async fn act(&mut self, action: &Action, next: &Record) {
        match (action.action.as_str(), action.process.as_str()) {
            ("start-server", process) => {
                let running = Running::start(&action.conf, self.policy.clone()).await;
                self.running.insert(process.to_owned(), running);
            }
            // There is no agent here: what it has done is done.
            ("start-agent", "agent-pop") => {
                effects::attest_as_listed(self.running(), &next.responses[0]["agents"][0]).await;
            }
            ("stop", "agent-pop") => {}
            other => panic!("{other:?}"),
        }
    }

    fn channel(&self, record: &Record, credential: Option<Credential>) -> Channel {
        match record.caller.as_str() {
            "local" if record.process.is_empty() => self.running().local(),
            "local" => self.of(&record.process).local(),
            "anonymous" => self.running().remote(None),
            caller => {
                assert!(credential.is_some(), "{caller} has no identity");
                self.running().remote(credential)
            }
        }
    }

    async fn let_pass(&self, record: &Record, request: &serde_json::Value) {
        if record.method.ends_with("/AttestAgent") {
            effects::let_pass(self.running(), request, record.pause).await;
        }
    }

    async fn make_good(&self, record: &Record, request: &[u8]) {
        effects::of(self.running(), record, request).await;
    }
}

/// A file of the records.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/api").join(name)
}
