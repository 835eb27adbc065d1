//! What the limits of the configuration do to the sessions that a server has with its database.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use steeple_config::hcl;
use steeple_datastore::entries::CreateEntry;
use steeple_datastore::nodes::RenewNode;
use steeple_datastore::{DataStore, Entry, Error, Options, Selector, SqlConfig};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use steeple_testkit::database::{USER, mariadb, postgres};
use tokio::time::timeout;

use crate::opened::{Opened, Transaction};
use crate::unopened::Place;

/// Reads at once, more than any limit here allows.
const READS: usize = 12;

/// A store with this line in its configuration, on a database that is there.
async fn limited(opened: &Opened, line: &str, clock: Clock) -> DataStore {
    let database = opened.place.database();
    let (database_type, connection_string) = match &opened.place {
        Place::File(_) => panic!("a file has no sessions"),
        Place::Postgres(_) => {
            let port = postgres().port;
            let more = "sslmode=disable application_name=limited";
            ("postgres", format!("host=127.0.0.1 port={port} user={USER} dbname={database} {more}"))
        }
        Place::MySql(_) => {
            opened.sql(&format!("CREATE USER limited_{database}@127.0.0.1")).await;
            opened.sql(&format!("GRANT ALL ON {database}.* TO limited_{database}@127.0.0.1")).await;
            let port = mariadb().port;
            ("mysql", format!("limited_{database}@tcp(127.0.0.1:{port})/{database}?parseTime=true"))
        }
    };
    let text = format!("database_type = \"{database_type}\"\nconnection_string = \"{connection_string}\"\n{line}\n");
    let config = SqlConfig::read(&hcl::parse(&text).unwrap()).unwrap();
    DataStore::open(Options::try_from(config).unwrap(), clock).await.unwrap()
}

/// The sessions of that store, as the database counts them; or those of them that wait for a table.
async fn sessions(opened: &Opened, that_wait: bool) -> BTreeSet<String> {
    let database = opened.place.database();
    let (all, waiting) = match &opened.place {
        Place::MySql(_) => (
            format!("SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE user = 'limited_{database}'"),
            " AND state = 'Waiting for table metadata lock'",
        ),
        _ => (
            "SELECT CAST(pid AS text) FROM pg_stat_activity WHERE application_name = 'limited' \
             AND datname = current_database()"
                .to_owned(),
            " AND wait_event_type = 'Lock'",
        ),
    };
    let query = if that_wait { all + waiting } else { all };
    opened.sql(&query).await.concat().into_iter().collect()
}

/// Keeps everybody from reading.
async fn barrier(opened: &Opened) -> Transaction {
    let mut barrier = opened.transaction().await;
    let lock = match &opened.place {
        Place::MySql(_) => "LOCK TABLES attested_node_entries WRITE",
        _ => "LOCK TABLE attested_node_entries IN ACCESS EXCLUSIVE MODE",
    };
    barrier.execute(lock).await;
    barrier
}

/// Lets those read who wait.
async fn lift(opened: &Opened, mut barrier: Transaction) {
    if matches!(opened.place, Place::MySql(_)) {
        barrier.execute("UNLOCK TABLES").await;
    }
    barrier.roll_back().await;
}

/// Reads at once while nobody can read, until `most` wait; then all of them end.
async fn crowd(opened: &Opened, store: &DataStore, most: usize) {
    let barrier = barrier(opened).await;
    let reads = join_all((0..READS).map(|_| store.fetch_node("nobody")));
    let opening = async {
        while sessions(opened, true).await.len() < most {}
        lift(opened, barrier).await;
    };
    let (read, ()) = tokio::join!(reads, opening);
    assert!(read.into_iter().all(|read| read.unwrap().is_none()));
}

/// Waits until the store has sessions that are as they should be: those that were closed end a moment later.
async fn until(opened: &Opened, wanted: impl Fn(&BTreeSet<String>) -> bool) {
    let counted = async { while !wanted(&sessions(opened, false).await) {} };
    if timeout(Duration::from_secs(30), counted).await.is_err() {
        panic!("the sessions are still {:?}", sessions(opened, false).await);
    }
}

