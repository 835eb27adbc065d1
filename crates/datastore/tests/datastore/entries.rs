use std::time::Instant;

use steeple_datastore::bundles::CreateBundle;
use steeple_datastore::entries::{
    CreateEntries, CreateEntry, Created, DeleteEntry, EntryFilter, EntryMask, PruneEntries, UpdateEntries, UpdateEntry,
};
use steeple_datastore::{AdditionalAttributes, Bundle, Entry, Error, Page};
use steeple_runtime::metrics::Coded;

use crate::opened::{Opened, entry, selectors};
use crate::unopened::Place;

fn full() -> Entry {
    Entry {
        selectors: selectors(&["unix:uid:2000", "unix:gid:2000", "k8s:ns:default"]),
        federates_with: vec!["spiffe://b.test".into(), "spiffe://a.test".into(), "spiffe://b.test".into()],
        x509_svid_ttl: 61,
        jwt_svid_ttl: 62,
        admin: true,
        downstream: true,
        expires_at: 4_102_444_800,
        dns_names: vec!["b.example.org".into(), "a.example.org".into()],
        hint: "a hint é <&>".into(),
        additional_attributes: Some(AdditionalAttributes { jwt_svid_include_jti: true, ..Default::default() }),
        ..entry("full")
    }
}

async fn with_bundles(store: &Opened) {
    for trust_domain in ["spiffe://a.test", "spiffe://b.test"] {
        let bundle = Bundle { trust_domain_id: trust_domain.into(), ..Bundle::default() };
        store.write(CreateBundle(bundle)).await.unwrap();
    }
}

pub(crate) async fn reads_back_what_it_created(store: Opened) {
    with_bundles(&store).await;
    let created = store.create(full()).await;
    let read = store.fetch_entry("full").await.unwrap().unwrap();
    let Entry { created_at, federates_with, selectors, dns_names, .. } = read.clone();
    assert!(created_at > 1_700_000_000);
    assert_eq!(federates_with, ["spiffe://a.test", "spiffe://b.test"], "each once, in the order of the bundles");
    assert_eq!((selectors, dns_names), (full().selectors, full().dns_names));
    assert_eq!(
        Entry { selectors: vec![], dns_names: vec![], ..created },
        Entry { selectors: vec![], dns_names: vec![], ..read }
    );

    let generated = store.create(Entry { entry_id: String::new(), ..entry("x") }).await;
    assert_eq!(generated.entry_id.len(), 36, "{}", generated.entry_id);
    assert!(store.fetch_entry(&generated.entry_id).await.unwrap().is_some());
    assert_eq!(store.fetch_entry("none").await.unwrap(), None);

    let off = Entry { additional_attributes: Some(AdditionalAttributes::default()), ..entry("off") };
    assert_eq!(store.create(off).await.additional_attributes, None, "all off reads back as absent");
    let column = store.sql("SELECT additional_attributes FROM registered_entries WHERE entry_id = 'off'").await;
    assert_eq!(column, [["NULL"]]);
}

pub(crate) async fn answers_sorted_and_lists_in_the_order_of_the_request(store: Opened) {
    with_bundles(&store).await;
    let created = store.create(full()).await;
    assert_eq!(created.selectors, selectors(&["k8s:ns:default", "unix:gid:2000", "unix:uid:2000"]));
    assert_eq!(created.dns_names, ["a.example.org", "b.example.org"]);
    let updated = store.write(UpdateEntry { entry: full(), mask: EntryMask::ALL }).await.unwrap();
    assert_eq!((updated.selectors, updated.dns_names), (created.selectors, created.dns_names));
    let listed = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows;
    assert_eq!(listed[0].selectors, full().selectors);
    assert_eq!(listed[0].dns_names, full().dns_names);
}

pub(crate) async fn finds_more_similar_entries_than_a_statement_has_variables(store: Opened) {
    let first = store.create(entry("first")).await;
    let twins = vec![Entry { entry_id: String::new(), ..first.clone() }; 33_000];
    let created = store.write(CreateEntries { entries: twins }).await.unwrap();
    assert!(created.iter().all(|it| matches!(it, Ok(Created::Similar(found)) if *found == first)));
}

