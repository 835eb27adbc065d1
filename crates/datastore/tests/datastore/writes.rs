use std::task::Poll;

use futures::FutureExt;
use steeple_datastore::entries::{CreateEntry, DeleteEntry, EntryFilter};
use steeple_datastore::{Entry, Error};

use crate::opened::{Opened, entry};

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
    let moments = store.sql("SELECT COUNT(DISTINCT created_at) FROM registered_entries").await;
    println!("writes: 600 took {} commits", moments[0][0]);
    assert!(moments[0][0].parse::<u32>().unwrap() <= 100, "{moments:?}");
}

pub(crate) async fn a_caller_that_goes_away_does_not_stop_its_write(store: Opened) {
    for i in 0..20 {
        let mut write = Box::pin(store.write(CreateEntry { entry: entry(&format!("e{i}")) }));
        let waiting = futures::future::poll_fn(|context| Poll::Ready(write.poll_unpin(context).is_pending())).await;
        assert!(waiting);
        drop(write);
    }
    // Writes are done in order, so that the others are done when this one is.
    store.write(DeleteEntry { entry_id: "e0".into() }).await.unwrap();
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 19);
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
