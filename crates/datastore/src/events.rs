//! Rows that say "look again": one for each change of an entry or an attested node, written in the transaction of the
//! change. They hold nothing but the name of what changed.

use std::time::SystemTime;

use crate::Error;
use crate::sql::{Sql, Value};
use crate::writer::{Mutation, Tx};

/// The table of entry events.
pub(crate) const ENTRY_EVENTS: &str = "registered_entries_events";
/// The table of node events.
pub(crate) const NODE_EVENTS: &str = "attested_node_entries_events";

impl Tx<'_> {
    /// Writes that these entries changed.
    pub(crate) async fn entry_events(&mut self, entry_ids: impl IntoIterator<Item = &str> + Send) -> Result<(), Error> {
        let rows: Vec<_> = entry_ids.into_iter().map(|id| event(self.now, id)).collect();
        self.db.insert("INSERT INTO registered_entries_events (created_at, updated_at, entry_id) VALUES ", rows).await
    }

    /// Writes that these nodes changed.
    pub(crate) async fn node_events(&mut self, spiffe_ids: impl IntoIterator<Item = &str> + Send) -> Result<(), Error> {
        let rows: Vec<_> = spiffe_ids.into_iter().map(|id| event(self.now, id)).collect();
        self.db
            .insert("INSERT INTO attested_node_entries_events (created_at, updated_at, spiffe_id) VALUES ", rows)
            .await
    }
}

fn event(now: SystemTime, name: &str) -> [Value; 3] {
    [now.into(), now.into(), name.into()]
}

/// Deletes entry events that were written before `created_before`, but for the newest one: the oldest ones, as many as one
/// transaction should. Written again and again until none goes, it deletes all.
#[derive(Clone, Debug)]
pub struct PruneEntryEvents {
    /// Older events go.
    pub created_before: SystemTime,
}

/// Deletes node events likewise.
#[derive(Clone, Debug)]
pub struct PruneNodeEvents {
    /// Older events go.
    pub created_before: SystemTime,
}

impl Mutation for PruneEntryEvents {
    /// How many went.
    type Output = u64;
    const KEY: &'static str = "datastore.registration_entry_event.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Error> {
        prune(tx, ENTRY_EVENTS, self.created_before).await
    }
}

impl Mutation for PruneNodeEvents {
    /// How many went.
    type Output = u64;
    const KEY: &'static str = "datastore.node_event.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Error> {
        prune(tx, NODE_EVENTS, self.created_before).await
    }
}

/// The most that one transaction deletes: one statement must not take as long as if the database did not answer.
const MOST: i64 = 10_000;

/// The newest row stays, however old it is: ids that have been given are told by it, to the feeds of others and to a
/// MySQL that is started again. The last one that goes bounds what the statement reads, and on MySQL locks.
async fn prune(tx: &mut Tx<'_>, table: &str, created_before: SystemTime) -> Result<u64, Error> {
    let newest = format!("SELECT id FROM {table} ORDER BY id DESC LIMIT 1");
    let Some(newest) = tx.db.row(Sql::new(newest), |row| row.integer(0)).await? else { return Ok(0) };
    let old = tx.db.dialect().earlier("created_at", created_before);
    let select = Sql::new(format!("SELECT id FROM {table} WHERE id < ? AND ")).bind(newest).append(old.clone());
    let ids = tx.db.rows(select.push(" ORDER BY id LIMIT ?").bind(MOST), |row| row.integer(0)).await?;
    let Some(last) = ids.last() else { return Ok(0) };
    tx.db.execute(Sql::new(format!("DELETE FROM {table} WHERE id <= ? AND ")).bind(*last).append(old)).await
}
