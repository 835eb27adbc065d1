//! Several servers prune at the same time, while others write.

use std::time::Duration;

use steeple_datastore::entries::{CreateEntries, PruneEntries};
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::join_tokens::{CreateJoinToken, JoinToken, PruneJoinTokens};
use steeple_datastore::nodes::{AttestNode, PruneNodes};
use steeple_datastore::{DataStore, Entry, Error};
use steeple_runtime::Clock;

use crate::opened::{Opened, entry};

const OLD: i64 = 100;
const EACH: usize = 40;
const SERVERS: usize = 10;

pub(crate) async fn ten_servers_that_prune_at_once_are_in_nobodys_way(store: Opened) {
    let mut servers = vec![store.store.clone()];
    for _ in 1..SERVERS {
        servers.push(store.another().await);
    }
    let over = (0..EACH).map(|i| Entry { expires_at: OLD, ..entry(&format!("over{i}")) }).collect();
    assert!(store.write(CreateEntries { entries: over }).await.unwrap().iter().all(Result::is_ok));
    for i in 0..EACH {
        let token = JoinToken { token: format!("t{i}"), expires_at: OLD };
        store.write(CreateJoinToken { token, entry: None }).await.unwrap();
        store.write(attested(i)).await.unwrap();
    }

    let (pruned, created) =
        futures::join!(futures::future::join_all(servers.iter().map(prune)), create_meanwhile(&servers));
    created.unwrap();
    let pruned: Vec<u64> = pruned.into_iter().map(Result::unwrap).collect();
    let all = u64::try_from(3 * EACH).unwrap();
    assert_eq!(pruned.iter().sum::<u64>(), all, "{pruned:?}");
    let left = store.sql("SELECT COUNT(*) FROM registered_entries").await;
    assert_eq!(left, [[(servers.len() * EACH).to_string()]]);
    for table in ["attested_node_entries", "join_tokens"] {
        assert_eq!(store.sql(&format!("SELECT COUNT(*) FROM {table}")).await, [["0"]], "{table}");
    }
    for server in servers.split_off(1) {
        server.close().await;
    }
}

pub(crate) async fn an_agent_that_is_banned_while_somebody_prunes_stays(store: Opened) {
    store.write(attested(0)).await.unwrap();
    let prune = store.write(PruneNodes { expires_before: 2 * OLD, include_non_reattestable: true, limit: 10 });
    let pruned = meanwhile(&store, "UPDATE attested_node_entries SET serial_number = ''", prune).await;
    assert!(pruned.unwrap().is_empty());
    assert!(store.fetch_node(&attested(0).spiffe_id).await.unwrap().unwrap().is_banned());
}

pub(crate) async fn an_entry_that_is_prolonged_while_somebody_prunes_stays(store: Opened) {
    store.create(Entry { expires_at: OLD, ..entry("prolonged") }).await;
    let prune = store.write(PruneEntries { expires_before: 2 * OLD });
    let pruned = meanwhile(&store, "UPDATE registered_entries SET expiry = 5000", prune).await;
    assert!(pruned.unwrap().is_empty());
    assert_eq!(store.fetch_entry("prolonged").await.unwrap().unwrap().selectors, entry("prolonged").selectors);
}

/// Another program's change is committed when whoever prunes waits for it.
async fn meanwhile<T>(store: &Opened, change: &str, prune: impl Future<Output = T>) -> T {
    let mut other = store.transaction().await;
    other.execute(change).await;
    let commits = async {
        store.a_session_waits().await;
        other.commit().await;
    };
    tokio::join!(prune, commits).0
}

fn attested(i: usize) -> AttestNode {
    AttestNode {
        spiffe_id: format!("spiffe://td/spire/agent/x509pop/{i}"),
        attestation_type: "x509pop".into(),
        serial: i.to_string(),
        expires_at: OLD,
        can_reattest: true,
        selectors: Vec::new(),
    }
}

/// All of what a server prunes, over and over. How many rows beside events have gone by it.
async fn prune(server: &DataStore) -> Result<u64, Error> {
    let mut gone = 0;
    for _ in 0..5 {
        let created_before = Clock::system().now() - Duration::from_millis(1);
        let (entries, tokens, nodes, entry_events, node_events) = futures::join!(
            server.write(PruneEntries { expires_before: OLD + 1 }),
            server.write(PruneJoinTokens { expires_before: OLD + 1 }),
            server.write(PruneNodes { expires_before: OLD + 1, include_non_reattestable: true, limit: 7 }),
            server.write(PruneEntryEvents { created_before }),
            server.write(PruneNodeEvents { created_before }),
        );
        entry_events?;
        node_events?;
        gone += u64::try_from(entries?.len()).unwrap() + tokens? + u64::try_from(nodes?.len()).unwrap();
    }
    Ok(gone)
}

async fn create_meanwhile(servers: &[DataStore]) -> Result<(), Error> {
    for i in 0..EACH {
        let creating = servers.iter().zip(0..).map(|(server, number): (_, u32)| {
            server.write(CreateEntries { entries: vec![entry(&format!("new{number}-{i}"))] })
        });
        for created in futures::future::join_all(creating).await {
            created?.into_iter().next().ok_or(Error::NotFound)??;
        }
    }
    Ok(())
}
