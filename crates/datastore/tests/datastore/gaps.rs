//! Servers with several writers show events in another order than that of their ids. What other programs do in transactions of
//! their own reaches a feed all the same.

use std::time::Duration;

use steeple_datastore::entries::CreateEntry;
use steeple_datastore::{Change, DataStore};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use tokio::time::timeout;

use crate::feed::compared;
use crate::ids::{until, within, write};
use crate::opened::{Opened, entry};

/// Fails unless rows have come, and an entry of this id among them.
pub(crate) fn brings(change: Option<Change>, wanted: &str) {
    match change {
        Some(Change::Rows(rows)) => assert!(rows.entries.iter().any(|(id, _)| id == wanted), "{rows:?}"),
        other => panic!("{wanted}: {other:?}"),
    }
}

pub(crate) async fn what_commits_late_comes_late(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let (mut first, mut second) = (store.transaction().await, store.transaction().await);
    write(&mut first, "first").await;
    write(&mut second, "second").await;
    store.write(CreateEntry { entry: entry("third") }).await.unwrap();
    assert_eq!(until(&mut feed, &["third"]).await, ["third"], "an open gap delays nothing");
    second.commit().await;
    assert_eq!(until(&mut feed, &["second"]).await, ["second"]);
    // Longer than any transaction takes to be numbered, and through several looks.
    assert!(timeout(Duration::from_secs(4), feed.next()).await.is_err());
    store.write(CreateEntry { entry: entry("fourth") }).await.unwrap();
    assert_eq!(until(&mut feed, &["fourth"]).await, ["fourth"]);
    first.commit().await;
    assert_eq!(until(&mut feed, &["first"]).await, ["first"]);
}

pub(crate) async fn a_feed_that_begins_in_the_middle_misses_nothing(store: Opened) {
    store.write(CreateEntry { entry: entry("before") }).await.unwrap();
    let mut open = store.transaction().await;
    write(&mut open, "open").await;
    store.write(CreateEntry { entry: entry("after") }).await.unwrap();
    let mut feed = store.feed();
    assert_eq!(feed.snapshot().await.unwrap().entries.len(), 2);
    store.write(CreateEntry { entry: entry("last") }).await.unwrap();
    assert_eq!(until(&mut feed, &["last"]).await, ["last"]);
    open.commit().await;
    assert_eq!(until(&mut feed, &["open"]).await, ["open"]);
}

/// In a new database, or one whose events were pruned, an open transaction may have taken an id before all that are there.
pub(crate) async fn a_feed_that_begins_before_the_oldest_event_misses_nothing(store: Opened) {
    let mut open = store.transaction().await;
    write(&mut open, "open").await;
    store.write(CreateEntry { entry: entry("first") }).await.unwrap();
    let mut feed = store.feed();
    assert_eq!(feed.snapshot().await.unwrap().entries.len(), 1);
    open.commit().await;
    assert_eq!(until(&mut feed, &["open"]).await, ["open"]);
}

/// However long that is: PostgreSQL tells of it in each snapshot, and on MariaDB its locks do.
pub(crate) async fn an_id_is_asked_for_as_long_as_somebody_holds_it(store: Opened) {
    const LONG: Duration = Duration::from_secs(120);
    let clock = ManualClock::new(Clock::system().now());
    let other = DataStore::open(store.options.clone(), clock.clock()).await.unwrap();
    let mut feed = other.feed();
    feed.snapshot().await.unwrap();
    let status = feed.status();
    let gaps = || status.borrow().open_gaps.len();
    for is_kept in [true, false] {
        let (held, later) = (format!("held-{is_kept}"), format!("later-{is_kept}"));
        let mut open = store.transaction().await;
        write(&mut open, &held).await;
        store.create(entry(&later)).await;
        brings(within(LONG, &clock, &mut feed).await, &later);
        let change = within(LONG, &clock, &mut feed).await;
        assert!(change.is_none(), "{change:?}");
        assert_eq!(gaps(), 1, "{held} is given up");
        if is_kept {
            open.commit().await;
            brings(within(LONG, &clock, &mut feed).await, &held);
        } else {
            open.roll_back().await;
            let settled = async {
                while gaps() > 0 {
                    let change = within(LONG, &clock, &mut feed).await;
                    assert!(change.is_none(), "{change:?}");
                }
            };
            timeout(Duration::from_secs(30), settled).await.expect("it is given up in time");
        }
        assert_eq!(gaps(), 0);
    }
    other.close().await;
}

/// Where ids are given in steps, as on Galera, each event leaves a gap.
pub(crate) async fn an_id_is_asked_for_among_any_number_of_gaps(store: Opened) {
    const LONG: Duration = Duration::from_secs(60);
    let clock = ManualClock::new(Clock::system().now());
    let other = DataStore::open(store.options.clone(), clock.clock()).await.unwrap();
    let rows: Vec<_> = (1..=300).map(|i| format!("({}, 'e{i}')", 2 * i)).collect();
    store.sql(&format!("INSERT INTO registered_entries_events (id, entry_id) VALUES {}", rows.join(", "))).await;
    let mut open = store.transaction().await;
    write(&mut open, "held").await;
    store.create(entry("later")).await;
    let mut feed = other.feed();
    feed.snapshot().await.unwrap();
    let status = feed.status();
    assert_eq!(status.borrow().open_gaps.len(), 301);

    let change = within(LONG, &clock, &mut feed).await;
    assert!(change.is_none(), "{change:?}");
    assert_eq!(status.borrow().open_gaps.len(), 1, "all but the one that is held are settled");
    open.commit().await;
    let change = within(LONG, &clock, &mut feed).await;
    let Some(Change::Rows(rows)) = change else { panic!("{change:?}") };
    assert!(rows.entries.iter().any(|(id, _)| id == "held"), "{rows:?}");
    other.close().await;
}

/// The older of two events is lost, and the newer one kept.
pub(crate) async fn an_older_event_that_is_gone_is_noticed(store: Opened) {
    for id in ["kept", "lost", "newest"] {
        store.write(CreateEntry { entry: entry(id) }).await.unwrap();
    }
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let mut failover = store.transaction().await;
    failover.execute("DELETE FROM registered_entries WHERE entry_id = 'lost'").await;
    failover.execute("DELETE FROM registered_entries_events WHERE entry_id = 'lost'").await;
    failover.commit().await;
    let snapshot = compared(&mut feed).await;
    assert_eq!(snapshot.entries.len(), 2);
}
