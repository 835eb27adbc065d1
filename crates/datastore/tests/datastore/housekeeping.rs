//! What is over goes, and what was left over by others is no hindrance.

use std::time::Duration;

use steeple_datastore::entries::{CreateEntries, DeleteEntry, EntryFilter, PruneEntries};
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::nodes::{AttestNode, CreateNode, DeleteNode, NodeFilter};
use steeple_datastore::{Entry, Node, Page};
use steeple_runtime::Clock;

use crate::opened::{Opened, entry, selectors};

/// Where a table is empty, a database that is started again may give the ids of its rows anew.
pub(crate) async fn the_newest_event_outlives_all_pruning(store: Opened) {
    for id in ["a", "b", "c"] {
        store.create(entry(id)).await;
        store.write(CreateNode(Node { spiffe_id: id.into(), ..Node::default() })).await.unwrap();
    }
    let later = Clock::system().now() + Duration::from_secs(60);
    for _ in 0..2 {
        store.write(PruneEntryEvents { created_before: later }).await.unwrap();
        store.write(PruneNodeEvents { created_before: later }).await.unwrap();
        for table in ["registered_entries_events", "attested_node_entries_events"] {
            assert_eq!(store.sql(&format!("SELECT id FROM {table}")).await, [["3"]], "{table}");
        }
    }
    let long_ago = later - Duration::from_secs(3600);
    store.create(entry("d")).await;
    assert_eq!(store.write(PruneEntryEvents { created_before: long_ago }).await.unwrap(), 0);
    assert_eq!(store.write(PruneEntryEvents { created_before: later }).await.unwrap(), 1);
    assert_eq!(store.entry_events().await, ["d"]);
}

/// Those of a server that was away for long would take one transaction longer than a statement may.
pub(crate) async fn events_are_pruned_a_part_at_a_time_the_oldest_first(store: Opened) {
    store.create(entry("e")).await;
    for _ in 0..14 {
        let double = "INSERT INTO registered_entries_events (created_at, entry_id) \
                      SELECT created_at, entry_id FROM registered_entries_events";
        store.sql(double).await;
    }
    let all = store.entry_events().await.len() as u64;
    let newest = store.sql("SELECT MAX(id) FROM registered_entries_events").await;
    let created_before = Clock::system().now() + Duration::from_secs(60);
    let prune = || store.write(PruneEntryEvents { created_before });
    assert_eq!(prune().await.unwrap(), 10_000);
    assert_eq!(store.sql("SELECT MAX(id) FROM registered_entries_events").await, newest);
    assert_eq!(prune().await.unwrap(), all - 10_000 - 1);
    assert_eq!(prune().await.unwrap(), 0);
    assert_eq!(store.sql("SELECT MIN(id) FROM registered_entries_events").await, newest);
}

pub(crate) async fn entries_are_pruned_a_part_at_a_time(store: Opened) {
    let over = (0..600).map(|i| Entry { expires_at: 1, ..entry(&format!("e{i}")) }).collect();
    assert!(store.write(CreateEntries { entries: over }).await.unwrap().iter().all(Result::is_ok));
    store.create(entry("kept")).await;
    let prune = || store.write(PruneEntries { expires_before: 2 });
    assert_eq!(prune().await.unwrap().last().map(|it| it.entry_id.as_str()), Some("e499"));
    assert_eq!(prune().await.unwrap().len(), 100);
    assert_eq!(prune().await.unwrap(), []);
    assert!(store.fetch_entry("kept").await.unwrap().is_some());
}

/// The reference deletes a bundle's entries without what belongs to them, and an entry may name a bundle that is gone.
pub(crate) async fn rows_that_belong_to_nothing_are_passed_over(store: Opened) {
    store.create(entry("kept")).await;
    store.create(entry("gone")).await;
    let gone = store.sql("SELECT id FROM registered_entries WHERE entry_id = 'gone'").await.concat().remove(0);
    let kept = store.sql("SELECT id FROM registered_entries WHERE entry_id = 'kept'").await.concat().remove(0);
    store.sql("DELETE FROM registered_entries WHERE entry_id = 'gone'").await;
    for statement in [
        format!("INSERT INTO dns_names (registered_entry_id, value) VALUES ({gone}, 'a.test')"),
        format!("INSERT INTO federated_registration_entries (bundle_id, registered_entry_id) VALUES (99, {gone})"),
        format!("INSERT INTO federated_registration_entries (bundle_id, registered_entry_id) VALUES (99, {kept})"),
        "INSERT INTO node_resolver_map_entries (spiffe_id, type, value) VALUES ('nobody', 'x', 'y')".to_owned(),
        "INSERT INTO registered_entries_events (entry_id) VALUES ('gone')".to_owned(),
    ] {
        store.sql(&statement).await;
    }
    let left = store.sql("SELECT COUNT(*) FROM selectors").await.concat();
    assert_eq!(left, ["2"], "one of an entry that is not there");

    let (all, page) = (EntryFilter::default(), Page::default());
    let listed = store.list_entries(&all, &page).await.unwrap().rows;
    assert_eq!((listed.len(), listed[0].entry_id.as_str(), listed[0].federates_with.len()), (1, "kept", 0));
    assert!(store.list_nodes(&NodeFilter::default(), &page, true).await.unwrap().rows.is_empty());
    let another = store.another().await;
    let snapshot = another.feed().snapshot().await.unwrap();
    assert_eq!((snapshot.entries.len(), snapshot.nodes.len()), (1, 0));

    // An agent of that name gets its own selectors alone.
    let node = AttestNode {
        spiffe_id: "nobody".into(),
        attestation_type: "x".into(),
        serial: "1".into(),
        expires_at: 4_102_444_800,
        can_reattest: false,
        selectors: selectors(&["x:z"]),
    };
    store.write(node).await.unwrap();
    assert_eq!(store.fetch_node("nobody").await.unwrap().unwrap().selectors, selectors(&["x:z"]));
    store.write(DeleteNode { spiffe_id: "nobody".into() }).await.unwrap();
    store.write(DeleteEntry { entry_id: "kept".into() }).await.unwrap();
    store.create(entry("new")).await;
    let new = store.fetch_entry("new").await.unwrap().unwrap();
    assert_eq!((new.dns_names.len(), new.selectors), (0, selectors(&["unix:uid:1"])));
}
