mod age;

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use steeple_proto::spire::api::types;
use steeple_testkit::Ca;
use steeple_testkit::server::entry;
use steeple_transport::rpc::Class;

use super::*;
use crate::tests::{HOUR, svid_for};

const PLENTY: usize = 100;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + HOUR * 24 * 365 * 50
}

fn our_ca() -> Ca {
    Ca::new("example.org", now())
}

fn cache(size: usize) -> (Cache, Store) {
    Cache::new(TrustDomain::parse("example.org").unwrap(), size)
}

/// `unix:uid:1000`
fn selectors(texts: &[&str]) -> Selectors {
    let selector = |text: &&str| {
        let (kind, value) = text.split_once(':').unwrap();
        Selector { kind: kind.into(), value: value.into() }
    };
    Selectors::new(texts.iter().map(selector).collect())
}

/// An entry `id` for `/id`.
fn of(ca: &Ca, id: &str, selectors: &[&str]) -> types::Entry {
    entry(id, &ca.id(&format!("/{id}")), selectors)
}

fn put(store: &mut Store, entry: types::Entry) {
    store.put_entry(Entry::from_api(entry).unwrap());
}

/// An SVID for an entry as it is now.
fn svid(ca: &Ca, store: &Store, id: &str, renew_at: SystemTime) -> Svid {
    svid_for(ca, store.entry(id).unwrap(), now(), renew_at)
}

/// All that is due, whatever its class.
fn take_due(store: &mut Store, now: SystemTime) -> Vec<Arc<Entry>> {
    let mut all = Vec::new();
    loop {
        let (_, mut due) = store.take_due(now, usize::MAX);
        if due.is_empty() {
            return all;
        }
        all.append(&mut due);
    }
}

/// Makes every SVID that is due.
fn mint(ca: &Ca, store: &mut Store) -> Vec<String> {
    let due = take_due(store, now());
    for entry in &due {
        let svid = svid(ca, store, &entry.id, now() + HOUR / 2);
        store.minted(&entry.id, svid);
    }
    store.publish(now());
    sorted(&due)
}

fn sorted(entries: &[Arc<Entry>]) -> Vec<String> {
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.id.to_string()).collect();
    ids.sort();
    ids
}

fn names(update: &Update) -> Vec<&str> {
    update.identities.iter().map(|identity| &*identity.entry.id).collect()
}

/// Whether there is news, without waiting for it.
fn has_news(subscription: &mut Subscription) -> bool {
    subscription.changed().now_or_never().is_some()
}

fn bundle(ca: &Ca) -> CachedBundle {
    CachedBundle::from_api(ca.api_bundle()).unwrap()
}

#[test]
fn selectors_that_nobody_waits_on_any_more_are_forgotten_before_there_are_many() {
    let (cache, _store) = cache(PLENTY);
    let held: Vec<_> = (0..10).map(|uid| cache.subscribe(selectors(&[&format!("unix:uid:{uid}")]))).collect();
    // A program that runs under ever new paths, while nothing changes and so nothing is published.
    for path in 0..10_000 {
        drop(cache.subscribe(selectors(&[&format!("unix:path:/{path}")])));
    }
    let known = cache.0.subscriptions.lock().unwrap().len();
    assert!(known < 100, "{known} are known");
    assert_eq!(cache.waited_on().len(), held.len());
}

#[test]
fn a_process_has_the_entries_whose_selectors_it_all_has() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "c", &["unix:uid:1", "unix:gid:1"]));
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    put(&mut store, of(&ca, "b", &["docker:label:x"]));
    store.publish(now());
    let matching = |texts: &[&str]| sorted(&cache.snapshot().matching(&selectors(texts)));
    assert_eq!(matching(&["unix:uid:1", "unix:gid:1", "unix:user:me"]), ["a", "c"]);
    assert_eq!(matching(&["unix:uid:1"]), ["a"]);
    assert_eq!(matching(&["unix:gid:1"]), Vec::<String>::new());
    // A value of one type is not one of another.
    assert_eq!(matching(&["unix:label:x", "docker:uid:1"]), Vec::<String>::new());
    assert_eq!(matching(&[]), Vec::<String>::new());
}

