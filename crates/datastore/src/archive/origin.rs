//! The database that is read.

use steeple_runtime::Clock;

use super::tables::{Cells, TABLES, Table};
use crate::connection::Connection;
use crate::database::Database;
use crate::dialect::Dialect;
use crate::events::{ENTRY_EVENTS, NODE_EVENTS};
use crate::sql::{Sql, Value};
use crate::{Error, Options, schema};

/// A database in one state, whoever writes to it.
pub(super) struct Origin {
    database: Database,
    db: Connection,
    version: i64,
    code_version: String,
}

/// Rows that are held at a time.
pub(super) const PAGE: usize = 500;

impl Origin {
    /// Opens the database and changes nothing of it, its schema neither.
    ///
    /// # Errors
    /// It cannot be opened; [`Error::SchemaMissing`] and those after it.
    pub(super) async fn open(options: Options, clock: &Clock) -> Result<Self, Error> {
        let Options { source, log_statements, .. } = options;
        let database = source.database(log_statements, clock);
        let named = |error| database.named(error);
        let mut db = database.read().await.map_err(named)?;
        db.begin_read().await.map_err(named)?;
        let schema::Stored { version, code_version } =
            schema::stored(&mut db).await.map_err(named)?.ok_or(Error::SchemaMissing)?;
        if version < schema::OLDEST {
            return Err(Error::SchemaTooOld(version));
        }
        // It may have columns that are not known here, and they would be lost.
        if version > schema::VERSION {
            return Err(Error::SchemaNewer(version));
        }
        Ok(Self { database, db, version, code_version })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    pub(super) fn code_version(&self) -> &str {
        &self.code_version
    }

    /// Sees the state that the database is in now.
    pub(super) async fn look_again(&mut self) -> Result<(), Error> {
        self.db.commit().await?;
        self.db.begin_read().await
    }

    /// The tables that there are.
    pub(super) async fn tables(&mut self) -> Result<Vec<&'static Table>, Error> {
        let mut tables = Vec::with_capacity(TABLES.len());
        for table in &TABLES {
            if !table.is_optional() || self.db.has_table(table.name).await? {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// How many rows a table has.
    pub(super) async fn count(&mut self, table: &Table) -> Result<u64, Error> {
        let count = Sql::new(format!("SELECT COUNT(*) FROM {}", table.name));
        let count = self.db.row(count, |row| row.integer(0)).await.map_err(|error| error.of_table(table.name))?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
    }

    /// The rows behind `last`, or the first ones; fewer than [`PAGE`] are the end.
    pub(super) async fn page(&mut self, table: &Table, last: Option<&Cells>) -> Result<Vec<Cells>, Error> {
        page(&mut self.db, table, self.version, last).await
    }

    /// The bundle of a trust domain.
    pub(super) async fn bundle(&mut self, trust_domain_id: &str) -> Result<Option<Vec<u8>>, Error> {
        let select = Sql::new("SELECT data FROM bundles WHERE trust_domain = ?").bind(trust_domain_id);
        self.db.row(select, |row| row.bytes(0)).await
    }

    /// The newest ids of the event tables as they are now, and not in the state that is read.
    pub(super) async fn newest_events(&self) -> Result<[i64; 2], Error> {
        let mut db = self.database.read().await?;
        let mut newest = [0; 2];
        for (newest, table) in newest.iter_mut().zip([ENTRY_EVENTS, NODE_EVENTS]) {
            let id = db.row(Sql::new(db.dialect().newest_id(table)), |row| row.integer(0)).await?;
            *newest = id.unwrap_or_default();
        }
        db.close().await?;
        Ok(newest)
    }

    pub(super) async fn close(mut self) -> Result<(), Error> {
        self.db.commit().await?;
        self.db.close().await
    }
}

/// Refuses a table that was not read to its end: one whose key is NULL somewhere, which only hands can have written.
pub(super) fn counted(table: &Table, count: u64, read: u64) -> Result<(), Error> {
    if count == read {
        return Ok(());
    }
    Err(Error::Corrupt(format!("of {count} rows {read} can be read in the order of their key")).of_table(table.name))
}

/// See [`Origin::page`].
pub(super) async fn page(
    db: &mut Connection,
    table: &Table,
    version: i64,
    last: Option<&Cells>,
) -> Result<Vec<Cells>, Error> {
    let most = Value::Integer(i64::try_from(PAGE).unwrap_or(i64::MAX));
    let sql = table.page(db.dialect(), version, last, most);
    db.rows(sql, |row| table.read(row)).await.map_err(|error| error.of_table(table.name))
}
