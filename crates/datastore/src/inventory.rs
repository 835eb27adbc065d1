//! `steeple_inventory`: records of what a server has signed, on a connection of its own. The table is our own, and nothing else
//! in the database hangs on it.
//!
//! PostgreSQL keeps each day in a partition, so that old days go at once; elsewhere days come first in the primary key.

use std::collections::BTreeSet;

use steeple_runtime::Clock;

use crate::connection::{Connection, Row};
use crate::database::Database;
use crate::dialect::Dialect;
use crate::sql::{Sql, Value};
use crate::{Error, Options};

/// One record, with what one searches for in columns of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRow {
    /// The chain that it belongs to: letters and digits.
    pub chain: String,
    /// Its place in the chain.
    pub seq: i64,
    /// When it was written down, Unix seconds.
    pub written_at: i64,
    /// What it tells of.
    pub what: String,
    /// To whom something was signed.
    pub spiffe_id: Option<String>,
    /// Who has asked for it.
    pub through: Option<String>,
    /// What has signed.
    pub authority: Option<String>,
    /// When it ends, Unix seconds.
    pub expires_at: Option<i64>,
    /// All of it.
    pub record: String,
}

/// The table of one chain's writer, or of a reader of all.
pub struct InventoryTable {
    database: Database,
    /// None after an error: its state is not known.
    db: Option<Connection>,
    /// The day of the newest row. Days do not go back when a clock does, so that they sort as places do.
    day: i64,
    /// Days that have a partition.
    partitions: BTreeSet<i64>,
    /// Whether the last write may have been made although it failed.
    in_doubt: bool,
}

/// The place of a row among all: day, chain, seq.
pub type InventoryPlace = (i64, String, i64);

/// Rows that are held at a time.
const PAGE: i64 = 500;
/// Rows that are deleted by one statement.
const DELETED_AT_ONCE: u64 = 5_000;
const DAY: i64 = 24 * 60 * 60;
/// What servers lock that make the table, or make or delete a partition.
const TABLES: u64 = 0x696e_7665_6e74_6f72;
const TABLE: &str = "steeple_inventory";

impl InventoryTable {
    /// Opens the table for writing, and makes it if it is missing.
    ///
    /// # Errors
    /// The database is not to be had, or the table is missing and tables of our own are not to be made.
    pub async fn create(options: Options, clock: &Clock) -> Result<Self, Error> {
        let Options { source, disable_migration, log_statements, .. } = options;
        let mut table = Self::new(source.database(log_statements, clock));
        let mut db = table.database.create().await?;
        table.database.find_out(&mut db).await?;
        if !db.has_table(TABLE).await? {
            if disable_migration {
                return Err(Error::MigrationDisabled);
            }
            // PostgreSQL lets of two who create a table at once one fail, whatever the statement says.
            db.begin_write().await?;
            db.lock([TABLES]).await?;
            db.execute(Sql::new(create(db.dialect()))).await?;
            db.commit().await?;
        }
        table.db = Some(db);
        Ok(table)
    }

    /// Opens the table for reading.
    ///
    /// # Errors
    /// The database is not to be had.
    pub async fn read_only(options: Options, clock: &Clock) -> Result<Self, Error> {
        let mut table = Self::new(options.source.database(options.log_statements, clock));
        table.db = Some(table.database.read().await?);
        Ok(table)
    }

    fn new(database: Database) -> Self {
        Self { database, db: None, day: i64::MIN, partitions: BTreeSet::new(), in_doubt: false }
    }

