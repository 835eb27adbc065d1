use crate::Error;
use crate::connection::Row;
use crate::entries;
use crate::sql::Sql;
use crate::writer::{Mutation, Tx};

/// Deletes the bundle of a trust domain.
#[derive(Clone, Debug)]
pub struct DeleteBundle {
    /// The trust domain, `spiffe://td`.
    pub trust_domain: String,
    /// What becomes of the entries that federate with it.
    pub mode: DeleteMode,
}

/// What becomes of the entries that federate with a bundle that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// If there is one, nothing is deleted ([`Error::BundleInUse`]).
    Restrict,
    /// They are deleted too.
    Delete,
    /// They stay and no longer federate with it. Their revision numbers stay too, as in the reference.
    Dissociate,
}

impl Mutation for DeleteBundle {
    type Output = ();
    const KEY: &'static str = "datastore.bundle.delete";

    /// The reference writes no events here, and leaves rows behind that belonged to the entries it deletes. Servers of
    /// both kinds hear of the change from us.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let select = format!("SELECT id FROM bundles WHERE trust_domain = ?{}", tx.db.dialect().row_lock());
        let id = tx.db.row(Sql::new(select).bind(&self.trust_domain), |row| row.integer(0)).await?;
        let id = id.ok_or(Error::NotFound)?;
        let select = "SELECT e.id, e.entry_id FROM federated_registration_entries f \
                      JOIN registered_entries e ON e.id = f.registered_entry_id WHERE f.bundle_id = ?";
        let read = |row: &Row| Ok((row.integer(0)?, row.text(1)?));
        let federated: Vec<(i64, String)> = tx.db.rows(Sql::new(select).bind(id), read).await?;

        match self.mode {
            DeleteMode::Restrict if federated.is_empty() => {}
            DeleteMode::Restrict => {
                return Err(Error::BundleInUse(u64::try_from(federated.len()).unwrap_or(u64::MAX)));
            }
            DeleteMode::Delete => entries::delete_rows(tx, &federated).await?,
            DeleteMode::Dissociate => tx.entry_events(federated.iter().map(|(_, entry_id)| entry_id.as_str())).await?,
        }
        tx.bundles_changed = true;
        // Also rows that others left behind.
        tx.db.execute(Sql::new("DELETE FROM federated_registration_entries WHERE bundle_id = ?").bind(id)).await?;
        tx.db.execute(Sql::new("DELETE FROM bundles WHERE id = ?").bind(id)).await.map(drop)
    }
}
