//! What only a file has.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use jiff::tz::Offset;
use steeple_datastore::entries::{CreateEntry, EntryFilter, PruneEntries};
use steeple_datastore::events::PruneEntryEvents;
use steeple_datastore::join_tokens::{ConsumeJoinToken, CreateJoinToken, JoinToken};
use steeple_datastore::nodes::{CreateNode, NodeFilter};
use steeple_datastore::{Change, DataStore, Error, Node, Options, Page, Source, SqlConfig};
use steeple_runtime::Clock;
use tempfile::TempDir;

use crate::feed::compared;
use crate::ids::{until, write};
use crate::opened::{entry, on_sqlite};
use crate::tokens::one_answer;
use crate::unopened::{Place, data, fixture};

/// A copy that no store has opened, and the directory that it lies in.
fn copied(name: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.sqlite3");
    std::fs::copy(data(&format!("{name}.sqlite3")), &path).unwrap();
    (dir, path)
}

/// Without the right to make tables, by order or by the database: the name is taken by something else.
#[tokio::test]
async fn without_a_table_of_its_own_a_token_is_good_for_one_answer() {
    let by_order = fixture("utc", |options| options.disable_migration = true).await;
    assert!(by_order.sql("SELECT name FROM sqlite_master WHERE name LIKE 'steeple%'").await.is_empty());
    let taken = fixture("kolkata", |options| options.disable_migration = true).await;
    taken.close().await;
    taken.sql("CREATE INDEX steeple_used_join_tokens ON join_tokens (expiry)").await;
    let allowed = Options { disable_migration: false, ..taken.options.clone() };
    let refused = DataStore::open(allowed, Clock::system()).await.unwrap();
    for store in [&by_order.store, &refused] {
        one_answer(store).await;
    }
}

/// The file may be put in place by an operator who has it from the reference.
#[tokio::test]
async fn a_file_that_takes_the_place_of_another_gets_the_table_too() {
    let store = on_sqlite().await;
    let (_dir, replacement) = copied("utc");
    for suffix in ["-wal", "-shm"] {
        let mut name = store.path().to_owned().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(replacement, store.path()).unwrap();
    let token = JoinToken { token: "t".into(), expires_at: 4_102_444_800 };
    store.write(CreateJoinToken { token, entry: None }).await.unwrap();
    let consume = || store.write(ConsumeJoinToken { token: "t".into(), digest: Some("key".into()) });
    assert_eq!(consume().await.unwrap(), consume().await.unwrap());
}

/// Many times, because what nobody waits for mostly ends in time.
#[tokio::test]
async fn a_store_that_is_closed_leaves_one_file() {
    for _ in 0..50 {
        let opened = on_sqlite().await;
        let mut feed = opened.feed();
        feed.snapshot().await.unwrap();
        opened.create(entry("e")).await;
        // Stopped in the middle of a look, mostly: one that was fast is over.
        let _ = futures::poll!(pin!(feed.next()));
        feed.close().await;
        opened.close().await;
        let files = std::fs::read_dir(opened.path().parent().unwrap()).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["datastore.sqlite3"]);
    }
}

#[tokio::test]
async fn times_are_written_in_the_zone_and_compared_as_instants() {
    let east = Offset::from_seconds(19_800).unwrap().to_time_zone();
    let store = fixture("kolkata", |options| {
        let Source::Sqlite { path, .. } = &options.source else { panic!("a file") };
        let path = path.clone();
        options.source = Source::Sqlite { path, zone: east };
    })
    .await;
    store
        .write(CreateNode(Node { spiffe_id: "n".into(), expires_at: 2_108_605_442, ..Node::default() }))
        .await
        .unwrap();
    let written = store.sql("SELECT expires_at, created_at FROM attested_node_entries WHERE spiffe_id = 'n'").await;
    assert_eq!(written[0][0], "2036-10-26 09:14:02+05:30");
    assert!(written[0][1].ends_with("+05:30"), "{written:?}");

    // As text, all of these sort after the filter's time in UTC.
    let utc = "UPDATE attested_node_entries SET expires_at = '2036-10-26 03:44:02+00:00' WHERE spiffe_id = 'n'";
    let number = "UPDATE attested_node_entries SET expires_at = 2108605442 WHERE spiffe_id = 'n'";
    for update in [utc, number] {
        store.sql(update).await;
        let node = store.fetch_node("n").await.unwrap().unwrap();
        assert_eq!(node.expires_at, 2_108_605_442, "{update}");
        for (before, count) in [(2_108_605_442, 0), (2_108_605_443, 1)] {
            let filter = NodeFilter { by_expires_before: Some(before), ..NodeFilter::default() };
            assert_eq!(store.count_nodes(&filter).await.unwrap(), count, "{update}");
        }
    }
    let created_before = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_537_691);
    let pruned = store.write(PruneEntryEvents { created_before }).await.unwrap();
    assert_eq!(pruned, 1, "one event is of 16:28:10 UTC, all others of 16:28:11");
}

