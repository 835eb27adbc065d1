//! Bundles: the authorities of the own trust domain and of foreign ones, one row each.

mod authorities;
mod change;
mod delete;

use prost::Message;
use steeple_proto::spire::common::Bundle;
use steeple_runtime::metrics::measure;

pub use authorities::{PruneBundle, RevokeJwtAuthority, RevokeX509Authority, TaintJwtAuthority, TaintX509Authority};
pub(crate) use change::set;

pub use change::{AppendBundle, BundleMask, CreateBundle, SetBundle, UpdateBundle};
pub use delete::{DeleteBundle, DeleteMode};

use crate::Error;
use crate::connection::{Connection, Row};
use crate::listing::{Listing, Page};
use crate::sql::{Conditions, Sql};
use crate::store::DataStore;
use crate::writer::Tx;

impl DataStore {
    /// The bundle of the trust domain (`spiffe://td`).
    pub async fn fetch_bundle(&self, trust_domain: &str) -> Result<Option<Bundle>, Error> {
        measure("datastore.bundle.fetch", async {
            let mut reader = self.pool().one().await?;
            let bundle = by_trust_domain(&mut reader.db, trust_domain).await?;
            reader.done().await?;
            Ok(bundle)
        })
        .await
    }

    /// The bundles, the own one among them, in order of creation.
    pub async fn list_bundles(&self, page: &Page) -> Result<Listing<Bundle>, Error> {
        measure("datastore.bundle.list", async {
            let cursor = page.cursor(Error::PageToken)?;
            let mut conditions = Conditions::default();
            if let Some(after) = cursor.condition("id") {
                conditions.add(after);
            }
            let sql = conditions.append_to(Sql::new("SELECT id, trust_domain, data FROM bundles"));
            let mut reader = self.pool().one().await?;
            let rows = reader.db.rows(cursor.order(sql, "id"), |row| Ok((row.integer(0)?, read(row)?))).await?;
            reader.done().await?;
            Ok(cursor.listing(rows))
        })
        .await
    }

    /// How many bundles there are, the own one among them.
    pub async fn count_bundles(&self) -> Result<u64, Error> {
        measure("datastore.bundle.count", async {
            let mut reader = self.pool().one().await?;
            let count = reader.db.row(Sql::new("SELECT COUNT(*) FROM bundles"), |row| row.integer(0)).await?;
            reader.done().await?;
            Ok(count.unwrap_or_default().unsigned_abs())
        })
        .await
    }
}

pub(crate) async fn by_trust_domain(db: &mut Connection, trust_domain: &str) -> Result<Option<Bundle>, Error> {
    let select = "SELECT id, trust_domain, data FROM bundles WHERE trust_domain = ?";
    db.row(Sql::new(select).bind(trust_domain), read).await
}

/// Reads columns `id, trust_domain, data`.
pub(crate) fn read(row: &Row) -> Result<Bundle, Error> {
    let trust_domain = row.text(1)?;
    Bundle::decode(&*row.bytes(2)?)
        .map_err(|error| Error::Corrupt(format!("unable to read bundle of {trust_domain:?}: {error}")))
}

impl Tx<'_> {
    /// The bundle that this transaction is going to change.
    async fn bundle(&mut self, trust_domain: &str) -> Result<Option<Bundle>, Error> {
        let lock = self.db.dialect().row_lock();
        let select = format!("SELECT id, trust_domain, data FROM bundles WHERE trust_domain = ?{lock}");
        self.db.row(Sql::new(select).bind(trust_domain), read).await
    }

    async fn insert_bundle(&mut self, bundle: &Bundle) -> Result<(), Error> {
        self.bundles_changed = true;
        let insert = "INSERT INTO bundles (created_at, updated_at, trust_domain, data) VALUES (?, ?, ?, ?)";
        let sql = Sql::new(insert).bind(self.now).bind(self.now).bind(&bundle.trust_domain_id);
        self.db.execute(sql.bind(bundle.encode_to_vec())).await.map(drop)
    }

    async fn update_bundle(&mut self, bundle: &Bundle) -> Result<(), Error> {
        self.bundles_changed = true;
        let update = "UPDATE bundles SET updated_at = ?, data = ? WHERE trust_domain = ?";
        let sql = Sql::new(update).bind(self.now).bind(bundle.encode_to_vec()).bind(&bundle.trust_domain_id);
        self.db.execute(sql).await.map(drop)
    }
}
