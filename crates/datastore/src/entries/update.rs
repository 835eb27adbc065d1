use prost::Message;

use super::create::{
    INSERT_BUNDLES, INSERT_DNS_NAMES, INSERT_SELECTORS, bundle_ids, bundle_rows, dns_rows, federation, selector_rows,
};
use super::{Entry, present};
use crate::sql::{Sql, Value};
use crate::writer::{Mutation, Tx};
use crate::{Error, Selector};

/// Replaces fields of the entry with the same id. Every update raises the revision number, even one that names no field.
#[derive(Clone, Debug)]
pub struct UpdateEntry {
    /// The id, and the new values.
    pub entry: Entry,
    /// Which fields to replace.
    pub mask: EntryMask,
}

/// Replaces the same fields of several entries, each for itself and in this order: what is wrong with one does not touch
/// the others.
#[derive(Clone, Debug)]
pub struct UpdateEntries {
    /// The ids, and the new values.
    pub entries: Vec<Entry>,
    /// Which fields to replace.
    pub mask: EntryMask,
}

/// The fields of an [`Entry`] that can be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, clippy::struct_excessive_bools, reason = "one flag a field, under the field's name")]
pub struct EntryMask {
    pub spiffe_id: bool,
    pub parent_id: bool,
    pub selectors: bool,
    pub federates_with: bool,
    pub x509_svid_ttl: bool,
    pub jwt_svid_ttl: bool,
    pub admin: bool,
    pub downstream: bool,
    pub expires_at: bool,
    pub dns_names: bool,
    pub store_svid: bool,
    pub hint: bool,
    pub additional_attributes: bool,
}

impl EntryMask {
    /// All fields.
    pub const ALL: Self = Self {
        spiffe_id: true,
        parent_id: true,
        selectors: true,
        federates_with: true,
        x509_svid_ttl: true,
        jwt_svid_ttl: true,
        admin: true,
        downstream: true,
        expires_at: true,
        dns_names: true,
        store_svid: true,
        hint: true,
        additional_attributes: true,
    };
}

impl Mutation for UpdateEntry {
    /// The entry after the update.
    type Output = Entry;
    const KEY: &'static str = "datastore.registration_entry.update";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Entry, Error> {
        update(tx, &self.entry, self.mask).await
    }
}

impl Mutation for UpdateEntries {
    /// The entries after the update, in the order of the request.
    type Output = Vec<Result<Entry, Error>>;
    const KEY: &'static str = "datastore.registration_entry.update";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Error> {
        let mut outcome = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            tx.db.savepoint().await?;
            let updated = update(tx, entry, self.mask).await;
            match &updated {
                Ok(_) => tx.db.keep().await?,
                Err(error) if is_of_one_entry(error) => tx.db.undo().await.map_err(|_| error.clone())?,
                Err(error) => return Err(error.clone()),
            }
            outcome.push(updated);
        }
        Ok(outcome)
    }
}

/// Whether the entry is at fault, and not the database.
fn is_of_one_entry(error: &Error) -> bool {
    matches!(error, Error::NotFound | Error::Constraint(_) | Error::Validation(_) | Error::FederatedBundleMissing(_))
}

