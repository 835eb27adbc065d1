use std::sync::Arc;
use std::time::Duration;

use steeple_datastore::bundles::{CreateBundle, DeleteBundle, DeleteMode, SetBundle};
use steeple_datastore::entries::{CreateEntries, CreateEntry, DeleteEntry, EntryMask, UpdateEntry};
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::nodes::{AttestNode, DeleteNode};
use steeple_datastore::{Bundle, Change, ChangedRows, Entry, Feed, Names, Slice, Snapshot};
use steeple_testkit::record::Logged;

use crate::opened::{Opened, entry, selectors};
use crate::unopened::Place;

const NODE: &str = "spiffe://td/spire/agent/x509pop/1";
const TD: &str = "spiffe://a.test";

fn node(serial: &str) -> AttestNode {
    AttestNode {
        spiffe_id: NODE.into(),
        attestation_type: "x509pop".into(),
        serial: serial.into(),
        expires_at: 2_000,
        can_reattest: true,
        selectors: selectors(&["x509pop:cn:1"]),
    }
}

fn bundle(refresh_hint: i64) -> Bundle {
    Bundle { trust_domain_id: TD.into(), refresh_hint, ..Bundle::default() }
}

/// The next change, which is one of rows.
pub(crate) async fn changed(feed: &mut Feed) -> ChangedRows {
    match within(feed).await {
        Change::Rows(rows) => rows,
        Change::Slice(slice) => panic!("{slice:?}"),
    }
}

/// All rows, which come again, after changes that may still come.
pub(crate) async fn compared(feed: &mut Feed) -> Snapshot {
    let mut all = Snapshot::default();
    loop {
        match within(feed).await {
            Change::Rows(rows) => all.bundles.extend(rows.bundles.into_iter().filter_map(|(_, bundle)| bundle)),
            Change::Slice(slice) => {
                all.nodes.extend(slice.nodes);
                all.entries.extend(slice.entries.into_iter().map(Arc::unwrap_or_clone));
                if slice.is_last {
                    all.position = feed.status().borrow().newest;
                    return all;
                }
            }
        }
    }
}

/// A change that does not come is a failure, not a test that hangs.
async fn within(feed: &mut Feed) -> Change {
    tokio::time::timeout(Duration::from_secs(20), feed.next()).await.expect("a change in time").unwrap()
}

fn entry_ids(rows: &ChangedRows) -> Vec<&str> {
    rows.entries.iter().map(|(id, _)| id.as_str()).collect()
}

pub(crate) async fn begins_with_everything(store: Opened) {
    store.write(CreateBundle(bundle(1))).await.unwrap();
    let created = store.create(Entry { federates_with: vec![TD.into()], ..entry("e") }).await;
    let attested = store.write(node("1")).await.unwrap();
    for mut feed in [store.feed(), store.feed()] {
        let snapshot = feed.snapshot().await.unwrap();
        assert_eq!(snapshot.entries[0], created);
        assert_eq!(snapshot.nodes, std::slice::from_ref(&attested));
        assert_eq!(snapshot.bundles, [bundle(1)]);
        assert_eq!((snapshot.position.entries, snapshot.position.nodes), (1, 2));
    }
    let all = compared(&mut store.feed()).await;
    assert_eq!((all.entries, all.nodes, all.bundles), (vec![created], vec![attested], vec![bundle(1)]));
}

pub(crate) async fn brings_what_was_written_and_what_went(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let created = store.create(entry("e")).await;
    let rows = changed(&mut feed).await;
    assert_eq!(rows.entries.len(), 1);
    assert_eq!(rows.entries[0].1.as_deref(), Some(&created));

    let attested = store.write(node("1")).await.unwrap();
    let rows = changed(&mut feed).await;
    assert_eq!(rows.nodes, [(NODE.to_owned(), Some(attested))]);

    for (refresh_hint, mutation) in [(1, bundle(1)), (2, bundle(2))] {
        store.write(SetBundle(mutation)).await.unwrap();
        let rows = changed(&mut feed).await;
        assert_eq!(rows.bundles, [(TD.to_owned(), Some(bundle(refresh_hint)))]);
        assert!(rows.entries.is_empty() && rows.nodes.is_empty());
    }

    store.write(DeleteEntry { entry_id: "e".into() }).await.unwrap();
    assert!(matches!(changed(&mut feed).await.entries.as_slice(), [(id, None)] if id == "e"));
    store.write(DeleteNode { spiffe_id: NODE.into() }).await.unwrap();
    assert_eq!(changed(&mut feed).await.nodes, [(NODE.to_owned(), None)]);
    store.write(DeleteBundle { trust_domain: TD.into(), mode: DeleteMode::Restrict }).await.unwrap();
    assert_eq!(changed(&mut feed).await.bundles, [(TD.to_owned(), None)]);
}