#[tokio::test]
async fn follows_the_path_when_the_file_is_replaced() {
    let store = on_sqlite().await;
    let replacement = on_sqlite().await;
    replacement.create(entry("replacement")).await;
    replacement.close().await;
    store.create(entry("a")).await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    assert!(store.fetch_entry("a").await.unwrap().is_some());

    let path = store.path();
    for suffix in ["-wal", "-shm"] {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(replacement.path(), path).unwrap();
    let snapshot = compared(&mut feed).await;
    assert_eq!(snapshot.entries[0].entry_id, "replacement");
    assert_eq!(store.fetch_entry("a").await.unwrap(), None);
    store.create(entry("b")).await;
    let Change::Rows(changed) = feed.next().await.unwrap() else { panic!("a change of rows") };
    assert_eq!(changed.entries[0].0, "b");
    assert_eq!(store.sql("SELECT entry_id FROM registered_entries ORDER BY id").await, [["replacement"], ["b"]]);

    std::fs::remove_file(path).unwrap();
    assert!(matches!(store.write(PruneEntries { expires_before: 1 }).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.fetch_entry("b").await, Err(Error::Unavailable(_))));
    assert!(!path.exists(), "only opening the store makes a file");
}

/// A copy of an earlier moment that was put in place, and then gave the ids of what was lost to something else.
#[tokio::test]
async fn ids_that_a_restored_file_gives_again_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::exchangeable_file(dir.path());
    let Place::File(path) = &place else { panic!("a file") };
    let store = DataStore::open(Options::sqlite(path), Clock::system()).await.unwrap();
    store.write(CreateEntry { entry: entry("kept") }).await.unwrap();
    let copy = place.copied().await;
    store.write(CreateEntry { entry: entry("lost") }).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let newest = place.sql("SELECT CAST(MAX(id) AS text) FROM registered_entries_events").await;
    place.replace_by(&copy).await;
    let mut another = place.transaction().await;
    write(&mut another, "other").await;
    another.commit().await;
    let again = "SELECT CAST(id AS text) FROM registered_entries_events WHERE entry_id = 'other'";
    assert_eq!(place.sql(again).await, newest);
    let all = compared(&mut feed).await;
    let ids: Vec<_> = all.entries.iter().map(|entry| entry.entry_id.as_str()).collect();
    assert_eq!(ids, ["kept", "other"]);
    store.close().await;
}

#[tokio::test]
async fn a_feed_that_begins_while_another_program_writes_misses_nothing() {
    let store = on_sqlite().await;
    store.create(entry("before")).await;
    let mut open = store.transaction().await;
    write(&mut open, "open").await;
    let mut feed = store.feed();
    assert_eq!(feed.snapshot().await.unwrap().entries.len(), 1);
    open.commit().await;
    store.create(entry("after")).await;
    assert_eq!(until(&mut feed, &["open", "after"]).await, ["open", "after"]);
}

#[tokio::test]
async fn refuses_a_file_that_is_no_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text");
    std::fs::write(&path, "no database, but long enough for a header; no database, but long enough for a header ...")
        .unwrap();
    let error = DataStore::open(Options::sqlite(&path), Clock::system()).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    let missing = Options::sqlite(directory.path().join("no/such/directory/file"));
    assert!(matches!(DataStore::open(missing, Clock::system()).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn the_umask_decides_who_may_read_a_new_file() {
    let store = on_sqlite().await;
    let mode = std::fs::metadata(store.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o133, 0, "{mode:o}");
}

#[tokio::test]
async fn several_readers_share_few_connections() {
    let store = on_sqlite().await;
    for i in 0..10 {
        store.create(entry(&format!("e{i}"))).await;
    }
    let (all, page) = (EntryFilter::default(), Page::default());
    let reads = (0..200).map(|_| store.list_entries(&all, &page));
    let lists = futures::future::try_join_all(reads).await.unwrap();
    assert!(lists.iter().all(|list| list.rows.len() == 10));
}

/// How often this process has the file open.
fn descriptors(path: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|fd| std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|file| file == path)).count()
}

#[tokio::test]
async fn max_open_conns_bounds_the_connections_for_reading() {
    for (line, most) in [("", 4), ("max_open_conns = 2", 2), ("max_open_conns = 50", 4)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("datastore.sqlite3");
        let text = format!("database_type = \"sqlite3\"\nconnection_string = \"{}\"\n{line}\n", path.display());
        let config = SqlConfig::read(&steeple_config::hcl::parse(&text).unwrap()).unwrap();
        let store = DataStore::open(config.try_into().unwrap(), Clock::system()).await.unwrap();
        futures::future::try_join_all((0..50).map(|_| store.fetch_node("nobody"))).await.unwrap();
        assert_eq!(descriptors(&path), most + 1, "{line:?}: one is for writing");
        store.close().await;
    }
}

/// Servers run every call in a task of its own.
#[tokio::test]
async fn calls_can_be_spawned() {
    let opened = on_sqlite().await;
    let store = opened.store.clone();
    let calls = tokio::spawn(async move {
        let mut feed = store.feed();
        feed.snapshot().await?;
        store.write(CreateNode(Node { spiffe_id: "n".into(), ..Node::default() })).await?;
        feed.next().await?;
        store.list_nodes(&NodeFilter::default(), &Page::default(), true).await?;
        store.list_entries(&EntryFilter::default(), &Page::default()).await?;
        store.list_bundles(&Page::default()).await?;
        store.list_federation_relationships(&Page::default()).await?;
        store.fetch_node("n").await
    });
    assert!(calls.await.unwrap().unwrap().is_some());
}
