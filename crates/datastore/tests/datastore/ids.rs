//! Ids of events that are jumped over, go, or are given again for something else.

use std::pin::pin;
use std::time::Duration;

use steeple_datastore::entries::CreateEntry;
use steeple_datastore::{Change, DataStore, Feed};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use tokio::time::timeout;

use crate::feed::compared;
use crate::opened::{Opened, Transaction, entry};
use crate::unopened::Place;

/// Writes an entry as another program would: its rows, and its event with an id of the database's choice.
pub(crate) async fn write(transaction: &mut Transaction, id: &str) {
    write_rows(transaction, id).await;
    transaction.execute(&format!("INSERT INTO registered_entries_events (entry_id) VALUES ('{id}')")).await;
}

/// The row of an entry, and that of its selector.
async fn write_rows(transaction: &mut Transaction, id: &str) {
    let row = "INSERT INTO registered_entries (entry_id, spiffe_id, parent_id) VALUES";
    transaction.execute(&format!("{row} ('{id}', 'spiffe://td/{id}', 'spiffe://td/agent')")).await;
    // A SELECT would lock more than this row on MariaDB.
    let entry = match transaction {
        Transaction::File(_) => "last_insert_rowid()",
        Transaction::Postgres(_) => "currval('registered_entries_id_seq')",
        Transaction::MySql(_) => "LAST_INSERT_ID()",
    };
    let row = "INSERT INTO selectors (registered_entry_id, type, value) VALUES";
    transaction.execute(&format!("{row} ({entry}, 'unix', 'uid:1')")).await;
}

/// The ids of the entries that the next changes bring, until all of `wanted` have come.
pub(crate) async fn until(feed: &mut Feed, wanted: &[&str]) -> Vec<String> {
    let mut seen = Vec::new();
    while !wanted.iter().all(|id| seen.iter().any(|it| it == id)) {
        match timeout(Duration::from_secs(30), feed.next()).await.expect("a change in time").unwrap() {
            Change::Rows(rows) => {
                seen.extend(rows.entries.into_iter().filter(|(_, it)| it.is_some()).map(|(id, _)| id))
            }
            Change::Slice(slice) => panic!("{slice:?}"),
        }
    }
    seen
}

pub(crate) async fn ids_that_never_come_are_no_change(store: Opened) {
    store.create(entry("first")).await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    for skipped in [1, 2, 1_000] {
        store.skip_event_ids(skipped).await;
        let id = format!("behind-{skipped}");
        store.write(CreateEntry { entry: entry(&id) }).await.unwrap();
        assert_eq!(until(&mut feed, &[&id]).await, [id.as_str()]);
        let newest = "SELECT MAX(id) FROM registered_entries_events";
        let before = format!("{newest} WHERE id < ({newest})");
        let id_of = async |query: &str| store.sql(query).await[0][0].parse::<u32>().unwrap();
        assert_eq!(id_of(newest).await - id_of(&before).await, skipped + 1);
    }
    for lost in 1..=3 {
        let mut other = store.transaction().await;
        for i in 0..lost {
            write(&mut other, &format!("lost-{lost}-{i}")).await;
        }
        other.roll_back().await;
        let id = format!("kept-{lost}");
        store.write(CreateEntry { entry: entry(&id) }).await.unwrap();
        assert_eq!(until(&mut feed, &[&id]).await, [id.as_str()]);
    }
    if matches!(store.place, Place::File(_)) {
        assert_eq!(feed.status().borrow().open_gaps, [], "there is nobody who could fill them");
    }
}

/// As the reference prunes: in a transaction that holds all old events, and with them the end of the table.
pub(crate) async fn pruning_holds_up_nothing_but_what_waits_for_it(store: Opened) {
    for id in ["a", "b"] {
        store.write(CreateEntry { entry: entry(id) }).await.unwrap();
    }
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let mut prune = store.transaction().await;
    prune.execute("DELETE FROM registered_entries_events WHERE created_at < '2100-01-01 00:00:00'").await;
    let late = store.write(CreateEntry { entry: entry("late") });
    let (_, seen) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            prune.commit().await;
        },
        async {
            late.await.unwrap();
            let mut seen = Vec::new();
            while !seen.contains(&"late".to_owned()) {
                match timeout(Duration::from_secs(30), feed.next()).await.expect("a change in time").unwrap() {
                    Change::Rows(rows) => seen.extend(rows.entries.into_iter().map(|(id, _)| id)),
                    // What the feed remembers of the newest events is gone: it compares everything.
                    Change::Slice(slice) => seen.extend(slice.entries.iter().map(|it| it.entry_id.clone())),
                }
            }
            seen
        }
    );
    assert!(seen.contains(&"late".to_owned()));
}