pub(crate) async fn returns_a_similar_entry_instead_of_creating_one(store: Opened) {
    let first = store.create(Entry { selectors: selectors(&["a:1", "b:2"]), ..entry("first") }).await;
    let similar = Entry {
        spiffe_id: first.spiffe_id.clone(),
        selectors: selectors(&["b:2", "a:1"]),
        hint: "different".into(),
        x509_svid_ttl: 7,
        ..entry("second")
    };
    assert_eq!(store.write(CreateEntry { entry: similar.clone() }).await.unwrap(), Created::Similar(first.clone()));
    assert_eq!(store.entry_events().await, ["first"]);

    for different in [
        Entry { entry_id: "subset".into(), selectors: selectors(&["a:1"]), ..similar.clone() },
        Entry { entry_id: "superset".into(), selectors: selectors(&["a:1", "b:2", "c:3"]), ..similar.clone() },
        Entry { entry_id: "parent".into(), parent_id: "spiffe://td/other".into(), ..similar.clone() },
        Entry { entry_id: "spiffe".into(), spiffe_id: "spiffe://td/other".into(), ..similar.clone() },
    ] {
        store.create(different).await;
    }

    // Two of one batch.
    let twin = |id: &str| Entry { spiffe_id: "spiffe://td/twin".into(), ..entry(id) };
    let batch = CreateEntries { entries: vec![twin("t1"), entry("between"), twin("t2"), similar] };
    let outcome: Vec<_> = store.write(batch).await.unwrap().into_iter().map(Result::unwrap).collect();
    let twin = store.fetch_entry("t1").await.unwrap().unwrap();
    assert_eq!(outcome[0], Created::New(twin.clone()));
    assert_eq!(outcome[2], Created::Similar(twin));
    assert_eq!(outcome[3], Created::Similar(first));
}

/// The columns that keep selectors of an entry apart.
const SELECTOR: &str = "selectors.registered_entry_id, selectors.type, selectors.value";

pub(crate) async fn keeps_the_errors_of_a_batch_apart(store: Opened) {
    store.create(entry("taken")).await;
    let batch = vec![
        entry("good-1"),
        Entry { selectors: selectors(&["a:b", "a:b"]), ..entry("same-selector") },
        Entry { dns_names: vec!["a.test".into(), "a.test".into()], ..entry("same-dns") },
        Entry { spiffe_id: "spiffe://td/else".into(), ..entry("taken") },
        Entry { x509_svid_ttl: -1, ..entry("ttl") },
        Entry { federates_with: vec!["spiffe://none.test".into()], ..entry("federated") },
        entry("good-2"),
        Entry { spiffe_id: "spiffe://td/again".into(), ..entry("good-1") },
    ];
    let outcome = store.write(CreateEntries { entries: batch }).await.unwrap();
    let texts: Vec<_> =
        outcome.iter().map(|one| one.as_ref().err().map(ToString::to_string).unwrap_or_default()).collect();
    // The row ids of entries that were refused are used up on servers: by the batch, which is undone, and by each.
    let (selectors, dns_names) = match store.place {
        Place::File(_) => ("", ""),
        Place::Postgres(_) => ("", ""),
        Place::MySql(_) => ("9-a-b", "10-a.test"),
    };
    let entry_id = |id| store.taken("registered_entries.entry_id", "uix_registered_entries_entry_id", id);
    assert_eq!(
        texts,
        [
            String::new(),
            store.taken(SELECTOR, "idx_selector_entry", selectors),
            store.taken("dns_names.registered_entry_id, dns_names.value", "idx_dns_entry", dns_names),
            entry_id("taken"),
            "datastore-validation: invalid registration entry: X509SvidTtl is not set".to_owned(),
            "unable to find federated bundle \"spiffe://none.test\"".to_owned(),
            String::new(),
            entry_id("good-1"),
        ]
    );
    let codes: Vec<_> = outcome.iter().map(|one| one.as_ref().err().map_or("OK", Coded::code)).collect();
    let taken = "AlreadyExists";
    assert_eq!(codes, ["OK", taken, taken, taken, "InvalidArgument", "Unknown", "OK", taken]);
    assert_eq!(store.entry_events().await, ["taken", "good-1", "good-2"]);
    for table in ["selectors", "dns_names"] {
        let orphans = format!(
            "SELECT COUNT(*) FROM {table} WHERE registered_entry_id NOT IN (SELECT id FROM registered_entries)"
        );
        assert_eq!(store.sql(&orphans).await, [["0"]]);
    }
}

