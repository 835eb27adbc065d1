use std::borrow::Cow;
use std::time::SystemTime;

use futures::TryStreamExt;
use jiff::tz::TimeZone;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Connection as _, Row as _};

use crate::Error;
use crate::dialect::Dialect;
use crate::sql::{Sql, Value};
use crate::time;

/// One connection to the database. Another database's connection will be a second variant behind the same methods.
///
/// Statements run one after another. A future that is dropped leaves the connection usable, but perhaps inside a
/// transaction: whoever can be cancelled drops the connection as well, which rolls back.
pub(crate) struct Connection {
    inner: SqliteConnection,
    dialect: Dialect,
    /// The zone in which time columns are written.
    zone: TimeZone,
}

impl Connection {
    pub(crate) fn new(inner: SqliteConnection, dialect: Dialect, zone: TimeZone) -> Self {
        Self { inner, dialect, zone }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs a statement and returns the number of rows it changed.
    pub(crate) async fn execute(&mut self, sql: Sql) -> Result<u64, Error> {
        let (text, arguments, recurring) = self.prepare(sql)?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(recurring);
        Ok(query.execute(&mut self.inner).await?.rows_affected())
    }

    /// Runs several statements separated by semicolons.
    pub(crate) async fn execute_script(&mut self, script: &'static str) -> Result<(), Error> {
        sqlx::raw_sql(script).execute(&mut self.inner).await?;
        Ok(())
    }

    /// Runs a SELECT and reads its rows as they come.
    pub(crate) async fn rows<T: Send>(
        &mut self,
        sql: Sql,
        mut read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        let (text, arguments, recurring) = self.prepare(sql)?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(recurring);
        let mut rows = query.fetch(&mut self.inner);
        let mut read_rows = Vec::new();
        while let Some(row) = rows.try_next().await? {
            read_rows.push(read(&Row(row))?);
        }
        Ok(read_rows)
    }

    /// Runs a SELECT and reads its first row, if there is one.
    pub(crate) async fn row<T: Send>(
        &mut self,
        sql: Sql,
        mut read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, Error> {
        let (text, arguments, recurring) = self.prepare(sql)?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(recurring);
        query.fetch_optional(&mut self.inner).await?.map(|row| read(&Row(row))).transpose()
    }

    /// Runs `SELECT ... IN (keys)` for any number of keys, in as many statements as the database needs.
    pub(crate) async fn rows_in<T: Send, K: Into<Value> + Clone + Sync>(
        &mut self,
        select: &str,
        keys: &[K],
        order: &str,
        mut read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        for some in keys.chunks(KEYS_A_STATEMENT) {
            let sql = Sql::new(select.to_owned()).list(some.iter().cloned()).push(order);
            all.append(&mut self.rows(sql, &mut read).await?);
        }
        Ok(all)
    }

    /// Runs `DELETE ... IN (keys)` likewise.
    pub(crate) async fn delete_in<K: Into<Value> + Clone + Sync>(
        &mut self,
        delete: &'static str,
        keys: &[K],
    ) -> Result<(), Error> {
        for some in keys.chunks(KEYS_A_STATEMENT) {
            self.execute(Sql::new(delete).list(some.iter().cloned())).await?;
        }
        Ok(())
    }

    /// Inserts any number of rows, in as many statements as the database needs. `into` is `INSERT INTO t (a, b) VALUES `.
    pub(crate) async fn insert<const COLUMNS: usize>(
        &mut self,
        into: &'static str,
        rows: impl IntoIterator<Item = [Value; COLUMNS]> + Send,
    ) -> Result<(), Error> {
        let most = self.dialect.max_binds() / COLUMNS;
        let mut rows: Vec<_> = rows.into_iter().collect();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(most));
            self.execute(Sql::new(into).rows(rows)).await?;
            rows = rest;
        }
        Ok(())
    }

    pub(crate) async fn begin_read(&mut self) -> Result<(), Error> {
        self.execute(Sql::new(self.dialect.begin_read())).await.map(drop)
    }

    pub(crate) async fn begin_write(&mut self) -> Result<(), Error> {
        self.execute(Sql::new(self.dialect.begin_write())).await.map(drop)
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.execute(Sql::new("COMMIT")).await.map(drop)
    }

    /// Marks a point in the transaction to which [`Self::undo`] goes back. Points nest.
    pub(crate) async fn savepoint(&mut self) -> Result<(), Error> {
        self.execute(Sql::new("SAVEPOINT item")).await.map(drop)
    }

    /// Keeps what happened since the last point.
    pub(crate) async fn keep(&mut self) -> Result<(), Error> {
        self.execute(Sql::new("RELEASE SAVEPOINT item")).await.map(drop)
    }

    /// Takes back what happened since the last point. An error means that the whole transaction is gone.
    pub(crate) async fn undo(&mut self) -> Result<(), Error> {
        self.execute(Sql::new("ROLLBACK TO SAVEPOINT item")).await?;
        self.keep().await
    }

    /// Closes the connection and waits until the database has let go of its files.
    pub(crate) async fn close(self) -> Result<(), Error> {
        Ok(self.inner.close().await?)
    }

    fn prepare(&self, sql: Sql) -> Result<(Cow<'static, str>, SqliteArguments, bool), Error> {
        let Sql { text, values, recurring } = sql;
        let mut arguments = SqliteArguments::default();
        for value in values {
            match value {
                Value::Null => arguments.add(None::<i64>),
                Value::Flag(flag) => arguments.add(flag),
                Value::Integer(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text),
                Value::Bytes(bytes) => arguments.add(bytes),
                Value::Time(at) => arguments.add(time::text(at, &self.zone)),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok((text, arguments, recurring))
    }
}

/// One row of an answer; columns are counted from 0. A NULL reads as the zero value, as it does in the reference, whose
/// columns are all nullable.
pub(crate) struct Row(SqliteRow);

impl Row {
    pub(crate) fn integer(&self, column: usize) -> Result<i64, Error> {
        Ok(self.0.try_get_unchecked::<Option<i64>, _>(column)?.unwrap_or_default())
    }

    pub(crate) fn flag(&self, column: usize) -> Result<bool, Error> {
        Ok(self.integer(column)? != 0)
    }

    pub(crate) fn text(&self, column: usize) -> Result<String, Error> {
        Ok(self.text_or_null(column)?.unwrap_or_default())
    }

    pub(crate) fn text_or_null(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(self.0.try_get_unchecked(column)?)
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<Vec<u8>, Error> {
        Ok(self.0.try_get_unchecked::<Option<Vec<u8>>, _>(column)?.unwrap_or_default())
    }

    pub(crate) fn time(&self, column: usize) -> Result<Option<SystemTime>, Error> {
        let Some(text) = self.text_or_null(column)? else { return Ok(None) };
        time::parse(&text).map(Some).ok_or_else(|| Error::Corrupt(format!("unable to parse time {text:?}")))
    }
}

/// Keys of one `IN (...)`: below every database's limit, and few enough that a statement stays cheap to prepare.
const KEYS_A_STATEMENT: usize = 2_000;