    /// The newest record of a chain.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn newest(&mut self, chain: &str) -> Result<Option<String>, Error> {
        let mut db = self.connection().await?;
        let newest = newest(&mut db, chain).await?;
        self.db = Some(db);
        Ok(newest.map(|(day, _, record)| {
            self.day = day;
            record
        }))
    }

    /// Writes records of one chain, all or none of them. May be called again with the same ones after an error.
    ///
    /// # Errors
    /// The database does not take them.
    pub async fn append(&mut self, rows: &[InventoryRow]) -> Result<(), Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let mut db = self.connection().await?;
        let mut written = 0;
        if self.in_doubt {
            written = newest(&mut db, &first.chain).await?.map_or(0, |(_, seq, _)| seq);
        }
        self.in_doubt = true;
        let day = rows.iter().map(|row| row.written_at.div_euclid(DAY)).max().unwrap_or_default().max(self.day);
        self.make_partition(&mut db, day).await?;
        db.begin_write().await?;
        let rows = rows.iter().filter(|row| row.seq > written).map(|row| {
            let InventoryRow { chain, seq, written_at, what, spiffe_id, through, authority, expires_at, record } = row;
            [
                day.into(),
                chain.into(),
                (*seq).into(),
                (*written_at).into(),
                what.into(),
                spiffe_id.as_deref().into(),
                through.as_deref().into(),
                authority.as_deref().into(),
                Value::from(*expires_at),
                record.into(),
            ]
        });
        db.insert(INSERT, rows.collect::<Vec<[Value; 10]>>()).await?;
        db.commit().await?;
        (self.db, self.day, self.in_doubt) = (Some(db), day, false);
        Ok(())
    }

    /// Deletes what was written down before the day of this moment, Unix seconds.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn prune(&mut self, before: i64) -> Result<(), Error> {
        let before = before.div_euclid(DAY);
        let mut db = self.connection().await?;
        match db.dialect() {
            Dialect::Postgres => {
                db.begin_write().await?;
                db.lock([TABLES]).await?;
                for day in db.rows(Sql::new(LIST_PARTITIONS), |row| row.text(0)).await? {
                    let day = day.strip_prefix(TABLE).and_then(|rest| rest.strip_prefix('_')?.parse::<i64>().ok());
                    if let Some(day) = day.filter(|day| *day < before) {
                        db.execute(Sql::new(format!("DROP TABLE {TABLE}_{day}"))).await?;
                        self.partitions.remove(&day);
                    }
                }
                db.commit().await?;
            }
            Dialect::Sqlite => delete(&mut db, DELETE_OF_SQLITE, before).await?,
            Dialect::MySql => delete(&mut db, DELETE_OF_MYSQL, before).await?,
        }
        self.db = Some(db);
        Ok(())
    }

    /// The records behind a place, or the first ones, with the place of the last one; None behind all of them. Those of one
    /// chain are in their order.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub async fn page(
        &mut self,
        behind: Option<InventoryPlace>,
    ) -> Result<Option<(Vec<String>, InventoryPlace)>, Error> {
        let mut db = self.connection().await?;
        let mut sql = Sql::new("SELECT day, chain, seq, record FROM steeple_inventory");
        if let Some((day, chain, seq)) = behind {
            let condition = " WHERE day >= ? AND (day > ? OR chain > ? OR (chain = ? AND seq > ?))";
            sql = sql.push(condition).bind(day).bind(day).bind(&chain).bind(&chain).bind(seq);
        }
        let sql = sql.push(" ORDER BY day, chain, seq LIMIT ?").bind(PAGE);
        let mut last = None;
        let records = db
            .rows(sql, |row| {
                last = Some((row.integer(0)?, row.text(1)?, row.integer(2)?));
                row.text(3)
            })
            .await?;
        self.db = Some(db);
        Ok(last.map(|last| (records, last)))
    }

    /// Closes the connection.
    pub async fn close(mut self) {
        if let Some(db) = self.db.take() {
            // Nothing is under way: there is nothing to lose.
            let _ = db.close().await;
        }
    }

    async fn connection(&mut self) -> Result<Connection, Error> {
        match self.db.take().filter(|db| !db.is_spoiled()) {
            Some(db) => Ok(db),
            None => self.database.write().await,
        }
    }

    async fn make_partition(&mut self, db: &mut Connection, day: i64) -> Result<(), Error> {
        if db.dialect() != Dialect::Postgres || self.partitions.contains(&day) {
            return Ok(());
        }
        db.begin_write().await?;
        db.lock([TABLES]).await?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {TABLE}_{day} PARTITION OF {TABLE} FOR VALUES FROM ({day}) TO ({})",
            day + 1
        );
        db.execute(Sql::new(create)).await?;
        db.commit().await?;
        self.partitions.insert(day);
        Ok(())
    }
}

/// Day, place and text of a chain's newest record.
async fn newest(db: &mut Connection, chain: &str) -> Result<Option<(i64, i64, String)>, Error> {
    let select = "SELECT day, seq, record FROM steeple_inventory WHERE chain = ? ORDER BY day DESC, seq DESC LIMIT 1";
    let read = |row: &Row| Ok((row.integer(0)?, row.integer(1)?, row.text(2)?));
    db.row(Sql::new(select).bind(chain), read).await
}

/// Slice by slice, so that a writer gets in between.
async fn delete(db: &mut Connection, statement: &'static str, before: i64) -> Result<(), Error> {
    while db.execute(Sql::new(statement).bind(before)).await? >= DELETED_AT_ONCE {}
    Ok(())
}

/// The statement that makes the table.
fn create(dialect: Dialect) -> String {
    let (long, end) = match dialect {
        Dialect::Sqlite => ("text", ""),
        Dialect::Postgres => ("text", " PARTITION BY RANGE (day)"),
        Dialect::MySql => ("longtext", ""),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {TABLE} (day bigint NOT NULL, chain varchar(32) NOT NULL, seq bigint NOT NULL, \
         written_at bigint NOT NULL, what varchar(16) NOT NULL, spiffe_id {long}, through {long}, authority varchar(255), \
         expires_at bigint, record {long} NOT NULL, PRIMARY KEY (day, chain, seq)){end}"
    )
}

const INSERT: &str = "INSERT INTO steeple_inventory (day, chain, seq, written_at, what, spiffe_id, through, authority, \
                      expires_at, record) VALUES ";
const LIST_PARTITIONS: &str = "SELECT table_name FROM information_schema.tables WHERE table_schema = \
                               ANY (current_schemas(false)) AND table_name LIKE 'steeple\\_inventory\\_%'";
const DELETE_OF_SQLITE: &str = "DELETE FROM steeple_inventory WHERE rowid IN (SELECT rowid FROM steeple_inventory \
                                WHERE day < ? LIMIT 5000)";
const DELETE_OF_MYSQL: &str = "DELETE FROM steeple_inventory WHERE day < ? ORDER BY day, chain, seq LIMIT 5000";
