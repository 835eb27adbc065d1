use std::collections::BTreeSet;

use steeple_datastore::bundles::CreateBundle;
use steeple_datastore::entries::EntryFilter;
use steeple_datastore::nodes::{AttestNode, NodeFilter, UpdateNode};
use steeple_datastore::{Bundle, Entry, Error, Match, MatchSet, Page};

use crate::opened::{Opened, entry, selectors};

async fn ids(store: &Opened, filter: EntryFilter) -> Vec<String> {
    let rows = store.list_entries(&filter, &Page::default()).await.unwrap().rows;
    assert_eq!(store.count_entries(&filter).await.unwrap(), rows.len() as u64, "{filter:?}");
    rows.into_iter().map(|entry| entry.entry_id).collect()
}

pub(crate) async fn matches_sets_of_selectors(store: Opened) {
    store.create(Entry { selectors: selectors(&["z:1", "a:2", "m:3", "a:1"]), ..entry("four") }).await;
    store.create(Entry { selectors: selectors(&["a:1", "m:3"]), ..entry("two") }).await;
    store.create(Entry { selectors: selectors(&["x:1"]), ..entry("other") }).await;
    let all_four: &[&str] = &["a:1", "a:2", "m:3", "z:1"];
    let with_more: &[&str] = &["z:1", "a:2", "m:3", "a:1", "q:9"];
    let cases: [(&[&str], [&[&str]; 4]); 6] = [
        // selectors of the filter; found by exact, subset, superset, any
        (&["a:1"], [&[], &[], &["four", "two"], &["four", "two"]]),
        (&["a:1", "m:3"], [&["two"], &["two"], &["four", "two"], &["four", "two"]]),
        (all_four, [&["four"], &["four", "two"], &["four"], &["four", "two"]]),
        (with_more, [&[], &["four", "two"], &[], &["four", "two"]]),
        (&["q:9"], [&[], &[], &[], &[]]),
        (&["a:1", "a:1"], [&[], &[], &["four", "two"], &["four", "two"]]),
    ];
    for (items, expected) in cases {
        for (behavior, expected) in [Match::Exact, Match::Subset, Match::Superset, Match::Any].into_iter().zip(expected)
        {
            let by_selectors = Some(MatchSet { items: selectors(items), behavior });
            let found = ids(&store, EntryFilter { by_selectors, ..EntryFilter::default() }).await;
            assert_eq!(found, *expected, "{behavior:?} {items:?}");
        }
    }
}

pub(crate) async fn matches_sets_of_trust_domains(store: Opened) {
    for trust_domain_id in ["spiffe://a.test", "spiffe://b.test", "spiffe://c.test"] {
        let bundle = Bundle { trust_domain_id: trust_domain_id.into(), ..Bundle::default() };
        store.write(CreateBundle(bundle)).await.unwrap();
    }
    let (a, b, c) = ("spiffe://a.test", "spiffe://b.test", "spiffe://c.test");
    for (id, with) in [("both", vec![a, b]), ("one", vec![a]), ("none", vec![])] {
        let federates_with = with.into_iter().map(str::to_owned).collect();
        store.create(Entry { federates_with, ..entry(id) }).await;
    }
    // A row of a bundle that is gone counts for nothing.
    store.sql("INSERT INTO federated_registration_entries (bundle_id, registered_entry_id) VALUES (99, 2)").await;
    let cases: [(&[&str], [&[&str]; 4]); 4] = [
        (&[a], [&["one"], &["one"], &["both", "one"], &["both", "one"]]),
        (&[b, a, b], [&["both"], &["both", "one"], &["both"], &["both", "one"]]),
        (&[a, b, c], [&[], &["both", "one"], &[], &["both", "one"]]),
        (&[c], [&[], &[], &[], &[]]),
    ];
    for (items, expected) in cases {
        for (behavior, expected) in [Match::Exact, Match::Subset, Match::Superset, Match::Any].into_iter().zip(expected)
        {
            let items = items.iter().map(|&td| td.to_owned()).collect();
            let by_federates_with = Some(MatchSet { items, behavior });
            let found = ids(&store, EntryFilter { by_federates_with, ..EntryFilter::default() }).await;
            assert_eq!(found, *expected, "{behavior:?}");
        }
    }
}

