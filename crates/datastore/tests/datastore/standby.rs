//! A copy behind the same connection string: while it only follows, and when it takes over.

use std::os::unix::fs::symlink;
use std::time::Duration;

use steeple_datastore::entries::CreateEntry;
use steeple_datastore::{Change, DataStore, Error, Feed, MySqlServer, Options, PostgresServer, Source, TlsFiles};
use steeple_runtime::Clock;
use steeple_testkit::database::{DatabaseServer, Place, USER, own_mariadb, postgres, standby_of};
use steeple_testkit::record::Logged;
use tokio::time::timeout;

use crate::feed::MOVED_BACK;
use crate::opened::entry;
use crate::unopened::Unopened;

const STARTED_AGAIN: &str = "Database was started again, or is another one; all of it is compared";

/// What the standby says of this database.
async fn asked(standby: &DatabaseServer, database: &str, question: &str) -> String {
    let url = format!("postgres://{USER}@127.0.0.1:{}/{database}?sslmode=disable", standby.port);
    Place::Postgres(url).sql(question).await.concat().concat()
}

async fn until(standby: &DatabaseServer, database: &str, question: &str, answer: &str) {
    let answered = async { while asked(standby, database, question).await != answer {} };
    timeout(Duration::from_secs(30), answered).await.expect("the standby in time");
}

#[tokio::test]
async fn a_standby_is_refused_until_it_takes_over() {
    let mut store = Unopened::postgres().await.open().await;
    store.create(entry("kept")).await;
    let standby = standby_of(postgres());
    let database = store.place.database().to_owned();
    until(&standby, &database, "SELECT entry_id FROM registered_entries", "kept").await;
    // What is written from now on does not reach it.
    asked(&standby, &database, "ALTER SYSTEM SET primary_conninfo = ''").await;
    asked(&standby, &database, "SELECT CAST(pg_reload_conf() AS text)").await;
    until(&standby, &database, "SELECT CAST(count(*) AS text) FROM pg_stat_wal_receiver", "0").await;

    let both = format!(
        "postgres://{USER}@127.0.0.1:{},127.0.0.1:{}/{database}?sslmode=disable",
        postgres().port,
        standby.port
    );
    let options = Options::of(Source::Postgres(PostgresServer::parse(&both).unwrap()));
    store.store = DataStore::open(options, Clock::system()).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    store.create(entry("lost")).await;
    assert!(matches!(feed.next().await.unwrap(), Change::Rows(_)));

    store.place.shut().await;
    refused(&mut feed, "a read-only copy, which may be behind").await;

    store.place.open_again().await;
    // Connections that were cut are found out.
    while let Err(Error::Unavailable(_)) = store.write(CreateEntry { entry: entry("lost-too") }).await {}
    let Change::Rows(rows) = next(&mut feed).await else { panic!("there was nothing to compare") };
    assert_eq!(rows.entries[0].0, "lost-too");

    store.place.shut().await;
    let log = Logged::new();
    asked(&standby, &database, "SELECT CAST(pg_promote() AS text)").await;
    let Change::Slice(slice) = next(&mut feed).await else { panic!("it is another server") };
    assert!(slice.is_first && slice.is_last);
    let left: Vec<_> = slice.entries.iter().map(|entry| entry.entry_id.as_str()).collect();
    assert_eq!(left, ["kept"]);
    assert_eq!((log.with(MOVED_BACK).len(), log.with(STARTED_AGAIN).len()), (1, 0), "it has lost events");
}

/// A MariaDB at a socket of its own, with an account that may not write while the server is read-only.
async fn mariadb_with_site() -> (DatabaseServer, Place) {
    let server = own_mariadb();
    let at =
        |database: &str| Place::MySql(format!("mysql://{USER}@127.0.0.1:{}/{database}?ssl-mode=disabled", server.port));
    let mysql = at("mysql");
    for statement in [
        "CREATE DATABASE site CHARACTER SET utf8",
        "CREATE USER site@localhost",
        "GRANT ALL ON site.* TO site@localhost",
    ] {
        mysql.sql(statement).await;
    }
    let site = at("site");
    (server, site)
}

