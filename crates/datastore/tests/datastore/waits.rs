//! Nobody waits for ever for what somebody else has locked.

use std::time::Duration;

use steeple_datastore::nodes::{CreateNode, DeleteNode};
use steeple_datastore::{DataStore, Node};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use tokio::time::timeout;

use crate::opened::Opened;

/// Counts the statements that delete, which they do for as long as they wait. What InnoDB tells of locks grows no newer while it
/// is asked again and again.
const DELETING: &str = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist \
                        WHERE db = DATABASE() AND info LIKE 'DELETE FROM attested_node_entries %'";

fn node(name: &str) -> Node {
    Node { spiffe_id: name.to_owned(), ..Node::default() }
}

pub(crate) async fn a_lock_that_is_not_given_back_is_not_waited_for_again(store: Opened) {
    let clock = ManualClock::new(Clock::system().now());
    let other = DataStore::open(store.options.clone(), clock.clock()).await.unwrap();
    store.write(CreateNode(node("held"))).await.unwrap();
    let mut holder = store.transaction().await;
    holder.execute("UPDATE attested_node_entries SET data_type = 'x' WHERE spiffe_id = 'held'").await;
    let passing = async {
        while store.sql(DELETING).await == [["0"]] {}
        clock.advance(Duration::from_secs(50));
    };
    // A second attempt would come after a pause, for which this clock stands still.
    let waiting = async { tokio::join!(other.write(DeleteNode { spiffe_id: "held".into() }), passing) };
    let (deleted, ()) = timeout(Duration::from_secs(60), waiting).await.expect("it gives up after one attempt");
    let error = deleted.map(drop).unwrap_err().to_string();
    let told = "datastore-sql: Error 1205 (HY000): Lock wait timeout exceeded; try restarting transaction";
    assert_eq!(error, told);
    holder.roll_back().await;
    other.write(DeleteNode { spiffe_id: "held".into() }).await.unwrap();
    other.close().await;
}

/// The server itself gives up before it would count as one that does not answer, and says why.
pub(crate) async fn a_lock_is_waited_for_as_long_as_the_database_says_or_50_seconds(store: Opened) {
    store
        .sql(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'waits for %', current_setting('lock_timeout'); END $$",
        )
        .await;
    let trigger = "BEFORE INSERT ON attested_node_entries FOR EACH ROW EXECUTE FUNCTION tell()";
    store.sql(&format!("CREATE TRIGGER tell {trigger}")).await;
    let told = async |store: &DataStore| store.write(CreateNode(node("n"))).await.unwrap_err().to_string();
    let told_here = told(&store).await;
    assert!(told_here.contains("waits for 50s"), "{told_here}");
    store.sql(&format!("ALTER DATABASE {} SET lock_timeout = '7s'", store.place.database())).await;
    let another = store.another().await;
    let told_there = told(&another).await;
    assert!(told_there.contains("waits for 7s"), "{told_there}");
    another.close().await;
}