/// After an error, parts of it may be written.
async fn update(tx: &mut Tx<'_>, entry: &Entry, mask: EntryMask) -> Result<Entry, Error> {
    let select = format!("SELECT id FROM registered_entries WHERE entry_id = ?{}", tx.db.dialect().row_lock());
    let id = tx.db.row(Sql::new(select).bind(&entry.entry_id), |row| row.integer(0)).await?;
    let id = id.ok_or(Error::NotFound)?;
    validate(entry, mask)?;

    tx.db.execute(update_row(entry, mask, tx.now, id)).await?;
    if mask.selectors {
        tx.db.execute(Sql::new("DELETE FROM selectors WHERE registered_entry_id = ?").bind(id)).await?;
        tx.db.insert(INSERT_SELECTORS, selector_rows(tx.now, id, &entry.selectors).collect::<Vec<_>>()).await?;
    }
    if mask.dns_names {
        tx.db.execute(Sql::new("DELETE FROM dns_names WHERE registered_entry_id = ?").bind(id)).await?;
        tx.db.insert(INSERT_DNS_NAMES, dns_rows(tx.now, id, &entry.dns_names).collect::<Vec<_>>()).await?;
    }
    if mask.federates_with {
        let bundles = bundle_ids(tx, entry.federates_with.iter()).await?;
        let federated: Vec<_> = federation(entry, &bundles)?.into_iter().map(|(bundle, _)| bundle).collect();
        let delete = "DELETE FROM federated_registration_entries WHERE registered_entry_id = ?";
        tx.db.execute(Sql::new(delete).bind(id)).await?;
        tx.db.insert(INSERT_BUNDLES, bundle_rows(id, federated).collect::<Vec<_>>()).await?;
    }
    tx.entry_events([entry.entry_id.as_str()]).await?;
    let updated = super::by_entry_ids(tx.db, std::slice::from_ref(&entry.entry_id)).await?.pop();
    updated.map(Entry::sorted).ok_or(Error::NotFound)
}

/// Only what the update brings is looked at, as in the reference: an entry with selectors of several kinds can be made
/// storable by an update that does not name its selectors.
fn validate(entry: &Entry, mask: EntryMask) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::Validation(format!("invalid registration entry: {text}")));
    if mask.selectors && entry.selectors.is_empty() {
        return invalid("missing selector list");
    }
    if mask.store_svid && mask.selectors && entry.store_svid && !same_kind(&entry.selectors) {
        return invalid("selector types must be the same when store SVID is enabled");
    }
    if mask.spiffe_id && entry.spiffe_id.is_empty() {
        return invalid("missing SPIFFE ID");
    }
    if mask.x509_svid_ttl && entry.x509_svid_ttl < 0 {
        return invalid("X509SvidTtl is not set");
    }
    if mask.jwt_svid_ttl && entry.jwt_svid_ttl < 0 {
        return invalid("JwtSvidTtl is not set");
    }
    Ok(())
}

pub(super) fn same_kind(selectors: &[Selector]) -> bool {
    selectors.windows(2).all(|pair| pair[0].kind == pair[1].kind)
}

fn update_row(entry: &Entry, mask: EntryMask, now: std::time::SystemTime, id: i64) -> Sql {
    let Entry {
        entry_id: _,
        spiffe_id,
        parent_id,
        selectors: _,
        federates_with: _,
        x509_svid_ttl,
        jwt_svid_ttl,
        admin,
        downstream,
        expires_at,
        dns_names: _,
        revision_number: _,
        store_svid,
        hint,
        additional_attributes,
        created_at: _,
    } = entry;
    let attributes = present(*additional_attributes).as_ref().map(Message::encode_to_vec);
    let columns: [(bool, &str, Value); 10] = [
        (mask.spiffe_id, "spiffe_id", spiffe_id.into()),
        (mask.parent_id, "parent_id", parent_id.into()),
        (mask.x509_svid_ttl, "ttl", (*x509_svid_ttl).into()),
        (mask.jwt_svid_ttl, "jwt_svid_ttl", (*jwt_svid_ttl).into()),
        (mask.admin, "admin", (*admin).into()),
        (mask.downstream, "downstream", (*downstream).into()),
        (mask.expires_at, "expiry", (*expires_at).into()),
        (mask.store_svid, "store_svid", (*store_svid).into()),
        (mask.hint, "hint", hint.into()),
        (mask.additional_attributes, "additional_attributes", attributes.into()),
    ];
    let update = "UPDATE registered_entries SET updated_at = ?, revision_number = revision_number + 1";
    columns
        .into_iter()
        .filter(|(named, _, _)| *named)
        .fold(Sql::new(update).bind(now), |sql, (_, column, value)| {
            sql.push(", ").push(column).push(" = ?").bind(value)
        })
        .push(" WHERE id = ?")
        .bind(id)
}
