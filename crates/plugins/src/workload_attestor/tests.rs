//! One suite for every workload attestor that is built in, with real processes.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures::future::join_all;
use steeple_catalog::{Configuration, Host, WorkloadAttestor};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_runtime::Clock;
use steeple_runtime::os::peer::Peer;
use steeple_spiffe::TrustDomain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::AGENT;

/// Each built-in, with everything that it can find out.
fn all() -> Vec<WorkloadAttestor> {
    let built = AGENT.workload_attestors.iter().map(|built_in| {
        let text = if built_in.name == "unix" { "discover_workload_path = true" } else { "" };
        let configuration = Configuration {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            data: PluginData::Fixed(hcl::parse(text).unwrap()),
            host: Host::new(Clock::system()),
        };
        WorkloadAttestor::new(built_in.name, (built_in.build)(&configuration).unwrap())
    });
    built.collect()
}

#[tokio::test]
async fn a_process_has_the_same_selectors_each_time_and_each_has_key_and_value() {
    let pid = std::process::id() as i32;
    for attestor in all() {
        let first = attestor.attest(pid).await.unwrap();
        for selector in &first {
            let (key, value) = selector.split_once(':').expect("a selector is key:value");
            assert!(!key.is_empty() && !value.is_empty(), "{}: {selector}", attestor.name());
        }
        let together = join_all((0..32).map(|_| attestor.attest(pid))).await;
        for again in together {
            assert_eq!(again.unwrap(), first, "{}", attestor.name());
        }
    }
}

#[tokio::test]
async fn a_process_that_is_gone_is_an_error_with_the_attestors_name() {
    for attestor in all() {
        let error = attestor.attest(i32::MAX).await.unwrap_err();
        let start = format!("workloadattestor({}): failed to get process: ", attestor.name());
        assert!(error.message.starts_with(&start), "{error}");
    }
}

#[tokio::test]
async fn who_loses_interest_leaves_no_place_taken() {
    let pid = std::process::id() as i32;
    for attestor in all() {
        let attestor = Arc::new(attestor);
        for _ in 0..64 {
            let asked = Arc::clone(&attestor);
            let asking = tokio::spawn(async move { asked.attest(pid).await.map(drop) });
            tokio::task::yield_now().await;
            asking.abort();
        }
        attestor.attest(pid).await.unwrap();
    }
}

/// Not a test of its own, but what the process does that the next test starts: connects, waits for a word, and executes
/// another program that holds the connection.
#[test]
fn executes_another_program() {
    let Some(path) = std::env::var_os("STEEPLE_TEST_CONNECT_TO") else { return };
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let input = OwnedFd::from(stream.try_clone().unwrap());
    let error = Command::new("cat").stdin(input).stdout(OwnedFd::from(stream)).exec();
    panic!("{error}");
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn after_an_exec_a_connections_process_is_what_it_has_become() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let own = std::env::current_exe().unwrap();
    let child = Command::new(&own)
        .args(["--exact", "workload_attestor::tests::executes_another_program"])
        .env("STEEPLE_TEST_CONNECT_TO", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ends(child);
    let (mut stream, _) = listener.accept().await.unwrap();
    let peer = Peer::of(&stream).unwrap();
    let unix = all().into_iter().find(|attestor| attestor.name() == "unix").unwrap();
    let program = |selectors: &[String]| -> Vec<String> {
        selectors.iter().filter(|s| s.starts_with("path:") || s.starts_with("sha256:")).cloned().collect()
    };
    let before = program(&unix.attest(peer.pid).await.unwrap());
    assert_eq!(before[0], format!("path:{}", own.display()));

    child.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    stream.write_all(b"?").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    peer.check().unwrap();
    let after = program(&unix.attest(peer.pid).await.unwrap());
    assert!(after[0].ends_with("/cat") || after[0].ends_with("/coreutils"), "{after:?}");
    assert_ne!(after[1], before[1]);
    peer.check().unwrap();
}