#[test]
fn what_is_not_published_is_not_seen() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    assert!(cache.snapshot().matching(&selectors(&["unix:uid:1"])).is_empty());
    store.publish(now());
    assert_eq!(cache.snapshot().matching(&selectors(&["unix:uid:1"])).len(), 1);
}

#[test]
fn a_subscriber_is_told_what_changes_for_it_and_nothing_else() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    store.put_bundle(bundle(&ca));
    mint(&ca, &mut store);
    let mut mine = cache.subscribe(selectors(&["unix:uid:1"]));
    let first = mine.latest();
    assert_eq!((names(&first), first.is_complete()), (vec!["a"], true));
    assert!(!has_news(&mut mine));

    // Another's entry, and another trust domain's bundle.
    put(&mut store, of(&ca, "b", &["unix:uid:2"]));
    store.put_bundle(bundle(&Ca::new("other.org", now())));
    mint(&ca, &mut store);
    assert!(!has_news(&mut mine));
    // The same again, to the byte.
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    assert!(!store.put_bundle(bundle(&ca)));
    store.publish(now());
    assert!(!has_news(&mut mine));

    put(&mut store, of(&ca, "c", &["unix:uid:1"]));
    store.publish(now());
    assert!(has_news(&mut mine));
    let second = mine.latest();
    assert_eq!((names(&second), second.is_complete()), (vec!["a", "c"], false));
    mint(&ca, &mut store);
    assert!(has_news(&mut mine));
    assert!(mine.latest().is_complete());

    store.remove_entry("a");
    store.publish(now());
    assert!(has_news(&mut mine));
    assert_eq!(names(&mine.latest()), ["c"]);
    assert!(store.put_bundle(bundle(&our_ca())));
    store.publish(now());
    assert!(has_news(&mut mine));
}

#[test]
fn subscribers_with_the_same_selectors_share_one_answer() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    mint(&ca, &mut store);
    let mut one = cache.subscribe(selectors(&["unix:uid:1", "unix:gid:1"]));
    let mut other = cache.subscribe(selectors(&["unix:gid:1", "unix:uid:1"]));
    assert!(Arc::ptr_eq(&one.latest(), &other.latest()));
    let bytes = |subscription: &mut Subscription| subscription.latest().x509_response().svids[0].x509_svid.as_ptr();
    assert_eq!(bytes(&mut one), bytes(&mut other));
}

#[test]
fn a_subscriber_that_went_is_forgotten() {
    let ca = our_ca();
    let (cache, mut store) = cache(0);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    store.publish(now());
    let mine = cache.subscribe(selectors(&["unix:uid:1"]));
    assert_eq!(cache.waited_on().len(), 1);
    drop(mine);
    assert!(cache.waited_on().is_empty());
    assert!(take_due(&mut store, now()).is_empty());
    put(&mut store, of(&ca, "b", &["unix:uid:2"]));
    store.publish(now());
    assert!(cache.0.subscriptions.lock().unwrap().is_empty());
}

#[test]
fn the_writer_is_told_of_a_question_that_nobody_asked_before() {
    let (cache, _store) = cache(PLENTY);
    assert!(cache.asked().now_or_never().is_none());
    let _mine = cache.subscribe(selectors(&["unix:uid:1"]));
    assert!(cache.asked().now_or_never().is_some());
    let _again = cache.subscribe(selectors(&["unix:uid:1"]));
    assert!(cache.asked().now_or_never().is_none());
}

#[test]
fn svids_are_made_ahead_as_far_as_there_is_room_and_always_for_who_waits() {
    let ca = our_ca();
    let (cache, mut store) = cache(3);
    for i in 0..5 {
        put(&mut store, of(&ca, &i.to_string(), &[&format!("unix:uid:{i}")]));
    }
    let made = mint(&ca, &mut store);
    assert_eq!(made.len(), 3);
    let left: Vec<_> = (0..5).map(|i| i.to_string()).filter(|id| !made.contains(id)).collect();
    assert!(take_due(&mut store, now()).is_empty());

    let mut waiting = cache.subscribe(selectors(&[&format!("unix:uid:{}", left[0])]));
    assert!(!waiting.latest().is_complete());
    assert_eq!(mint(&ca, &mut store), left[..1]);
    assert!(waiting.latest().is_complete());
    // One more than fits; who nobody waits for, goes.
    let kept = cache.snapshot().svids.keys().map(ToString::to_string).collect::<HashSet<_>>();
    assert_eq!(kept.len(), 3);
    assert!(kept.contains(&left[0]));
}

