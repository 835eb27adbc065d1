//! A standby of PostgreSQL behind the same connection string: while it is one, and when it takes over.

use std::time::Duration;

use steeple_datastore::entries::CreateEntry;
use steeple_datastore::{Change, DataStore, Error, Feed, Options, PostgresServer, Source};
use steeple_runtime::Clock;
use steeple_testkit::database::{DatabaseServer, Place, USER, postgres, standby_of};
use tokio::time::timeout;

use crate::opened::entry;
use crate::unopened::Unopened;

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
    let refused = async {
        loop {
            match feed.next().await {
                Err(error) if error.to_string().contains("a read-only copy, which may be behind") => return,
                Err(_) => {}
                Ok(change) => panic!("the standby was taken for the truth: {change:?}"),
            }
        }
    };
    timeout(Duration::from_secs(30), refused).await.expect("a refusal in time");

    store.place.open_again().await;
    // Connections that were cut are found out.
    while let Err(Error::Unavailable(_)) = store.write(CreateEntry { entry: entry("lost-too") }).await {}
    let Change::Rows(rows) = next(&mut feed).await else { panic!("there was nothing to compare") };
    assert_eq!(rows.entries[0].0, "lost-too");

    store.place.shut().await;
    asked(&standby, &database, "SELECT CAST(pg_promote() AS text)").await;
    let Change::Slice(slice) = next(&mut feed).await else { panic!("it is another server") };
    assert!(slice.is_first && slice.is_last);
    let left: Vec<_> = slice.entries.iter().map(|entry| entry.entry_id.as_str()).collect();
    assert_eq!(left, ["kept"]);
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