pub(crate) async fn creates_the_twin_of_a_refused_entry(store: Opened) {
    let twin = |id: &str| Entry { spiffe_id: "spiffe://td/twin".into(), ..entry(id) };
    let refused = Entry { federates_with: vec!["spiffe://none.test".into()], ..twin("refused") };
    let outcome = store.write(CreateEntries { entries: vec![refused, twin("good")] }).await.unwrap();
    assert!(matches!(outcome[0], Err(Error::FederatedBundleMissing(_))));
    assert!(matches!(outcome[1], Ok(Created::New(_))));
}

pub(crate) async fn refuses_what_the_reference_refuses(store: Opened) {
    let invalid = "datastore-validation: invalid registration entry: ";
    let stored = Entry { store_svid: true, ..entry("e") };
    let no_prefetch = Some(AdditionalAttributes { disable_x509_svid_prefetch: true, ..Default::default() });
    for (entry, text) in [
        (Entry { selectors: vec![], ..entry("e") }, format!("{invalid}missing selector list")),
        (Entry { spiffe_id: String::new(), ..entry("e") }, format!("{invalid}missing SPIFFE ID")),
        (Entry { x509_svid_ttl: -1, ..entry("e") }, format!("{invalid}X509SvidTtl is not set")),
        (Entry { jwt_svid_ttl: -1, ..entry("e") }, format!("{invalid}JwtSvidTtl is not set")),
        (entry(&"e".repeat(256)), format!("{invalid}entry ID too long")),
        (entry("e/f"), format!("{invalid}entry ID contains invalid characters")),
        (
            Entry { selectors: selectors(&["a:1", "b:1"]), ..stored.clone() },
            format!("{invalid}selector types must be the same when store SVID is enabled"),
        ),
        (
            Entry { additional_attributes: no_prefetch, ..stored },
            "datastore-validation: specifying cache behaviour is incompatible with storable SVIDs".to_owned(),
        ),
    ] {
        let error = store.write(CreateEntry { entry }).await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.code(), "InvalidArgument");
    }
    let long = "A.b_c-9".repeat(255 / 7);
    store.create(Entry { spiffe_id: "spiffe://td/e".into(), ..entry(&long) }).await;
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 1);
}