#[test]
fn first_come_those_that_workloads_wait_for_then_those_in_use_then_those_made_ahead() {
    let ca = our_ca();
    let (cache, mut store) = cache(10);
    put(&mut store, of(&ca, "held", &["unix:uid:1"]));
    mint(&ca, &mut store);
    for id in ["ahead", "waited-on"] {
        put(&mut store, of(&ca, id, &[&format!("unix:user:{id}")]));
    }
    let _waiting = cache.subscribe(selectors(&["unix:user:waited-on"]));
    let mut next = || {
        let (class, due) = store.take_due(now() + HOUR / 2, usize::MAX);
        (class, sorted(&due))
    };
    assert_eq!(next(), (Class::New, vec!["waited-on".to_owned()]));
    assert_eq!(next(), (Class::Due, vec!["held".to_owned()]));
    assert_eq!(next(), (Class::Early, vec!["ahead".to_owned()]));
    assert_eq!(next().1, [""; 0]);
}

#[test]
fn the_svid_that_ends_first_goes_first() {
    let ca = our_ca();
    let (cache, mut store) = cache(2);
    for id in ["a", "b"] {
        put(&mut store, of(&ca, id, &["unix:uid:1"]));
    }
    for (entry, hours) in take_due(&mut store, now()).iter().zip([2, 1]) {
        let svid = svid(&ca, &store, &entry.id, now() + HOUR * hours);
        store.minted(&entry.id, svid);
    }
    store.publish(now());
    let last =
        cache.snapshot().svids.iter().max_by_key(|(_, svid)| svid.renew_at).map(|(id, _)| Arc::clone(id)).unwrap();
    put(&mut store, of(&ca, "c", &["unix:uid:2"]));
    let _waiting = cache.subscribe(selectors(&["unix:uid:2"]));
    assert_eq!(mint(&ca, &mut store), ["c"]);
    let mut kept: Vec<_> = cache.snapshot().svids.keys().map(ToString::to_string).collect();
    kept.sort();
    assert_eq!(kept, [&*last, "c"]);
}

#[test]
fn an_entry_that_wants_no_prefetch_waits_for_its_workload() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    let attributes = types::entry::AdditionalAttributes {
        disable_x509_svid_prefetch: true,
        ..types::entry::AdditionalAttributes::default()
    };
    put(&mut store, types::Entry { additional_attributes: Some(attributes), ..of(&ca, "a", &["unix:uid:1"]) });
    store.publish(now());
    assert!(mint(&ca, &mut store).is_empty());
    let mut waiting = cache.subscribe(selectors(&["unix:uid:1"]));
    assert_eq!(mint(&ca, &mut store), ["a"]);
    assert!(waiting.latest().is_complete());
}

#[test]
fn entries_for_svid_stores_are_no_workloads() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, types::Entry { store_svid: true, ..of(&ca, "a", &["unix:uid:1"]) });
    store.publish(now());
    assert!(mint(&ca, &mut store).is_empty());
    assert!(!cache.subscribe(selectors(&["unix:uid:1"])).latest().has_identity());
}

#[test]
fn an_svid_is_made_anew_when_its_time_comes_or_its_entry_changes() {
    let ca = our_ca();
    let (_cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    mint(&ca, &mut store);
    let renew_at = store.next_due().unwrap();
    assert_eq!(renew_at, now() + HOUR / 2);
    let just_before = renew_at - Duration::from_secs(1);
    assert!(take_due(&mut store, just_before).is_empty());
    assert_eq!(sorted(&take_due(&mut store, renew_at)), ["a"]);
    // Not twice at a time, and not due while it is being made.
    assert!(take_due(&mut store, renew_at).is_empty());
    assert_eq!(store.next_due(), None);
    // What could not be made is due again.
    store.not_minted("a");
    assert_eq!(sorted(&take_due(&mut store, renew_at)), ["a"]);
    store.not_minted("a");

    put(&mut store, types::Entry { revision_number: 1, ..of(&ca, "a", &["unix:uid:1"]) });
    assert_eq!(sorted(&take_due(&mut store, just_before)), ["a"]);
}

#[test]
fn an_entry_with_another_identity_does_not_show_the_svid_of_the_old_one() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    mint(&ca, &mut store);
    put(&mut store, entry("a", &ca.id("/renamed"), &["unix:uid:1"]));
    store.publish(now());
    let mut mine = cache.subscribe(selectors(&["unix:uid:1"]));
    assert!(mine.latest().x509_response().svids.is_empty());
    assert_eq!(mint(&ca, &mut store), ["a"]);
    let update = mine.latest();
    assert_eq!(update.x509_response().svids[0].spiffe_id, "spiffe://example.org/renamed");
}