pub(crate) async fn brings_a_row_that_changed_often_once(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    store.create(entry("e")).await;
    store.create(entry("gone")).await;
    for i in 0..5 {
        let update = UpdateEntry { entry: Entry { hint: format!("{i}"), ..entry("e") }, mask: EntryMask::ALL };
        store.write(update).await.unwrap();
    }
    store.write(DeleteEntry { entry_id: "gone".into() }).await.unwrap();
    let rows = changed(&mut feed).await;
    assert_eq!(entry_ids(&rows), ["e", "gone"]);
    assert_eq!(rows.entries[0].1.as_ref().unwrap().hint, "4");
    assert!(rows.entries[1].1.is_none());
}

pub(crate) async fn brings_what_another_store_wrote(store: Opened) {
    let other = store.another().await;
    let mut feed = other.feed();
    feed.snapshot().await.unwrap();
    for i in 0..3 {
        let id = format!("e{i}");
        store.create(entry(&id)).await;
        assert_eq!(entry_ids(&changed(&mut feed).await), [id]);
    }
    store.write(node("1")).await.unwrap();
    assert_eq!(changed(&mut feed).await.nodes.len(), 1);
}

pub(crate) async fn counts_as_others_changes_what_is_certainly_theirs(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let status = feed.status();
    let writing = async {
        for i in 0..20 {
            let entries = (0..8).map(|n| CreateEntry { entry: entry(&format!("e{i}-{n}")) });
            futures::future::try_join_all(entries.map(|entry| store.write(entry))).await.unwrap();
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < 160 {
            seen += changed(&mut feed).await.entries.len();
        }
    };
    tokio::join!(writing, reading);
    assert_eq!(status.borrow().foreign_events, 0);
    // What comes close behind an own commit is not certain.
    let other = store.another().await;
    let mut written = 0;
    while status.borrow().foreign_events == 0 {
        other.write(node(&written.to_string())).await.unwrap();
        written += 1;
        assert_eq!(changed(&mut feed).await.nodes.len(), 1);
    }
    assert!(written < 10, "{written}");
}

pub(crate) async fn brings_bundles_of_another_store(store: Opened) {
    let other = store.another().await;
    let mut feed = other.feed();
    feed.snapshot().await.unwrap();
    store.write(CreateBundle(bundle(1))).await.unwrap();
    assert_eq!(changed(&mut feed).await.bundles, [(TD.to_owned(), Some(bundle(1)))]);
}

pub(crate) async fn brings_entries_that_lost_a_bundle_without_an_event(store: Opened) {
    store.write(CreateBundle(bundle(1))).await.unwrap();
    store.create(Entry { federates_with: vec![TD.into()], ..entry("federated") }).await;
    store.create(entry("other")).await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    // As the reference deletes a bundle, and then creates it anew, without a look in between.
    store.sql("DELETE FROM federated_registration_entries").await;
    store.sql("DELETE FROM bundles").await;
    let data = store.bytes(&hex(&bundle(1)));
    store.sql(&format!("INSERT INTO bundles (trust_domain, data) VALUES ('spiffe://a.test', {data})")).await;
    let rows = changed(&mut feed).await;
    assert_eq!(rows.bundles, [(TD.to_owned(), Some(bundle(1)))]);
    assert_eq!(entry_ids(&rows), ["federated"]);
    assert!(rows.entries[0].1.as_ref().unwrap().federates_with.is_empty());
}

pub(crate) async fn brings_entries_that_lost_a_bundle_which_had_just_come(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    // As the reference writes bundles: there is no event.
    let data = store.bytes(&hex(&bundle(1)));
    store.sql(&format!("INSERT INTO bundles (trust_domain, data) VALUES ('spiffe://a.test', {data})")).await;
    store.create(Entry { federates_with: vec![TD.into()], ..entry("federated") }).await;
    let last = async |feed: &mut Feed| {
        let mut rows = changed(feed).await;
        while rows.entries.is_empty() {
            rows = changed(feed).await;
        }
        rows.entries.swap_remove(0).1.unwrap().federates_with.clone()
    };
    assert_eq!(last(&mut feed).await, [TD]);
    store.sql("DELETE FROM federated_registration_entries").await;
    store.sql("DELETE FROM bundles").await;
    assert!(last(&mut feed).await.is_empty());
}

fn hex(bundle: &Bundle) -> String {
    prost::Message::encode_to_vec(bundle).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn loses_nothing_when_its_future_is_dropped(store: Opened) {
    let other = store.another().await;
    let mut feed = other.feed();
    feed.snapshot().await.unwrap();
    let mut seen = Vec::new();
    let writing = async {
        for i in 0..40 {
            store.create(entry(&format!("e{i}"))).await;
        }
    };
    tokio::pin!(writing);
    let mut written = false;
    let mut step = 0_u64;
    // Who is dropped in the middle connects anew, which takes longer to a server.
    let longest = if matches!(store.place, Place::File(_)) { 3_000 } else { 300_000 };
    while seen.len() < 40 {
        step += 1;
        // Dropped after times that hit every step of a look.
        let cut = tokio::time::sleep(Duration::from_micros(step * 97 * longest / 3_000 % longest));
        tokio::select! {
            () = &mut writing, if !written => written = true,
            () = cut => {}
            change = feed.next() => match change.unwrap() {
                Change::Rows(rows) => seen.extend(rows.entries.into_iter().map(|(id, _)| id)),
                Change::Slice(slice) => panic!("{slice:?}"),
            },
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 40);
}

pub(crate) async fn takes_more_events_than_one_look_reads(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let entries = |from: usize, to| (from..to).map(|i| entry(&format!("e{i}"))).collect();
    let writes = [(0, 6_000), (6_000, 12_000), (12_000, 15_000)]
        .map(|(from, to)| store.write(CreateEntries { entries: entries(from, to) }));
    futures::future::try_join_all(writes).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 15_000 {
        let rows = changed(&mut feed).await;
        assert!(rows.entries.len() <= 10_000);
        seen.extend(rows.entries.into_iter().map(|(id, entry)| (id, entry.unwrap())));
    }
    assert_eq!(seen.len(), 15_000);
    assert!(seen.iter().all(|(id, entry)| *id == entry.entry_id));
}

pub(crate) async fn pruned_events_are_no_step_back(store: Opened) {
    let mut feed = store.feed();
    store.create(entry("d")).await;
    store.create(entry("e")).await;
    store.write(node("1")).await.unwrap();
    feed.snapshot().await.unwrap();
    let created_before = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    assert_eq!(store.write(PruneEntryEvents { created_before }).await.unwrap(), 1);
    assert_eq!(store.write(PruneNodeEvents { created_before }).await.unwrap(), 1);
    store.create(entry("next")).await;
    assert_eq!(entry_ids(&changed(&mut feed).await), ["next"]);
    let old = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(store.write(PruneEntryEvents { created_before: old }).await.unwrap(), 0);
}

/// As the reference prunes, which leaves nothing: no reason for an alarm, and one to compare.
pub(crate) async fn what_the_reference_prunes_is_compared_and_no_step_back(store: Opened) {
    let log = Logged::new();
    let mut feed = store.feed();
    store.create(entry("a")).await;
    store.write(node("1")).await.unwrap();
    feed.snapshot().await.unwrap();
    store.sql("UPDATE registered_entries SET hint = 'quiet'").await;
    store.sql("DELETE FROM attested_node_entries_events").await;
    store.sql("DELETE FROM registered_entries_events").await;
    assert_eq!(compared(&mut feed).await.entries[0].hint, "quiet");
    assert!(!feed.has_moved_back());
    store.create(entry("b")).await;
    assert_eq!(entry_ids(&changed(&mut feed).await), ["b"]);
    // Most of the events, and not all.
    store.create(entry("c")).await;
    assert_eq!(entry_ids(&changed(&mut feed).await), ["c"]);
    store.sql("DELETE FROM registered_entries_events WHERE entry_id = 'b'").await;
    assert_eq!(compared(&mut feed).await.entries.len(), 3);
    assert!(!feed.has_moved_back());
    assert_eq!(log.with(MOVED_BACK), []);
    store.sql("DELETE FROM registered_entries_events WHERE entry_id = 'c'").await;
    store.give_event_ids_again().await;
    compared(&mut feed).await;
    assert!(feed.has_moved_back());
    assert_eq!(log.with(MOVED_BACK).len(), 1, "ids that were given are not");
}

pub(crate) const MOVED_BACK: &str = "Database was replaced or moved back; all of it is read again";

pub(crate) async fn compares_when_the_database_moved_back(store: Opened) {
    store.create(entry("a")).await;
    store.create(entry("b")).await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    // What a restored copy looks like.
    store.sql("DELETE FROM registered_entries WHERE entry_id = 'b'").await;
    store.sql("DELETE FROM registered_entries_events WHERE entry_id = 'b'").await;
    store.give_event_ids_again().await;
    let mut all = compared(&mut feed).await;
    while all.entries.len() > 1 {
        all = compared(&mut feed).await;
    }
    assert_eq!(all.position.entries, 1);
    store.create(entry("c")).await;
    assert_eq!(entry_ids(&changed(&mut feed).await), ["c"]);
}

pub(crate) async fn goes_on_from_its_position_after_an_error(store: Opened) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    store.sql("ALTER TABLE dns_names RENAME TO away").await;
    store
        .sql("INSERT INTO registered_entries (entry_id, spiffe_id, parent_id) VALUES ('e', 'spiffe://td/e', '')")
        .await;
    store.sql("INSERT INTO registered_entries_events (entry_id) VALUES ('e')").await;
    for _ in 0..2 {
        let error = feed.next().await.unwrap_err();
        assert!(error.to_string().contains("dns_names"), "{error}");
    }
    store.sql("ALTER TABLE away RENAME TO dns_names").await;
    store
        .sql("INSERT INTO selectors (registered_entry_id, type, value) SELECT id, 'a', 'b' FROM registered_entries")
        .await;
    store.write(CreateEntry { entry: entry("f") }).await.unwrap();
    assert_eq!(entry_ids(&changed(&mut feed).await), ["e", "f"]);
}

const UNREADABLE: &str = "A row of the database cannot be read; what was known of it stays";

/// The table and the id of each row that was told to be unreadable, in order.
fn told(log: &Logged) -> Vec<(String, String)> {
    let mut told: Vec<_> =
        log.with(UNREADABLE).iter().map(|line| (line["table"].clone(), line["id"].clone())).collect();
    told.sort();
    told
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(table, id)| (table.to_owned(), id.to_owned())).to_vec()
}

/// What is spoilt is neither gone nor an error, whether it was known or not, and comes when it is whole again.
pub(crate) async fn rows_that_cannot_be_read_keep_nothing_back(store: Opened) {
    let log = Logged::new();
    store.write(CreateBundle(bundle(1))).await.unwrap();
    let known = store.create(entry("known")).await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let spoil = |value: &str, which: &str| {
        format!("UPDATE registered_entries SET additional_attributes = {value} WHERE entry_id {which}")
    };
    let event = "INSERT INTO registered_entries_events (entry_id) VALUES ('known')";
    store.create(entry("new")).await;
    store.sql(&spoil(&store.bytes("ff"), "IN ('known', 'new')")).await;
    store.sql(event).await;
    store.sql(&format!("UPDATE bundles SET data = {}", store.bytes("ff"))).await;
    store.create(entry("after")).await;
    assert_eq!(entry_ids(&changed(&mut feed).await), ["after"]);
    let entries = pairs([("registered_entries", "known"), ("registered_entries", "new")]);
    assert_eq!(told(&log)[told(&log).len() - 2..], entries);

    // Asked for, they are still no news.
    feed.look_again(Names { entries: vec!["known".into(), "new".into(), "after".into()], nodes: Vec::new() });
    assert_eq!(entry_ids(&changed(&mut feed).await), ["after"]);
    // Whoever looks at bundles because of this one looks at the spoilt one too.
    let other = Bundle { trust_domain_id: "spiffe://b.test".into(), ..Bundle::default() };
    store.write(CreateBundle(other)).await.unwrap();
    let rows = changed(&mut feed).await;
    let bundles: Vec<_> = rows.bundles.iter().map(|(td, bundle)| (td.as_str(), bundle.is_some())).collect();
    assert_eq!(bundles, [("spiffe://b.test", true)]);
    assert_eq!(told(&log), [pairs([("bundles", TD)]), entries].concat(), "once");

    store.sql(&spoil("NULL", "= 'known'")).await;
    store.sql(event).await;
    let rows = changed(&mut feed).await;
    assert_eq!(rows.entries[0].1.as_deref(), Some(&known));
}

/// Nor do they end a comparison.
pub(crate) async fn compares_all_but_rows_that_cannot_be_read(store: Opened) {
    let entries = (0..1_500).map(|i| entry(&format!("e{i}"))).collect();
    store.write(CreateEntries { entries }).await.unwrap();
    let mut feed = store.feed().comparing_every(Duration::from_secs(1));
    feed.snapshot().await.unwrap();
    let spoilt = "('e3', 'e999', 'e1499')";
    let bytes = store.bytes("ff");
    store
        .sql(&format!("UPDATE registered_entries SET additional_attributes = {bytes} WHERE entry_id IN {spoilt}"))
        .await;
    let log = Logged::new();
    for _ in 0..2 {
        let all = compared(&mut feed).await;
        assert_eq!(all.entries.len(), 1_497);
        assert!(all.entries.iter().all(|entry| !spoilt.contains(&format!("'{}'", entry.entry_id))));
    }
    assert_eq!(log.with(UNREADABLE).len(), 3, "each once");
    store.sql("UPDATE registered_entries SET additional_attributes = NULL").await;
    while compared(&mut feed).await.entries.len() < 1_500 {}
}

/// More rows than a slice has, of which some change without an event.
pub(crate) async fn compares_all_rows_in_slices_and_brings_changes_in_between(store: Opened) {
    let entries = (0..2_500).map(|i| entry(&format!("e{i}"))).collect();
    store.write(CreateEntries { entries }).await.unwrap();
    store.write(node("1")).await.unwrap();
    let mut feed = store.feed().comparing_every(Duration::from_secs(3));
    feed.snapshot().await.unwrap();
    store.sql("UPDATE registered_entries SET hint = 'quiet' WHERE entry_id = 'e2400'").await;
    let (mut slices, mut between) = (Vec::new(), false);
    while slices.last().is_none_or(|slice: &Slice| !slice.is_last) {
        match within(&mut feed).await {
            Change::Slice(slice) => {
                if slice.is_first {
                    store.create(entry("between")).await;
                }
                slices.push(slice);
            }
            Change::Rows(rows) => between |= !slices.is_empty() && entry_ids(&rows) == ["between"],
        }
    }
    assert!(between, "a change waits for no comparison");
    assert_eq!(slices.iter().map(|slice| slice.is_first).collect::<Vec<_>>(), [true, false, false]);
    assert!(slices.iter().all(|slice| slice.nodes.len() + slice.entries.len() <= 1_000));
    assert_eq!(slices[0].nodes.len(), 1);
    let all: Vec<_> = slices.iter().flat_map(|slice| &slice.entries).collect();
    assert_eq!(all.len(), 2_501, "each row once");
    assert_eq!(all.iter().filter(|entry| entry.hint == "quiet").count(), 1);
}

pub(crate) async fn looks_again_at_rows_that_are_asked_for(store: Opened) {
    let kept = store.create(entry("kept")).await;
    let attested = store.write(node("1")).await.unwrap();
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    let names = |entries: &[&str], nodes: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names { entries: owned(entries), nodes: owned(nodes) }
    };
    feed.look_again(names(&["kept", "gone"], &[]));
    feed.look_again(names(&[], &[NODE, "spiffe://td/gone"]));
    let rows = changed(&mut feed).await;
    let entries: Vec<_> = rows.entries.iter().map(|(id, entry)| (id.as_str(), entry.as_deref())).collect();
    assert_eq!(entries, [("kept", Some(&kept)), ("gone", None)]);
    let nodes: Vec<_> = rows.nodes.iter().map(|(id, node)| (id.as_str(), node.as_ref())).collect();
    assert_eq!(nodes, [(NODE, Some(&attested)), ("spiffe://td/gone", None)]);
}

/// What cannot be read in a comparison keeps nothing else back.
pub(crate) async fn brings_changes_while_a_comparison_fails(store: Opened) {
    store.write(node("1")).await.unwrap();
    let mut feed = store.feed().comparing_every(Duration::from_secs(1));
    feed.snapshot().await.unwrap();
    store.sql("ALTER TABLE node_resolver_map_entries RENAME TO away").await;
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(20), feed.next()).await.expect("a slice in time") {
            Ok(change) => assert!(matches!(change, Change::Slice(_)), "{change:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("node_resolver_map_entries"), "{error}");
    store.create(entry("e")).await;
    assert_eq!(entry_ids(&changed(&mut feed).await), ["e"]);
}
