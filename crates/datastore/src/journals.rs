//! CA journals: what each server knows about its own authorities, one row a server.

use prost::Message;
use steeple_proto::journal::Entries;
use steeple_runtime::metrics::measure;

use crate::Error;
use crate::connection::Row;
use crate::sql::Sql;
use crate::store::DataStore;
use crate::writer::{Mutation, Tx};

/// A server's journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaJournal {
    /// The row's id; 0 for a journal that is not stored yet.
    pub id: i64,
    /// The journal itself, a serialized `Entries` of `journal.proto`.
    pub data: Vec<u8>,
    /// Lower-case hexadecimal subject key ID of the X.509 authority that is active: a server finds its own row by it.
    pub active_x509_authority_id: String,
}

impl DataStore {
    /// The journal of the server whose active X.509 authority has this id.
    pub async fn fetch_ca_journal(&self, active_x509_authority_id: &str) -> Result<Option<CaJournal>, Error> {
        measure("datastore.ca_journal.fetch", async {
            let sql = "SELECT id, data, active_x509_authority_id FROM ca_journals \
                       WHERE active_x509_authority_id = ? ORDER BY id LIMIT 1";
            let mut reader = self.pool().one().await?;
            let found = reader.db.row(Sql::new(sql).bind(active_x509_authority_id), read).await?;
            reader.done().await?;
            Ok(found)
        })
        .await
    }
}

/// Stores a journal: a new row for id 0, else the row with that id.
#[derive(Clone, Debug)]
pub struct SetCaJournal(pub CaJournal);

/// Deletes the journals of servers that are gone.
#[derive(Clone, Debug)]
pub struct PruneCaJournals {
    /// A journal goes when all its X.509 and JWT authorities expired by then (seconds since 1970).
    pub expired_by: i64,
}

impl Mutation for SetCaJournal {
    /// The row's id.
    type Output = i64;
    const KEY: &'static str = "datastore.ca_journal.set";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Error> {
        let CaJournal { id, data, active_x509_authority_id } = &self.0;
        if *id != 0 {
            let update = "UPDATE ca_journals SET updated_at = ?, data = ?, active_x509_authority_id = ? WHERE id = ?";
            let sql = Sql::new(update).bind(tx.now).bind(data.clone()).bind(active_x509_authority_id).bind(*id);
            return if tx.db.execute(sql).await? == 0 { Err(Error::NotFound) } else { Ok(*id) };
        }
        // The column of the JWT authority is never written by the reference either.
        let insert = "INSERT INTO ca_journals \
                      (created_at, updated_at, data, active_x509_authority_id, active_jwt_authority_id) \
                      VALUES (?, ?, ?, ?, '')";
        let sql = Sql::new(insert).bind(tx.now).bind(tx.now).bind(data.clone()).bind(active_x509_authority_id);
        tx.db.execute(sql).await?;
        tx.db.row(Sql::new(tx.db.dialect().last_id()), |row| row.integer(0)).await?.ok_or(Error::NotFound)
    }
}

impl Mutation for PruneCaJournals {
    /// How many went.
    type Output = u64;
    const KEY: &'static str = "datastore.ca_journal.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Error> {
        // A server that writes to its journal comes first.
        let all = Sql::new("SELECT id, data, active_x509_authority_id FROM ca_journals");
        let all = tx.db.rows(all.push(tx.db.dialect().row_lock()), read).await?;
        let expired: Vec<i64> = all.iter().filter(|it| is_expired(it, self.expired_by)).map(|it| it.id).collect();
        tx.db.delete_in("DELETE FROM ca_journals WHERE id IN ", &expired).await?;
        Ok(u64::try_from(expired.len()).unwrap_or(u64::MAX))
    }
}

fn is_expired(journal: &CaJournal, by: i64) -> bool {
    match Entries::decode(journal.data.as_slice()) {
        Ok(Entries { x509_c_as, jwt_keys, wit_keys: _ }) => {
            x509_c_as.iter().all(|ca| ca.not_after <= by) && jwt_keys.iter().all(|key| key.not_after <= by)
        }
        Err(error) => {
            tracing::warn!(target: "sql", ca_journal_id = journal.id, error = %error, "Unable to read CA journal");
            false
        }
    }
}

fn read(row: &Row) -> Result<CaJournal, Error> {
    Ok(CaJournal { id: row.integer(0)?, data: row.bytes(1)?, active_x509_authority_id: row.text(2)? })
}