#[test]
fn a_refused_svid_is_asked_for_again_later_or_when_its_entry_changes() {
    let ca = our_ca();
    let (_cache, mut store) = cache(PLENTY);
    for id in ["a", "b"] {
        put(&mut store, of(&ca, id, &["unix:uid:1"]));
    }
    let later = now() + HOUR / 60;
    for entry in take_due(&mut store, now()) {
        store.refused(&entry.id, later);
    }
    assert_eq!(store.next_due(), Some(later));
    assert!(take_due(&mut store, now()).is_empty());
    put(&mut store, types::Entry { revision_number: 1, ..of(&ca, "a", &["unix:uid:1"]) });
    assert_eq!(sorted(&take_due(&mut store, now())), ["a"]);
    assert_eq!(sorted(&take_due(&mut store, later)), ["b"]);
    assert_eq!(store.next_due(), None);
    // One that went is not asked for.
    for id in ["a", "b"] {
        store.remove_entry(id);
        store.refused(&id.into(), later);
    }
    assert_eq!(store.next_due(), None);
}

#[test]
fn an_svid_whose_entry_went_while_it_was_made_is_dropped() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    put(&mut store, of(&ca, "a", &["unix:uid:1"]));
    let due = take_due(&mut store, now());
    let late = svid(&ca, &store, "a", now() + HOUR);
    store.remove_entry("a");
    store.minted(&due[0].id, late);
    store.publish(now());
    assert!(cache.snapshot().svids.is_empty());
}

#[test]
fn a_batch_takes_as_many_as_it_may() {
    let ca = our_ca();
    let (_cache, mut store) = cache(PLENTY);
    for i in 0..5 {
        put(&mut store, of(&ca, &i.to_string(), &["unix:uid:1"]));
    }
    assert_eq!(store.take_due(now(), 2).1.len(), 2);
    assert_eq!(store.take_due(now(), 2).1.len(), 2);
    assert_eq!(store.take_due(now(), 2).1.len(), 1);
}

#[test]
fn of_equal_hints_the_oldest_entry_keeps_it() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    let hinted = |id: &str, hint: &str, created_at: i64| types::Entry {
        hint: hint.to_owned(),
        created_at,
        ..of(&ca, id, &["unix:uid:1"])
    };
    for entry in [
        hinted("a", "internal", 7),
        hinted("b", "internal", 5),
        hinted("c", "external", 9),
        hinted("d", "", 9),
        hinted("e", "", 9),
        hinted("g", "twin", 3),
        hinted("f", "twin", 3),
    ] {
        put(&mut store, entry);
    }
    mint(&ca, &mut store);
    let update = cache.subscribe(selectors(&["unix:uid:1"])).latest();
    let told: Vec<_> = update.x509_response().svids.iter().map(|svid| (&*svid.spiffe_id, &*svid.hint)).collect();
    let expected = [("b", "internal"), ("c", "external"), ("d", ""), ("e", ""), ("f", "twin")];
    let expected: Vec<_> = expected.map(|(id, hint)| (format!("spiffe://example.org/{id}"), hint)).into();
    assert_eq!(told, expected.iter().map(|(id, hint)| (&**id, *hint)).collect::<Vec<_>>());
}