pub(crate) async fn combines_filters(store: Opened) {
    store.create(Entry { hint: "h".into(), downstream: true, ..entry("a") }).await;
    store.create(Entry { hint: "h".into(), ..entry("b") }).await;
    store.create(Entry { parent_id: "spiffe://td/a".into(), ..entry("c") }).await;
    let all = EntryFilter::default();
    let hint = |hint: &str| EntryFilter { by_hint: Some(hint.into()), ..all.clone() };
    let none: [&str; 0] = [];
    assert_eq!(ids(&store, all.clone()).await, ["a", "b", "c"]);
    assert_eq!(ids(&store, hint("h")).await, ["a", "b"]);
    assert_eq!(ids(&store, hint("")).await, ["a", "b", "c"], "empty is no condition");
    assert_eq!(ids(&store, EntryFilter { by_downstream: Some(true), ..hint("h") }).await, ["a"]);
    assert_eq!(ids(&store, EntryFilter { by_downstream: Some(false), ..all.clone() }).await, ["a", "b", "c"]);
    assert_eq!(ids(&store, EntryFilter { by_parent_id: Some("spiffe://td/a".into()), ..all.clone() }).await, ["c"]);
    assert_eq!(ids(&store, EntryFilter { by_spiffe_id: Some("spiffe://td/b".into()), ..all.clone() }).await, ["b"]);
    assert_eq!(ids(&store, EntryFilter { by_spiffe_id: Some("spiffe://td/c".into()), ..hint("h") }).await, none);
    let by_selectors = Some(MatchSet { items: selectors(&["unix:uid:1"]), behavior: Match::Exact });
    assert_eq!(ids(&store, EntryFilter { by_selectors, ..hint("h") }).await, ["a", "b"]);
}

pub(crate) async fn pages_in_order_of_creation(store: Opened) {
    for i in 0..5 {
        store.create(entry(&format!("e{i}"))).await;
    }
    let mut token = String::new();
    let mut pages = Vec::new();
    loop {
        let page = store.list_entries(&EntryFilter::default(), &Page { size: 2, token }).await.unwrap();
        token = page.next_page_token;
        pages.push((page.rows.into_iter().map(|entry| entry.entry_id).collect::<Vec<_>>().join(" "), token.clone()));
        if token.is_empty() {
            break;
        }
    }
    let expected = [("e0 e1", "2"), ("e2 e3", "4"), ("e4", "5"), ("", "")];
    assert_eq!(pages, expected.map(|(rows, token)| (rows.to_owned(), token.to_owned())));

    let whole = store.list_entries(&EntryFilter::default(), &Page { size: 0, token: "4".into() }).await.unwrap();
    assert_eq!((whole.rows.len(), whole.next_page_token.as_str()), (5, ""), "a token without paging");
    for token in ["abc", "-1", "4294967296"] {
        let page = Page { size: 3, token: token.into() };
        assert!(matches!(store.list_entries(&EntryFilter::default(), &page).await, Err(Error::EntryPageToken(_))));
        let error = store.list_nodes(&NodeFilter::default(), &page, false).await.unwrap_err();
        assert_eq!(error.to_string(), format!("could not parse token '{token}'"));
        assert!(matches!(store.list_bundles(&page).await, Err(Error::PageToken(_))));
        assert!(matches!(store.list_federation_relationships(&page).await, Err(Error::PageToken(_))));
    }
}

pub(crate) async fn finds_entries_behind_a_page_of_others(store: Opened) {
    for i in 0..4 {
        store.create(Entry { selectors: selectors(&["a:1", "b:1"]), ..entry(&format!("other{i}")) }).await;
    }
    store.create(Entry { selectors: selectors(&["a:1"]), downstream: true, ..entry("wanted") }).await;
    let one = Page { size: 1, token: String::new() };
    let by_selectors = Some(MatchSet { items: selectors(&["a:1"]), behavior: Match::Exact });
    for filter in [
        EntryFilter { by_downstream: Some(true), ..EntryFilter::default() },
        EntryFilter { by_selectors, ..EntryFilter::default() },
    ] {
        let page = store.list_entries(&filter, &one).await.unwrap();
        assert_eq!(page.rows[0].entry_id, "wanted");
        assert_eq!(page.next_page_token, "5");
    }
}