/// Waits until a feed refuses its database with these words.
async fn refused(feed: &mut Feed, words: &str) {
    let refused = async {
        loop {
            match feed.next().await {
                Err(error) if error.to_string().contains(words) => return,
                Err(_) => {}
                Ok(change) => panic!("a copy was taken for the truth: {change:?}"),
            }
        }
    };
    timeout(Duration::from_secs(30), refused).await.expect("a refusal in time");
}

#[tokio::test]
async fn a_mariadb_that_is_read_only_and_behind_is_refused_until_it_takes_over() {
    let ((primary, on_primary), (copy, on_copy)) = (mariadb_with_site().await, mariadb_with_site().await);
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("socket");
    let lead_to = |server: &DatabaseServer| {
        let another = dir.path().join("another");
        symlink(server.sockets.join("socket"), &another).unwrap();
        std::fs::rename(another, &link).unwrap();
    };
    let opened = async || {
        let dsn = format!("site@unix({})/site?parseTime=true", link.display());
        let source = Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap());
        DataStore::open(Options::of(source), Clock::system()).await.unwrap()
    };
    for server in [&copy, &primary] {
        lead_to(server);
        let store = opened().await;
        store.write(CreateEntry { entry: entry("kept") }).await.unwrap();
        store.close().await;
    }
    let store = opened().await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    store.write(CreateEntry { entry: entry("lost") }).await.unwrap();
    assert!(matches!(next(&mut feed).await, Change::Rows(_)));

    // The same server, which has gone back and takes no writes.
    on_primary.sql("SET GLOBAL read_only = 1").await;
    on_primary.sql("DELETE FROM registered_entries_events WHERE entry_id = 'lost'").await;
    refused(&mut feed, "the database is read-only, and behind what was read before").await;
    // Another one.
    on_copy.sql("SET GLOBAL read_only = 1").await;
    lead_to(&copy);
    on_primary.sql("KILL USER site").await;
    refused(&mut feed, "the database is a read-only copy, which may be behind").await;
    on_copy.sql("SET GLOBAL read_only = 0").await;
    let Change::Slice(slice) = next(&mut feed).await else { panic!("it is another server") };
    let left: Vec<_> = slice.entries.iter().map(|entry| entry.entry_id.as_str()).collect();
    assert_eq!(left, ["kept"]);
    store.close().await;
}

#[tokio::test]
async fn a_mariadb_that_was_started_again_is_compared_though_its_events_are_what_they_were() {
    let (server, site) = mariadb_with_site().await;
    let dsn = format!("site@unix({}/socket)/site?parseTime=true", server.sockets.display());
    let source = Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap());
    let store = DataStore::open(Options::of(source), Clock::system()).await.unwrap();
    store.write(CreateEntry { entry: entry("kept") }).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    // It tells whole seconds.
    let is_young =
        "SELECT '1' FROM information_schema.global_status WHERE variable_name = 'uptime' AND variable_value < 2";
    while !site.sql(is_young).await.is_empty() {}
    site.sql("UPDATE registered_entries SET hint = 'of another moment'").await;
    let log = Logged::new();
    server.stop();
    server.start_again();
    let Change::Slice(slice) = next(&mut feed).await else { panic!("it is another process") };
    let hints: Vec<_> = slice.entries.iter().map(|entry| entry.hint.as_str()).collect();
    assert_eq!(hints, ["of another moment"]);
    assert!(feed.has_moved_back());
    assert_eq!((log.with(MOVED_BACK).len(), log.with(STARTED_AGAIN).len()), (0, 1), "its events are what they were");
    store.close().await;
}

/// The next change, whatever goes wrong before it.
async fn next(feed: &mut Feed) -> Change {
    let change = async {
        loop {
            if let Ok(change) = feed.next().await {
                return change;
            }
        }
    };
    timeout(Duration::from_secs(30), change).await.expect("a change in time")
}
