//! Which of several servers connections lead to.

use std::sync::Arc;
use std::time::Duration;

use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_testkit::{Ca, FakeServer, ManualClock};
use steeple_transport::dial::{self, Place, Proxy, Servers};
use steeple_transport::tls::{Expect, client_config};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;

use crate::world;

const ANSWERED: &str = "GetBundle";

fn at(port: u16) -> Place {
    Place { host: "127.0.0.1".to_owned(), port }
}

/// One call over a new connection.
async fn call(servers: &Servers, ca: &Ca, manual: &ManualClock) -> Result<(), Status> {
    let expect = Expect::Verified { id: ca.id("/spire/server"), authorities: watch::channel(ca.authorities()).1 };
    let tls = client_config(None, expect, manual.clock()).unwrap();
    let channel = dial::servers(servers.clone(), Arc::new(tls), Proxy::none(), manual.clock());
    BundleClient::new(channel).get_bundle(GetBundleRequest { output_mask: None }).await.map(drop)
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_passed_over_and_then_tried_last() {
    let (manual, ca) = world();
    let ca = Arc::new(ca);
    let good = FakeServer::start(Arc::clone(&ca), manual.clock()).await;
    // Free again as soon as it is known.
    let dead = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let mail = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let servers = Servers::new(at(dead), [at(mail.local_addr().unwrap().port()), at(good.port())]);
    let (asked, mut asked_so_far) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = mail.accept().await {
            asked.send_modify(|asked| *asked += 1);
            let _ = stream.write_all(b"220 mail.example.org ready\r\n").await;
        }
    });
    for _ in 0..20 {
        call(&servers, &ca, &manual).await.unwrap();
    }
    assert_eq!(good.seen().count(ANSWERED), 20);
    // At most once: afterwards it is known. Chance may have led to the good one each time.
    assert!(*asked_so_far.borrow_and_update() <= 1);
}

#[tokio::test]
async fn connections_spread_over_all_servers() {
    let (manual, ca) = world();
    let ca = Arc::new(ca);
    let both = [
        FakeServer::start(Arc::clone(&ca), manual.clock()).await,
        FakeServer::start(Arc::clone(&ca), manual.clock()).await,
    ];
    let servers = Servers::new(at(both[0].port()), [at(both[1].port())]);
    // That one of two is never chosen happens once in 2^63 runs.
    for _ in 0..64 {
        call(&servers, &ca, &manual).await.unwrap();
    }
    let answered = both.each_ref().map(|server| server.seen().count(ANSWERED));
    assert!(answered.iter().all(|times| *times > 0) && answered.iter().sum::<usize>() == 64, "{answered:?}");
}

#[tokio::test]
async fn a_server_that_was_of_no_use_is_left_for_another_one_for_a_while() {
    let (manual, ca) = world();
    let ca = Arc::new(ca);
    let both = [
        FakeServer::start(Arc::clone(&ca), manual.clock()).await,
        FakeServer::start(Arc::clone(&ca), manual.clock()).await,
    ];
    let answered = || both.each_ref().map(|server| server.seen().count(ANSWERED));
    let servers = Servers::new(at(both[0].port()), [at(both[1].port())]);
    call(&servers, &ca, &manual).await.unwrap();
    let first = usize::from(answered() == [0, 1]);
    servers.avoid_last(&manual.clock());
    for _ in 0..20 {
        call(&servers, &ca, &manual).await.unwrap();
    }
    assert_eq!(answered()[first], 1);
    // It has its share again when that is over.
    manual.advance(Duration::from_secs(2));
    for _ in 0..64 {
        call(&servers, &ca, &manual).await.unwrap();
    }
    assert!(answered()[first] > 1, "{:?}", answered());
}

#[tokio::test]
async fn a_server_that_says_nothing_leaves_time_for_another_one() {
    let (manual, ca) = world();
    let ca = Arc::new(ca);
    let good = FakeServer::start(Arc::clone(&ca), manual.clock()).await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let servers = Servers::new(at(silent.local_addr().unwrap().port()), [at(good.port())]);
    let attempt = Duration::from_secs(5);
    // Whichever comes first, by chance.
    for _ in 0..20 {
        let giving_up = async {
            let _open = silent.accept().await.unwrap();
            manual.wake(attempt..=attempt).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = call(&servers, &ca, &manual) => answer.unwrap(),
            () = giving_up => {}
        }
    }
    assert_eq!(good.seen().count(ANSWERED), 20);
}