pub(crate) async fn updates_only_what_the_mask_names(store: Opened) {
    with_bundles(&store).await;
    let mut expected = store.create(full()).await;
    let new = Entry {
        spiffe_id: "spiffe://td/new".into(),
        parent_id: "spiffe://td/new-parent".into(),
        selectors: selectors(&["unix:uid:7"]),
        dns_names: vec!["c.example.org".into()],
        hint: "new".into(),
        ..entry("full")
    };
    let none = EntryMask::default();
    type Apply = fn(&mut Entry, &Entry);
    let steps: [(EntryMask, Apply); 13] = [
        (EntryMask { spiffe_id: true, ..none }, |it, new| it.spiffe_id = new.spiffe_id.clone()),
        (EntryMask { parent_id: true, ..none }, |it, new| it.parent_id = new.parent_id.clone()),
        (EntryMask { selectors: true, ..none }, |it, new| it.selectors = new.selectors.clone()),
        (EntryMask { federates_with: true, ..none }, |it, new| it.federates_with = new.federates_with.clone()),
        (EntryMask { x509_svid_ttl: true, ..none }, |it, new| it.x509_svid_ttl = new.x509_svid_ttl),
        (EntryMask { jwt_svid_ttl: true, ..none }, |it, new| it.jwt_svid_ttl = new.jwt_svid_ttl),
        (EntryMask { admin: true, ..none }, |it, new| it.admin = new.admin),
        (EntryMask { downstream: true, ..none }, |it, new| it.downstream = new.downstream),
        (EntryMask { expires_at: true, ..none }, |it, new| it.expires_at = new.expires_at),
        (EntryMask { dns_names: true, ..none }, |it, new| it.dns_names = new.dns_names.clone()),
        (EntryMask { store_svid: true, ..none }, |it, new| it.store_svid = new.store_svid),
        (EntryMask { hint: true, ..none }, |it, new| it.hint = new.hint.clone()),
        (EntryMask { additional_attributes: true, ..none }, |it, new| {
            it.additional_attributes = new.additional_attributes;
        }),
    ];
    for (step, (mask, apply)) in steps.into_iter().enumerate() {
        apply(&mut expected, &new);
        expected.revision_number += 1;
        let updated = store.write(UpdateEntry { entry: new.clone(), mask }).await.unwrap();
        assert_eq!(updated, expected, "step {step}");
    }
    assert_eq!(store.fetch_entry("full").await.unwrap().unwrap(), expected);
    assert_eq!(store.sql("SELECT COUNT(*) FROM federated_registration_entries").await, [["0"]]);
}

pub(crate) async fn raises_the_revision_even_if_nothing_is_named(store: Opened) {
    let created = store.create(entry("e")).await;
    let update = UpdateEntry { entry: Entry { hint: "ignored".into(), ..entry("e") }, mask: EntryMask::default() };
    let updated = store.write(update).await.unwrap();
    assert_eq!(updated, Entry { revision_number: 1, ..created });
    assert_eq!(store.entry_events().await, ["e", "e"]);
}

pub(crate) async fn refuses_updates_the_reference_refuses_and_changes_nothing_then(store: Opened) {
    let mixed = Entry { selectors: selectors(&["a:1", "b:1"]), ..entry("e") };
    let before = store.create(mixed.clone()).await;
    let invalid = "datastore-validation: invalid registration entry: ";
    let update = |entry| UpdateEntry { entry, mask: EntryMask::ALL };
    for (entry, text) in [
        (entry("none"), "datastore-sql: record not found".to_owned()),
        (Entry { x509_svid_ttl: -5, ..entry("e") }, format!("{invalid}X509SvidTtl is not set")),
        (Entry { jwt_svid_ttl: -5, ..entry("e") }, format!("{invalid}JwtSvidTtl is not set")),
        (
            Entry { store_svid: true, ..mixed.clone() },
            format!("{invalid}selector types must be the same when store SVID is enabled"),
        ),
        (
            Entry { federates_with: vec!["spiffe://none.test".into()], hint: "changed".into(), ..entry("e") },
            "unable to find federated bundle \"spiffe://none.test\"".to_owned(),
        ),
        (
            Entry { selectors: selectors(&["a:b", "a:b"]), ..entry("e") },
            store.taken(SELECTOR, "idx_selector_entry", "1-a-b"),
        ),
    ] {
        assert_eq!(store.write(update(entry)).await.unwrap_err().to_string(), text);
    }
    assert_eq!(store.fetch_entry("e").await.unwrap(), Some(before));
    // Only the selectors of the same update are looked at.
    let store_svid = EntryMask { store_svid: true, ..EntryMask::default() };
    store.write(UpdateEntry { entry: Entry { store_svid: true, ..mixed }, mask: store_svid }).await.unwrap();
}

