//! A server that cannot be asked who holds an id of an event, as MySQL 5.7: time alone tells what has become of it.

use std::time::Duration;

use steeple_datastore::{DataStore, MySqlServer, Options, Source, TlsFiles};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use steeple_testkit::database::{Place, USER, mariadb_called};
use steeple_testkit::record::Logged;

use crate::feed::compared;
use crate::gaps::brings;
use crate::ids::{within, write};
use crate::opened::{Opened, entry};

/// Well below the time that an insert may wait for a lock there, and well above, ten seconds added.
const SHORT: Duration = Duration::from_secs(8);
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_id_that_nobody_can_be_asked_for_is_given_up_after_a_time_and_found_by_a_comparison() {
    let server = mariadb_called("5.7.44-log");
    let at =
        |database: &str| Place::MySql(format!("mysql://{USER}@127.0.0.1:{}/{database}?ssl-mode=disabled", server.port));
    at("mysql").sql("CREATE DATABASE site CHARACTER SET utf8").await;
    let dsn = format!("{USER}@tcp(127.0.0.1:{})/site?parseTime=true", server.port);
    let options = Options::of(Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap()));
    let log = Logged::new();
    let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
    assert_eq!(log.with("MySQL 5.7 is no more maintained; a newer version finds late changes sooner").len(), 1);
    let store = Opened { store, options, place: at("site"), _directory: None };
    assert_eq!(store.sql("SELECT VERSION()").await, [["5.7.44-log"]]);

    let clock = ManualClock::new(Clock::system().now());
    let other = DataStore::open(store.options.clone(), clock.clock()).await.unwrap();
    let mut feed = other.feed().comparing_every(LONG * 100);
    feed.snapshot().await.unwrap();
    let status = feed.status();
    let gaps = || status.borrow().open_gaps.len();

    let mut open = store.transaction().await;
    write(&mut open, "in-time").await;
    store.create(entry("behind")).await;
    brings(within(SHORT, &clock, &mut feed).await, "behind");
    let change = within(SHORT, &clock, &mut feed).await;
    assert!(change.is_none() && gaps() == 1, "{change:?}");
    open.commit().await;
    brings(within(SHORT, &clock, &mut feed).await, "in-time");
    assert_eq!(gaps(), 0);

    let mut open = store.transaction().await;
    write(&mut open, "too-late").await;
    store.create(entry("last")).await;
    brings(within(SHORT, &clock, &mut feed).await, "last");
    let change = within(LONG, &clock, &mut feed).await;
    assert!(change.is_none() && gaps() == 0, "{change:?}");
    open.commit().await;
    let change = within(LONG, &clock, &mut feed).await;
    assert!(change.is_none(), "nobody knows of it: {change:?}");
    let mut feed = feed.comparing_every(Duration::ZERO);
    assert_eq!(compared(&mut feed).await.entries.len(), 4);
    other.close().await;
}