/// A failover to a standby that lacked the newest commits, and then gave their ids to others.
pub(crate) async fn ids_that_are_used_again_are_noticed(store: Opened) {
    for id in ["kept", "lost"] {
        store.write(CreateEntry { entry: entry(id) }).await.unwrap();
    }
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let mut failover = store.transaction().await;
    failover.execute("DELETE FROM registered_entries WHERE entry_id = 'lost'").await;
    failover.execute("UPDATE registered_entries_events SET entry_id = 'other' WHERE entry_id = 'lost'").await;
    write_rows(&mut failover, "other").await;
    failover.commit().await;
    let snapshot = compared(&mut feed).await;
    let ids: Vec<_> = snapshot.entries.iter().map(|entry| entry.entry_id.as_str()).collect();
    assert_eq!(ids, ["kept", "other"]);
}

/// By chance they name the same entry, which is another one now.
pub(crate) async fn ids_that_are_used_again_for_the_same_entry_are_noticed(store: Opened) {
    store.write(CreateEntry { entry: entry("e") }).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let mut failover = store.transaction().await;
    failover.execute("UPDATE registered_entries SET hint = 'another'").await;
    failover.execute("UPDATE registered_entries_events SET created_at = '2026-11-30 15:00:00'").await;
    failover.commit().await;
    assert_eq!(compared(&mut feed).await.entries[0].hint, "another");
}

/// However often the feed is woken by what this server writes.
pub(crate) async fn ids_that_are_used_again_are_noticed_while_much_is_written(store: Opened) {
    store.write(CreateEntry { entry: entry("lost") }).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let writing = async {
        for i in 0.. {
            store.write(CreateEntry { entry: entry(&format!("e{i}")) }).await.unwrap();
            // Fewer between two comparisons than a feed remembers.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let noticed = async {
        let mut failover = store.transaction().await;
        failover.execute("UPDATE registered_entries_events SET entry_id = 'other' WHERE entry_id = 'lost'").await;
        failover.commit().await;
        while !matches!(feed.next().await.unwrap(), Change::Slice(_)) {}
    };
    tokio::select! {
        () = writing => unreachable!("it writes on and on"),
        noticed = timeout(Duration::from_secs(30), noticed) => noticed.expect("it is noticed in time"),
    }
}

/// What has happened to the newest event: it is gone, or another one.
const MOVED_BACK: [&str; 2] = [
    "DELETE FROM registered_entries_events WHERE entry_id = 'lost'",
    "UPDATE registered_entries_events SET entry_id = 'other' WHERE entry_id = 'lost'",
];

const SECOND: Duration = Duration::from_secs(1);

/// The next change of a feed, if it comes while so much time passes, look by look.
pub(crate) async fn within(length: Duration, clock: &ManualClock, feed: &mut Feed) -> Option<Change> {
    let end = clock.now() + length;
    let mut next = pin!(feed.next());
    while clock.now() <= end {
        tokio::select! {
            biased;
            change = &mut next => return Some(change.unwrap()),
            () = clock.wake(..=SECOND) => {}
        }
    }
    None
}

/// Looks are a second apart, and no time passes but between them.
pub(crate) async fn a_database_that_moved_back_is_noticed_within_two_looks(store: Opened) {
    let clock = ManualClock::new(Clock::system().now());
    let other = DataStore::open(store.options.clone(), clock.clock()).await.unwrap();
    store.create(entry("kept")).await;
    for statement in MOVED_BACK {
        let lost = store.create(entry("lost")).await;
        let mut feed = other.feed();
        feed.snapshot().await.unwrap();
        let mut failover = store.transaction().await;
        failover.execute(&format!("DELETE FROM registered_entries WHERE entry_id = '{}'", lost.entry_id)).await;
        failover.execute(statement).await;
        failover.commit().await;

        let change = within(2 * SECOND, &clock, &mut feed).await;
        assert!(matches!(change, Some(Change::Slice(_))), "{change:?}: {statement}");
    }
    other.close().await;
}