pub(crate) async fn filters_nodes(store: Opened) {
    for (name, attestation_type, expires_at, can_reattest, facts) in [
        ("a", "join_token", 1_000, false, vec![]),
        ("b", "x509pop", 2_000, true, vec!["x509pop:cn:1", "x509pop:ca:2"]),
        ("c", "x509pop", 3_000, true, vec!["x509pop:cn:1"]),
    ] {
        let node = AttestNode {
            spiffe_id: format!("spiffe://td/{name}"),
            attestation_type: attestation_type.into(),
            serial: "1".into(),
            expires_at,
            can_reattest,
            selectors: selectors(&facts),
        };
        store.write(node).await.unwrap();
    }
    let ban = UpdateNode { spiffe_id: "spiffe://td/c".into(), serial: Some(String::new()), ..UpdateNode::default() };
    store.write(ban).await.unwrap();

    let all = NodeFilter::default();
    let with = |items: &[&str], behavior| NodeFilter {
        by_selectors: Some(MatchSet { items: selectors(items), behavior }),
        ..NodeFilter::default()
    };
    for (filter, expected) in [
        (all.clone(), "a b c"),
        (NodeFilter { by_attestation_type: Some("x509pop".into()), ..all.clone() }, "b c"),
        (NodeFilter { by_banned: Some(true), ..all.clone() }, "c"),
        (NodeFilter { by_banned: Some(false), ..all.clone() }, "a b"),
        (NodeFilter { by_can_reattest: Some(true), ..all.clone() }, "b c"),
        (NodeFilter { by_can_reattest: Some(false), ..all.clone() }, "a"),
        (NodeFilter { by_expires_before: Some(2_000), ..all.clone() }, "a"),
        (NodeFilter { by_expires_before: Some(2_001), ..all.clone() }, "a b"),
        (with(&["x509pop:cn:1"], Match::Exact), "c"),
        (with(&["x509pop:cn:1", "x509pop:ca:2", "q:1"], Match::Subset), "b c"),
        (with(&["x509pop:cn:1"], Match::Superset), "b c"),
        (with(&["x509pop:ca:2", "q:1"], Match::Any), "b"),
        (NodeFilter { by_banned: Some(true), ..with(&["x509pop:cn:1"], Match::Any) }, "c"),
    ] {
        for with_selectors in [false, true] {
            let rows = store.list_nodes(&filter, &Page::default(), with_selectors).await.unwrap().rows;
            let names: Vec<_> = rows.iter().filter_map(|node| node.spiffe_id.strip_prefix("spiffe://td/")).collect();
            assert_eq!(names.join(" "), expected, "{filter:?}");
            assert_eq!(store.count_nodes(&filter).await.unwrap(), rows.len() as u64);
            let facts: BTreeSet<_> = rows.iter().flat_map(|node| &node.selectors).collect();
            assert_eq!(facts.is_empty(), !with_selectors || expected == "a", "{filter:?}");
        }
    }
    let page = store.list_nodes(&all, &Page { size: 1, token: "1".into() }, true).await.unwrap();
    assert_eq!(page.rows[0].selectors, selectors(&["x509pop:ca:2", "x509pop:cn:1"]));
    assert_eq!(page.next_page_token, "2");
}

pub(crate) async fn refuses_an_empty_set_of_selectors(store: Opened) {
    let empty = || Some(MatchSet { items: vec![], behavior: Match::Any });
    let by_selectors = NodeFilter { by_selectors: empty(), ..NodeFilter::default() };
    let error = store.count_nodes(&by_selectors).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot list by empty selectors set");
    let by_selectors = EntryFilter { by_selectors: empty(), ..EntryFilter::default() };
    assert!(matches!(store.count_entries(&by_selectors).await, Err(Error::EmptySelectors)));
}