pub(crate) async fn updates_a_batch_and_keeps_its_errors_apart(store: Opened) {
    for id in ["a", "b", "c"] {
        store.create(entry(id)).await;
    }
    let hint = |id: &str, hint: &str| Entry { hint: hint.into(), ..entry(id) };
    let entries = vec![
        hint("a", "one"),
        hint("none", "two"),
        // Found out only after parts of it have been written.
        Entry { selectors: selectors(&["x:y", "x:y"]), ..hint("b", "three") },
        Entry { federates_with: vec!["spiffe://none.test".into()], ..hint("b", "four") },
        Entry { x509_svid_ttl: -1, ..hint("b", "five") },
        hint("c", "six"),
        hint("a", "seven"),
    ];
    let mask =
        EntryMask { hint: true, selectors: true, federates_with: true, x509_svid_ttl: true, ..Default::default() };
    let outcome = store.write(UpdateEntries { entries, mask }).await.unwrap();
    let outcome: Vec<_> = outcome
        .iter()
        .map(|one| one.as_ref().map(|it| (it.hint.as_str(), it.revision_number)).map_err(Coded::code))
        .collect();
    let refused = [Err("NotFound"), Err("AlreadyExists"), Err("Unknown"), Err("InvalidArgument")];
    assert_eq!(outcome[0], Ok(("one", 1)));
    assert_eq!(outcome[1..5], refused);
    assert_eq!(outcome[5..], [Ok(("six", 1)), Ok(("seven", 2))]);
    let untouched = store.fetch_entry("b").await.unwrap().unwrap();
    assert_eq!((untouched.selectors, untouched.hint, untouched.revision_number), (entry("b").selectors, "".into(), 0));
    assert_eq!(store.entry_events().await, ["a", "b", "c", "a", "c", "a"]);
}

pub(crate) async fn deletes_an_entry_with_its_lists(store: Opened) {
    with_bundles(&store).await;
    store.create(full()).await;
    let deleted = store.write(DeleteEntry { entry_id: "full".into() }).await.unwrap();
    assert_eq!(deleted.hint, full().hint);
    for table in ["registered_entries", "selectors", "dns_names", "federated_registration_entries"] {
        assert_eq!(store.sql(&format!("SELECT COUNT(*) FROM {table}")).await, [["0"]], "{table}");
    }
    let again = store.write(DeleteEntry { entry_id: "full".into() }).await.unwrap_err();
    assert!(matches!(again, Error::NotFound));
    assert_eq!(store.entry_events().await, ["full", "full"]);
}

pub(crate) async fn prunes_entries_that_have_expired(store: Opened) {
    for (id, expires_at) in [("never", 0), ("past", 99), ("now", 100), ("future", 101)] {
        store.create(Entry { expires_at, ..entry(id) }).await;
    }
    let pruned = store.write(PruneEntries { expires_before: 100 }).await.unwrap();
    assert_eq!(pruned.iter().map(|entry| entry.entry_id.as_str()).collect::<Vec<_>>(), ["past"]);
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 3);
    assert_eq!(store.entry_events().await.last().unwrap(), "past");
}

pub(crate) async fn writes_one_event_for_each_change(store: Opened) {
    store.create(entry("a")).await;
    store.write(UpdateEntry { entry: entry("a"), mask: EntryMask::ALL }).await.unwrap();
    store.write(DeleteEntry { entry_id: "a".into() }).await.unwrap();
    store.write(DeleteEntry { entry_id: "a".into() }).await.unwrap_err();
    assert_eq!(store.entry_events().await, ["a", "a", "a"]);
}

pub(crate) async fn creates_ten_thousand_entries_in_batches(store: Opened) {
    let started = Instant::now();
    for batch in 0..20 {
        let entries = (0..500)
            .map(|i| Entry {
                entry_id: String::new(),
                spiffe_id: format!("spiffe://td/workload/{batch}/{i}"),
                parent_id: format!("spiffe://td/spire/agent/x509pop/{}", i % 50),
                selectors: selectors(&["k8s:ns:default", &format!("k8s:sa:{batch}-{i}")]),
                dns_names: vec![format!("w{i}.example.org")],
                ..Entry::default()
            })
            .collect();
        let outcome = store.write(CreateEntries { entries }).await.unwrap();
        assert!(outcome.iter().all(|one| matches!(one, Ok(Created::New(_)))));
    }
    let rate = 10_000.0 / started.elapsed().as_secs_f64();
    println!("entries: 10000 created in batches of 500, {rate:.0} a second (profile of tests)");
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 10_000);
}