pub(crate) async fn there_are_no_more_sessions_than_max_open_conns(opened: Opened) {
    let store = limited(&opened, "max_open_conns = 3", Clock::system()).await;
    crowd(&opened, &store, 3).await;
    // All that were opened are kept.
    until(&opened, |sessions| sessions.len() == 3).await;
    store.close().await;
}

pub(crate) async fn agents_that_come_all_at_once_leave_a_session_to_others(opened: Opened) {
    let store = limited(&opened, "max_open_conns = 4", Clock::system()).await;
    let barrier = barrier(&opened).await;
    let renewal = |number| {
        let (spiffe_id, serial) = (format!("agent-{number}"), "1".to_owned());
        store.write(RenewNode { spiffe_id, known: String::new(), serial, expires_at: 1 })
    };
    let meanwhile = async {
        while sessions(&opened, true).await.len() < 3 {}
        let selectors = vec![Selector::new("unix", "uid:1")];
        let entry = Entry { spiffe_id: "workload".into(), parent_id: "agent".into(), selectors, ..Entry::default() };
        let created = timeout(Duration::from_secs(30), store.write(CreateEntry { entry })).await;
        lift(&opened, barrier).await;
        created.expect("it waits behind the agents").unwrap();
    };
    let (renewed, ()) = tokio::join!(join_all((0..READS).map(renewal)), meanwhile);
    assert!(renewed.into_iter().all(|renewed| matches!(renewed, Err(Error::NotFound))));
    store.close().await;
}

pub(crate) async fn who_waits_for_long_for_a_session_is_told_so(opened: Opened) {
    let clock = ManualClock::new(Clock::system().now());
    let store = limited(&opened, "max_open_conns = 1", clock.clock()).await;
    let barrier = barrier(&opened).await;
    let passing = async {
        while sessions(&opened, true).await.is_empty() {}
        clock.wake(..=Duration::from_secs(30)).await;
        lift(&opened, barrier).await;
    };
    let reads = Box::pin(async { tokio::join!(store.fetch_node("nobody"), store.fetch_node("nobody"), passing) });
    let (one, other, ()) = timeout(Duration::from_secs(30), reads).await.expect("one of them gives up");
    let refused: Vec<_> = [one, other].into_iter().filter_map(|read| read.err().map(|it| it.to_string())).collect();
    assert_eq!(refused, ["datastore-sql: no connection to the database was free within 30 s"]);
    store.close().await;
}

pub(crate) async fn no_more_sessions_are_kept_than_max_idle_conns(opened: Opened) {
    let store = limited(&opened, "max_idle_conns = 2", Clock::system()).await;
    crowd(&opened, &store, READS).await;
    until(&opened, |sessions| sessions.len() == 2).await;
    store.close().await;
}

pub(crate) async fn a_session_is_another_one_after_conn_max_lifetime(opened: Opened) {
    let clock = ManualClock::new(Clock::system().now());
    let store = limited(&opened, "conn_max_lifetime = \"10s\"", clock.clock()).await;
    store.fetch_node("nobody").await.unwrap();
    until(&opened, |sessions| sessions.len() == 1).await;
    let first = sessions(&opened, false).await;
    clock.advance(Duration::from_secs(9));
    store.fetch_node("nobody").await.unwrap();
    assert_eq!(sessions(&opened, false).await, first, "its time is not over");
    clock.advance(Duration::from_secs(1));
    store.fetch_node("nobody").await.unwrap();
    until(&opened, |sessions| sessions.len() == 1 && *sessions != first).await;
    store.close().await;
}

pub(crate) async fn a_session_that_nobody_used_for_half_a_minute_is_closed(opened: Opened) {
    let clock = ManualClock::new(Clock::system().now());
    let store = limited(&opened, "", clock.clock()).await;
    store.fetch_node("nobody").await.unwrap();
    until(&opened, |sessions| sessions.len() == 1).await;
    let first = sessions(&opened, false).await;
    for _ in 0..2 {
        clock.advance(Duration::from_secs(29));
        store.fetch_node("nobody").await.unwrap();
        assert_eq!(sessions(&opened, false).await, first, "it was used");
    }
    clock.advance(Duration::from_secs(30));
    store.fetch_node("nobody").await.unwrap();
    until(&opened, |sessions| sessions.len() == 1 && *sessions != first).await;
    store.close().await;
}
