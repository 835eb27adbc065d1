//! How often a write and a look ask a database, which may be far away: each statement is a way there and back.

use steeple_datastore::entries::CreateEntry;
use steeple_datastore::nodes::{ActivateNodeSerial, AttestNode, RenewNode};
use steeple_datastore::{DataStore, Options};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use steeple_testkit::record::Logged;

use crate::feed::changed;
use crate::opened::{Opened, entry, selectors};
use crate::unopened::Place;

const ID: &str = "spiffe://td/spire/agent/x509pop/1";

pub(crate) async fn writes_and_the_looks_that_find_them_ask_in_few_statements(opened: Opened) {
    let log = Logged::new();
    // A clock that stands still: nothing looks but for what was written.
    let clock = ManualClock::new(Clock::system().now());
    let options = Options { log_statements: true, ..opened.options.clone() };
    let store = DataStore::open(options, clock.clock()).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let attest = AttestNode {
        spiffe_id: ID.into(),
        attestation_type: "x509pop".into(),
        serial: "1".into(),
        expires_at: 2_000,
        can_reattest: false,
        selectors: selectors(&["x509pop:cn:1"]),
    };
    store.write(attest).await.unwrap();
    changed(&mut feed).await;
    let asked = || -> Vec<String> {
        let lines = log.with("Statement for the database").into_iter().map(|line| line["statement"].clone());
        // What tells others of a commit keeps nobody waiting.
        lines.filter(|statement| !statement.contains("NOTIFY")).collect()
    };
    let mut before = asked().len();
    let mut counted = |what: &str| {
        let asked = asked().split_off(before);
        before += asked.len();
        println!("{what}: {asked:#?}");
        asked.len()
    };

    store.write(CreateEntry { entry: entry("e") }).await.unwrap();
    let created = counted("an entry is created");
    assert_eq!(changed(&mut feed).await.entries.len(), 1);
    let entry_found = counted("a look finds it");
    let (spiffe_id, known, serial) = (ID.to_owned(), String::new(), "2".to_owned());
    store.write(RenewNode { spiffe_id, known, serial, expires_at: 3_000 }).await.unwrap();
    let renewed = counted("an agent is renewed");
    store.write(ActivateNodeSerial { spiffe_id: ID.into(), serial: "2".into() }).await.unwrap();
    let seen = counted("it is seen");
    assert_eq!(changed(&mut feed).await.nodes.len(), 1);
    let node_found = counted("a look finds it");
    let counts = [created, entry_found, renewed, seen, node_found];
    match &opened.place {
        // Each list is read alone there.
        Place::File(_) => assert_eq!(counts, [6, 9, 4, 4, 7]),
        Place::Postgres(_) => assert_eq!(counts, [7, 5, 4, 4, 4]),
        // Nothing returns what was written, and locks are given back.
        Place::MySql(_) => assert_eq!(counts, [9, 5, 5, 5, 4]),
    }
}
