//! Tables of MariaDB that are exchanged while a feed reads them.

use std::time::Duration;

use steeple_datastore::Change;
use tokio::time::timeout;

use crate::opened::{Opened, entry, on_mariadb};

/// Waits until so many sessions wait for a table.
async fn waiting(store: &Opened, sessions: usize) {
    let query = "SELECT info FROM information_schema.processlist WHERE db = DATABASE() \
                 AND state = 'Waiting for table metadata lock'";
    while store.sql(query).await.len() < sessions {}
}

#[tokio::test]
async fn an_entry_that_was_read_of_two_states_of_mariadb_is_read_again() {
    let store = on_mariadb().await;
    let kept = store.create(entry("kept")).await;
    store.sql("CREATE TABLE to_be_selectors LIKE selectors").await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    // Whoever has read one of the tables holds up their exchange, which holds up whoever reads another one.
    let mut reader = store.transaction().await;
    reader.execute("SELECT * FROM to_be_selectors").await;
    let exchange = store.sql("RENAME TABLE selectors TO former, to_be_selectors TO selectors");
    let steps = async {
        waiting(&store, 1).await;
        store.sql("INSERT INTO registered_entries_events (entry_id) VALUES ('kept')").await;
        // The feed has read the entry, and comes to its selectors.
        waiting(&store, 2).await;
        let mut writer = store.transaction().await;
        let letting_go = async {
            waiting(&store, 3).await;
            reader.commit().await;
        };
        // The feed has put the entry together, and comes to it once more.
        tokio::join!(writer.execute("LOCK TABLES registered_entries WRITE"), letting_go);
        store.sql("RENAME TABLE selectors TO to_be_selectors, former TO selectors").await;
        writer.execute("UNLOCK TABLES").await;
    };
    let all = async { tokio::join!(exchange, steps, feed.next()) };
    let (_, (), change) = timeout(Duration::from_secs(60), Box::pin(all)).await.expect("a change in time");
    let Change::Rows(rows) = change.unwrap() else { panic!("nothing moved back") };
    assert_eq!(rows.entries.len(), 1);
    assert_eq!(rows.entries[0].1.as_deref(), Some(&kept));
}
