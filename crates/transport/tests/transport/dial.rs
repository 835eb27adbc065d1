//! What is said of those whom a channel cannot reach.

use std::sync::Arc;
use std::time::Duration;

use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_testkit::{Ca, ManualClock};
use steeple_transport::dial::{self, DialError, Proxy};
use steeple_transport::tls::{Expect, client_config};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status};

use crate::world;

async fn refused(channel: Channel) -> Status {
    let status = BundleClient::new(channel).get_bundle(GetBundleRequest { output_mask: None }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    status
}

fn server(host: &str, port: u16) -> Channel {
    server_by(&world(), host, port)
}

fn server_by((manual, ca): &(ManualClock, Ca), host: &str, port: u16) -> Channel {
    let expect = Expect::Verified { id: ca.id("/spire/server"), authorities: watch::channel(ca.authorities()).1 };
    let tls = client_config(None, expect, manual.clock()).unwrap();
    dial::server(host, port, Arc::new(tls), Proxy::none(), manual.clock())
}

#[tokio::test]
async fn a_server_where_nobody_listens_is_named_with_the_reason() {
    for host in ["127.0.0.1", "::1"] {
        // Free again as soon as it is known.
        let address = match TcpListener::bind((host, 0)).await {
            Ok(listener) => listener.local_addr().unwrap(),
            // Machines without IPv6 refuse otherwise.
            Err(_) => continue,
        };
        let status = refused(server(host, address.port())).await;
        assert_eq!(status.message(), format!("{address}: connection refused"));
    }
}

#[tokio::test]
async fn a_host_that_has_no_address_is_named() {
    let status = refused(server("nobody.invalid", 8081)).await;
    assert!(status.message().starts_with("nobody.invalid:8081: failed to lookup address"), "{status:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_named() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.org ready\r\n").await;
        }
    });
    let status = refused(server("127.0.0.1", address.port())).await;
    let start = format!("{address}: no TLS is spoken there: received corrupt message");
    assert!(status.message().starts_with(&start), "{status:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_by_the_clock_that_was_passed() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, world) = (listener.local_addr().unwrap(), world());
    let limit = Duration::from_secs(20);
    let calling = refused(server_by(&world, "127.0.0.1", address.port()));
    let (status, ()) = tokio::join!(calling, world.0.wake(limit..=limit));
    assert_eq!(status.message(), format!("{address}: timed out"));
}

#[tokio::test]
async fn a_socket_is_named_by_its_path_and_the_reason_is_to_be_had_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let status = refused(dial::local(&path)).await;
    assert_eq!(status.message(), format!("unix://{}: no such file or directory", path.display()));

    let mut cause = std::error::Error::source(&status);
    while let Some(error) = cause.filter(|error| !error.is::<ConnectError>()) {
        cause = error.source();
    }
    let connect = cause.and_then(|error| error.downcast_ref::<ConnectError>()).unwrap();
    assert_eq!(connect.0.downcast_ref::<DialError>().unwrap().reason(), "no such file or directory");
}
