//! What time, and the taint of an authority, do to SVIDs.

use super::*;

/// The CA's bundle, in which its authority is tainted beside another that is not.
fn tainting(ca: &Ca) -> CachedBundle {
    let mut bundle = ca.api_bundle();
    bundle.x509_authorities[0].tainted = true;
    bundle.x509_authorities.extend(our_ca().api_bundle().x509_authorities);
    CachedBundle::from_api(bundle).unwrap()
}

/// One entry, `a` for uid 1, with its SVID.
fn one(ca: &Ca) -> (Cache, Store) {
    let (cache, mut store) = cache(PLENTY);
    store.put_bundle(bundle(ca));
    put(&mut store, of(ca, "a", &["unix:uid:1"]));
    assert_eq!(mint(ca, &mut store), ["a"]);
    (cache, store)
}

fn shown(subscription: &mut Subscription) -> Option<Arc<Svid>> {
    subscription.latest().identities[0].svid.clone()
}

#[test]
fn an_svid_of_a_tainted_authority_is_shown_until_the_next_one_is_there() {
    let (old, new) = (our_ca(), our_ca());
    let (cache, mut store) = one(&old);
    let mut subscription = cache.subscribe(selectors(&["unix:uid:1"]));
    let first = shown(&mut subscription).unwrap();
    store.put_bundle(tainting(&old));
    store.publish(now());
    assert!(Arc::ptr_eq(&shown(&mut subscription).unwrap(), &first));
    assert_eq!(mint(&new, &mut store), ["a"]);
    assert!(!Arc::ptr_eq(&shown(&mut subscription).unwrap(), &first));
    assert!(take_due(&mut store, now()).is_empty());
}

#[test]
fn an_svid_of_a_tainted_authority_is_withdrawn_when_no_other_can_be_had() {
    let ca = our_ca();
    let (cache, mut store) = one(&ca);
    let mut subscription = cache.subscribe(selectors(&["unix:uid:1"]));
    store.put_bundle(tainting(&ca));
    store.publish(now());
    assert_eq!(sorted(&take_due(&mut store, now())), ["a"]);
    store.not_minted("a");
    store.publish(now());
    assert!(shown(&mut subscription).is_none());
    // It is still asked for.
    assert_eq!(sorted(&take_due(&mut store, now())), ["a"]);
}

#[test]
fn the_taint_of_one_authority_leaves_the_svids_of_others() {
    let (_cache, mut store) = one(&our_ca());
    store.put_bundle(tainting(&our_ca()));
    store.publish(now());
    assert!(take_due(&mut store, now()).is_empty());
}

#[test]
fn an_svid_that_ends_before_it_is_renewed_is_withdrawn() {
    let (cache, mut store) = one(&our_ca());
    let mut subscription = cache.subscribe(selectors(&["unix:uid:1"]));
    let end = store.first_end().unwrap();
    assert_eq!(end, now() + HOUR);
    store.publish(end - Duration::from_secs(1));
    assert!(shown(&mut subscription).is_some());
    store.publish(end);
    assert!(shown(&mut subscription).is_none() && subscription.latest().has_identity());
    assert_eq!(store.first_end(), None);
    assert_eq!(sorted(&take_due(&mut store, end)), ["a"]);
}

#[test]
fn who_comes_after_an_svid_was_withdrawn_does_not_wait_for_it() {
    let ca = our_ca();
    let (cache, mut store) = one(&ca);
    put(&mut store, of(&ca, "b", &["unix:uid:1"]));
    let later = ca.svid("/b", now()..now() + HOUR * 2);
    assert_eq!(sorted(&take_due(&mut store, now())), ["b"]);
    let lasting = Svid { chain: later.chain, ..svid(&ca, &store, "b", now() + HOUR) };
    store.minted(&"b".into(), lasting);
    store.publish(now() + HOUR);
    let newcomer = cache.subscribe(selectors(&["unix:uid:1"])).latest();
    assert!(newcomer.is_complete());
    let told: Vec<_> = newcomer.x509_response().svids.iter().map(|svid| &*svid.spiffe_id).collect();
    assert_eq!(told, ["spiffe://example.org/b"]);
    // As another identity the entry has never had one, and that is waited for.
    put(&mut store, entry("a", &ca.id("/renamed"), &["unix:uid:1"]));
    store.publish(now() + HOUR);
    assert!(!cache.subscribe(selectors(&["unix:uid:1"])).latest().is_complete());
}

#[test]
fn the_svid_that_was_asked_for_longest_ago_makes_room() {
    let ca = our_ca();
    let (cache, mut store) = cache(3);
    for (id, uid) in [("a", "unix:uid:1"), ("b", "unix:uid:2"), ("c", "unix:uid:3")] {
        put(&mut store, of(&ca, id, &[uid]));
    }
    assert_eq!(mint(&ca, &mut store), ["a", "b", "c"]);
    for uid in ["unix:uid:2", "unix:uid:1"] {
        drop(cache.subscribe(selectors(&[uid])));
    }
    // A renewal is no question.
    for id in ["c", "b"] {
        let renewed = svid(&ca, &store, id, now() + HOUR / 2);
        store.minted(&id.into(), renewed);
    }
    let held = || -> Vec<String> {
        let mut held: Vec<_> = cache.snapshot().svids.keys().map(ToString::to_string).collect();
        held.sort();
        held
    };
    for (id, uid, left) in [("d", "unix:uid:4", ["a", "b", "d"]), ("e", "unix:uid:5", ["a", "d", "e"])] {
        put(&mut store, of(&ca, id, &[uid]));
        let waiting = cache.subscribe(selectors(&[uid]));
        assert_eq!(mint(&ca, &mut store), [id]);
        assert_eq!(held(), left);
        drop(waiting);
    }
}

#[test]
fn who_waits_comes_first() {
    let ca = our_ca();
    let (cache, mut store) = cache(PLENTY);
    for number in 0..50 {
        put(&mut store, of(&ca, &format!("ahead-{number}"), &["unix:uid:1"]));
    }
    put(&mut store, of(&ca, "waited-on", &["unix:uid:2"]));
    store.publish(now());
    let _waiting = cache.subscribe(selectors(&["unix:uid:2"]));
    assert_eq!(sorted(&store.take_due(now(), 1).1), ["waited-on"]);
}
