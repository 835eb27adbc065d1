//! The empty database that is filled.

use steeple_runtime::Clock;

use super::origin::page;
use super::tables::{Cells, Key, TABLES, Table, USED_JOIN_TOKENS};
use crate::connection::Connection;
use crate::join_tokens::used;
use crate::sql::{Sql, Value};
use crate::{Error, Options, schema};

/// A database in the middle of one transaction that fills it.
pub(super) struct Destination {
    db: Connection,
    clock: Clock,
    has_used_join_tokens: bool,
}

/// What one INSERT holds at most: servers refuse longer ones, the oldest from a megabyte on.
const ROWS_A_STATEMENT: usize = 500;
const BYTES_A_STATEMENT: usize = 512 * 1024;

impl Destination {
    /// Opens the database, which has no rows, and makes its schema if it has none.
    ///
    /// # Errors
    /// It cannot be opened, or has rows ([`Error::NotEmpty`]).
    pub(super) async fn open(options: Options, clock: &Clock) -> Result<Self, Error> {
        let Options { source, log_statements, disable_migration, .. } = options;
        let database = source.database(log_statements, clock);
        let named = |error| database.named(error);
        let mut db = database.create().await.map_err(named)?;
        // Before anything is made or changed in a database that is another one than was meant.
        refuse_rows(&mut db).await.map_err(named)?;
        schema::prepare(&mut db, clock.now(), disable_migration).await.map_err(named)?;
        if schema::stored(&mut db).await?.is_none_or(|stored| stored.version != schema::VERSION) {
            return Err(Error::SchemaIncompatible);
        }
        let has_used_join_tokens = used::prepare(&mut db, !disable_migration).await;
        db.begin_write().await.map_err(named)?;
        let mut opened = Self { db, clock: clock.clone(), has_used_join_tokens };
        // Once more, now that nobody else writes to a file.
        match refuse_rows(&mut opened.db).await {
            Ok(()) => Ok(opened),
            Err(error) => Err(opened.give_up(error).await),
        }
    }

    /// Whether rows of the table can be kept: our own may be impossible to make.
    pub(super) fn keeps(&self, table: &Table) -> bool {
        table.name != USED_JOIN_TOKENS || self.has_used_join_tokens
    }

    /// A row as it will be found here.
    pub(super) fn kept(&self, row: Cells) -> Cells {
        row.into_iter()
            .map(|value| match value {
                Value::Time(at) => Value::Time(self.db.kept(at)),
                other => other,
            })
            .collect()
    }

    pub(super) async fn insert(&mut self, table: &Table, rows: Vec<Cells>) -> Result<(), Error> {
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        let into = format!("INSERT INTO {} ({}) VALUES ", table.name, columns.join(", "));
        let marks = format!("({})", vec!["?"; columns.len()].join(", "));
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut sql = Sql::new(into.clone());
            sql.recurring = false;
            let (mut count, mut bytes) = (0, 0);
            while count < ROWS_A_STATEMENT && bytes < BYTES_A_STATEMENT {
                let Some(row) = rows.next() else { break };
                sql = sql.push(if count == 0 { "" } else { ", " }).push(&marks);
                count += 1;
                bytes += row.iter().map(length).sum::<usize>();
                sql.values.extend(self.kept(row));
            }
            self.db.execute(sql).await.map_err(|error| error.of_table(table.name))?;
        }
        Ok(())
    }

    /// Has ids go on behind those that came.
    pub(super) async fn finish(&mut self, table: &Table) -> Result<(), Error> {
        match self.db.dialect().go_on_behind(table.name).filter(|_| table.key == Key::Id) {
            Some(sql) => self.db.rows(Sql::new(sql), |_| Ok(())).await.map(drop),
            None => Ok(()),
        }
    }

    /// The rows behind `last`, or the first ones.
    pub(super) async fn page(&mut self, table: &Table, last: Option<&Cells>) -> Result<Vec<Cells>, Error> {
        page(&mut self.db, table, schema::VERSION, last).await
    }

    /// Keeps what was written. `code_version` is that of the program which prepared the schema of the origin.
    pub(super) async fn commit(mut self, code_version: &str) -> Result<(), Error> {
        let kept = async {
            schema::keep_code_version(&mut self.db, self.clock.now(), code_version).await?;
            self.db.commit().await
        };
        match kept.await {
            Ok(()) => self.db.close().await,
            Err(error) => Err(self.give_up(error).await),
        }
    }

    /// Takes back what was written, because of `error`.
    pub(super) async fn give_up(self, error: Error) -> Error {
        self.take_back().await;
        error
    }

    /// Takes back what was written.
    pub(super) async fn take_back(mut self) {
        // A connection that is lost takes it back as well.
        let _ = self.db.roll_back().await;
        let _ = self.db.close().await;
    }
}

async fn refuse_rows(db: &mut Connection) -> Result<(), Error> {
    for table in &TABLES {
        if db.has_table(table.name).await? {
            let sql = Sql::new(format!("SELECT COUNT(*) FROM (SELECT 1 FROM {} LIMIT 1) AS rows_of_it", table.name));
            if db.row(sql, |row| row.integer(0)).await?.is_some_and(|count| count > 0) {
                return Err(Error::NotEmpty(table.name));
            }
        }
    }
    Ok(())
}

fn length(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Flag(_) | Value::Integer(_) | Value::Time(_) => 8,
    }
}