#[test]
fn a_workload_gets_the_bundles_that_its_entries_federate_with() {
    let ca = our_ca();
    let (partner, stranger) = (Ca::new("partner.org", now()), Ca::new("stranger.org", now()));
    let (cache, mut store) = cache(PLENTY);
    let federated = types::Entry {
        federates_with: vec!["partner.org".into(), "unknown.org".into(), "example.org".into()],
        ..of(&ca, "a", &["unix:uid:1"])
    };
    put(&mut store, federated);
    for ca in [&ca, &partner, &stranger] {
        store.put_bundle(bundle(ca));
    }
    mint(&ca, &mut store);
    let update = cache.subscribe(selectors(&["unix:uid:1"])).latest();
    let response = update.x509_response();
    assert_eq!(response.svids[0].bundle, ca.root().der());
    let names: Vec<_> = response.federated_bundles.keys().collect();
    assert_eq!(names, ["spiffe://partner.org"]);
    assert_eq!(response.federated_bundles["spiffe://partner.org"], partner.root().der());
    let mut all: Vec<_> = update.x509_bundles().into_keys().collect();
    all.sort();
    assert_eq!(all, ["spiffe://example.org", "spiffe://partner.org"]);
    let jwks = &update.jwt_bundles()["spiffe://partner.org"];
    let parsed = steeple_spiffe::bundle::jwks::parse_jwt_keys_document(partner.trust_domain(), jwks).unwrap();
    assert_eq!(parsed.jwt_authorities[0].key_id, partner.bundle().jwt_authorities[0].key_id);

    // A process without an identity gets the own one alone.
    let nobody = cache.subscribe(selectors(&["unix:uid:9"])).latest();
    assert_eq!(nobody.x509_bundles().into_keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
}

#[test]
fn bundles_and_entries_that_are_not_kept_go() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    let others = ["one.org", "two.org"].map(|name| Ca::new(name, now()));
    for ca in [&ca, &others[0], &others[1]] {
        store.put_bundle(bundle(ca));
    }
    for id in ["a", "b"] {
        put(&mut store, of(&ca, id, &["unix:uid:1"]));
    }
    store.keep_bundles(&HashSet::from([others[0].trust_domain().clone()]), ca.trust_domain());
    store.keep_entries(&HashSet::from(["b".to_owned(), "never there".to_owned()]));
    store.publish(now());
    let snapshot = cache.snapshot();
    assert!(snapshot.own_bundle().is_some() && snapshot.bundle(others[0].trust_domain()).is_some());
    assert!(snapshot.bundle(others[1].trust_domain()).is_none());
    assert_eq!(sorted(&snapshot.matching(&selectors(&["unix:uid:1"]))), ["b"]);
}

#[test]
fn what_the_server_sent_and_makes_no_sense_is_named() {
    let ca = our_ca();
    let sound = of(&ca, "a", &["unix:uid:1"]);
    let refusal = |entry| Entry::from_api(entry).unwrap_err().to_string();
    let with_id = |trust_domain: &str, path: &str| types::Entry {
        spiffe_id: Some(types::Spiffeid { trust_domain: trust_domain.into(), path: path.into() }),
        ..sound.clone()
    };
    assert_eq!(refusal(types::Entry { id: String::new(), ..sound.clone() }), "missing entry ID");
    assert_eq!(refusal(types::Entry { spiffe_id: None, ..sound.clone() }), "missing SPIFFE ID");
    assert!(refusal(with_id("Example.org", "/a")).starts_with("invalid SPIFFE ID: "));
    assert!(refusal(with_id("example.org", "a")).starts_with("invalid SPIFFE ID: "));
    assert_eq!(refusal(types::Entry { selectors: Vec::new(), ..sound.clone() }), "missing selectors");
    let foreign = types::Entry { federates_with: vec!["no domain".into()], ..sound.clone() };
    assert!(refusal(foreign).starts_with("invalid federated trust domain: "));
    assert_eq!(refusal(of(&ca, "a", &["unix:"])), r#"malformed selector "unix:""#);
    assert!(matches!(Entry::decode(b"\xff\xff"), Err(BadEntry::Decode(_))));

    let sound = ca.api_bundle();
    let refusal = |bundle| CachedBundle::from_api(bundle).unwrap_err().to_string();
    assert!(
        refusal(types::Bundle { trust_domain: String::new(), ..sound.clone() }).starts_with("invalid trust domain: ")
    );
    let root = types::X509Certificate { asn1: b"garbage".to_vec(), tainted: false };
    assert!(
        refusal(types::Bundle { x509_authorities: vec![root], ..sound.clone() })
            .starts_with("invalid X.509 authority: ")
    );
    let key = types::JwtKey { public_key: b"garbage".to_vec(), ..types::JwtKey::default() };
    assert!(refusal(types::Bundle { jwt_authorities: vec![key], ..sound }).starts_with("invalid JWT authority: "));
}
