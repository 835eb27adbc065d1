use super::Entry;
use crate::Error;
use crate::sql::{Conditions, Sql};
use crate::writer::{Mutation, Tx};

/// Deletes the entry with this id.
#[derive(Clone, Debug)]
pub struct DeleteEntry {
    /// The id.
    pub entry_id: String,
}

/// Deletes entries that have expired: those first that have for longest, as many as one transaction should. Written again and
/// again until none goes, it deletes all.
#[derive(Clone, Debug)]
pub struct PruneEntries {
    /// Entries whose expiry (seconds since 1970) is set and earlier go.
    pub expires_before: i64,
}

/// The most that one transaction deletes, so that it does not hold others up for long.
const MOST: i64 = 500;
/// What servers lock that prune at the same time, so that each row goes once and is told of once.
const PRUNING: u64 = 0x7072_756e_652d_656e;

impl Mutation for DeleteEntry {
    /// The entry that went.
    type Output = Entry;
    const KEY: &'static str = "datastore.registration_entry.delete";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Entry, Error> {
        let mut conditions = Conditions::default();
        conditions.add(Sql::new("e.entry_id = ?").bind(&self.entry_id));
        delete_where(tx, conditions).await?.pop().ok_or(Error::NotFound)
    }
}

impl Mutation for PruneEntries {
    /// The entries that went.
    type Output = Vec<Entry>;
    const KEY: &'static str = "datastore.registration_entry.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Entry>, Error> {
        tx.db.lock([PRUNING]).await?;
        let mut conditions = Conditions::default();
        conditions.add(Sql::new("e.expiry <> 0"));
        conditions.add(Sql::new("e.expiry < ?").bind(self.expires_before));
        delete_where(tx, conditions).await
    }
}

/// Deletes the first of the rows, up to [`MOST`].
async fn delete_where(tx: &mut Tx<'_>, conditions: Conditions) -> Result<Vec<Entry>, Error> {
    // Whoever is changing one of these comes first, and then it may not be one of them any more.
    let lock = conditions.append_to(Sql::new("SELECT e.id FROM registered_entries e"));
    // In the order of the index of what is over: in another one MySQL would lock what it passes by.
    let lock = lock.push(" ORDER BY e.expiry, e.id LIMIT ?").bind(MOST).push(tx.db.dialect().row_lock());
    let ids = tx.db.rows(lock, |row| row.integer(0)).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut conditions = Conditions::default();
    conditions.add(Sql::new("e.id IN ").list(ids));
    let entries = super::load(tx.db, conditions, None).await?;
    let rows: Vec<_> = entries.iter().map(|(id, entry)| (*id, entry.entry_id.clone())).collect();
    delete_rows(tx, &rows).await?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// Deletes rows, given with the entries' ids, and all that belongs to them, and writes that they changed.
pub(crate) async fn delete_rows(tx: &mut Tx<'_>, rows: &[(i64, String)]) -> Result<(), Error> {
    let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
    tx.db.delete_in("DELETE FROM federated_registration_entries WHERE registered_entry_id IN ", &ids).await?;
    tx.db.delete_in("DELETE FROM selectors WHERE registered_entry_id IN ", &ids).await?;
    tx.db.delete_in("DELETE FROM dns_names WHERE registered_entry_id IN ", &ids).await?;
    tx.db.delete_in("DELETE FROM registered_entries WHERE id IN ", &ids).await?;
    tx.entry_events(rows.iter().map(|(_, entry_id)| entry_id.as_str())).await
}
