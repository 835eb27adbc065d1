use std::task::Poll;

use futures::FutureExt;
use steeple_datastore::bundles::AppendBundle;
use steeple_datastore::entries::{CreateEntries, CreateEntry, EntryFilter};
use steeple_datastore::{Bundle, Entry, Error};
use steeple_proto::spire::common::PublicKey;

use crate::opened::{Opened, entry};
use crate::unopened::Place;

pub(crate) async fn writes_that_fail_do_not_touch_others_of_their_commit(store: Opened) {
    // All are queued before the writer runs, so that they share commits; every third one fails after it has written.
    let writes = (0..600).map(|i| {
        let dns_names = if i % 3 == 0 { vec!["same.test".into(), "same.test".into()] } else { vec![] };
        store.write(CreateEntry { entry: Entry { dns_names, ..entry(&format!("e{i}")) } })
    });
    let outcome = futures::future::join_all(writes).await;
    for (i, one) in outcome.iter().enumerate() {
        match one {
            Err(Error::Constraint(_)) => assert_eq!(i % 3, 0),
            Err(error) => panic!("{i}: {error}"),
            Ok(_) => assert_ne!(i % 3, 0),
        }
    }
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 400);
    assert_eq!(store.entry_events().await.len(), 400);
    if matches!(store.place, Place::File(_)) {
        let moments = store.sql("SELECT COUNT(DISTINCT created_at) FROM registered_entries").await;
        println!("writes: 600 took {} commits", moments[0][0]);
        assert!(moments[0][0].parse::<u32>().unwrap() <= 100, "{moments:?}");
    }
}

/// Two servers, and several calls on each.
pub(crate) async fn of_similar_entries_created_at_once_there_is_one(store: Opened) {
    let other = store.another().await;
    for round in 0..10 {
        let batch = |call: usize| {
            // In another order each time, so that locks that are not taken in one order would be deadly.
            let mut twins: Vec<_> = (0..8).map(|i| (i, (i + call) % 8)).map(|(_, twin)| twin).collect();
            if call % 2 == 1 {
                twins.reverse();
            }
            let like = |twin| Entry { spiffe_id: format!("spiffe://td/{round}/{twin}"), ..entry("") };
            CreateEntries {
                entries: twins.into_iter().map(like).map(|it| Entry { entry_id: String::new(), ..it }).collect(),
            }
        };
        let calls = (0..6).map(|call| if call % 3 == 0 { other.write(batch(call)) } else { store.write(batch(call)) });
        for outcome in futures::future::join_all(calls).await {
            assert!(outcome.unwrap().iter().all(Result::is_ok));
        }
    }
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 80);
    assert_eq!(store.entry_events().await.len(), 80);
}

pub(crate) async fn a_bundle_that_servers_append_to_at_once_has_all_of_it(store: Opened) {
    let others = [store.another().await, store.another().await, store.another().await];
    let append = |i: i64| {
        let key = PublicKey { kid: format!("k{i}"), not_after: i, ..PublicKey::default() };
        let bundle = Bundle { trust_domain_id: "spiffe://td".into(), jwt_signing_keys: vec![key], ..Bundle::default() };
        AppendBundle(bundle)
    };
    let appends = (0..24).map(|i| others[usize::try_from(i % 3).unwrap()].write(append(i)));
    futures::future::try_join_all(appends).await.unwrap();
    let bundle = store.fetch_bundle("spiffe://td").await.unwrap().unwrap();
    assert_eq!((bundle.jwt_signing_keys.len(), bundle.sequence_number), (24, 23));
}

pub(crate) async fn a_caller_that_goes_away_does_not_stop_its_write(store: Opened) {
    for i in 0..20 {
        let mut write = Box::pin(store.write(CreateEntry { entry: entry(&format!("e{i}")) }));
        let waiting = futures::future::poll_fn(|context| Poll::Ready(write.poll_unpin(context).is_pending())).await;
        assert!(waiting);
        drop(write);
    }
    // Closing waits for what was handed over.
    store.close().await;
    assert_eq!(store.another().await.count_entries(&EntryFilter::default()).await.unwrap(), 20);
}

pub(crate) async fn a_closed_store_refuses_everything(store: Opened) {
    let last = store.write(CreateEntry { entry: entry("last") });
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    last.await.unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(store.write(CreateEntry { entry: entry("late") }).await, Err(Error::Closed)));
    assert!(matches!(store.fetch_entry("last").await, Err(Error::Closed)));
    // What was written before it closed still comes.
    feed.next().await.unwrap();
    assert!(matches!(feed.next().await, Err(Error::Closed)));
    let again = store.another().await;
    assert!(again.fetch_entry("last").await.unwrap().is_some());
}
