//! One connection to a database, whichever kind it is.

mod driver;
mod pooled;
mod row;
mod told;

use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use jiff::tz::TimeZone;
use sqlx::mysql::{MySql, MySqlConnection};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor, IntoArguments};
use steeple_runtime::Clock;

pub(crate) use pooled::{Lent, find_out};
pub(crate) use row::Row;

use self::driver::{Driver, Statement};
use self::told::Told;
use crate::Error;
use crate::dialect::Dialect;
use crate::sql::{Sql, Value};
use crate::time;

/// One connection to the database.
///
/// Statements run one after another. A future that is dropped leaves the connection usable, but perhaps inside a
/// transaction: whoever can be cancelled drops the connection as well, which rolls back.
pub(crate) struct Connection {
    inner: Inner,
    /// The zone in which time columns are written, where they are text or have no zone.
    zone: TimeZone,
    /// Of servers: what measures how long they take to answer.
    clock: Option<Clock>,
    /// Locks that are held and do not end with the transaction.
    locks: Vec<u64>,
    /// MySQL: what the server has told, once it was asked.
    told: Option<Told>,
    /// PostgreSQL: whether something lends connections to the server, to many, for one transaction at a time.
    lent: Lent,
    /// Whether it holds statements with names, which the driver would use again.
    has_named: bool,
    in_transaction: bool,
    /// Whether the log tells each statement.
    is_logged: bool,
}

enum Inner {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// Keys of one `IN (...)`: below every database's limit, and few enough that a statement stays cheap to prepare.
const KEYS_A_STATEMENT: usize = 2_000;
/// Locks of one statement.
const LOCKS_A_STATEMENT: usize = 500;
/// A server that has not answered a statement by then is gone, whatever the network says of it.
const STATEMENT: Duration = Duration::from_secs(60);

impl Connection {
    pub(crate) fn sqlite(connection: SqliteConnection, zone: TimeZone) -> Self {
        Self::new(Inner::Sqlite(connection), zone, None)
    }

    pub(crate) fn postgres(connection: PgConnection, clock: Clock, lent: Lent) -> Self {
        Self { lent, ..Self::new(Inner::Postgres(connection), TimeZone::UTC, Some(clock)) }
    }

    pub(crate) fn mysql(connection: MySqlConnection, clock: Clock, zone: TimeZone) -> Self {
        Self::new(Inner::MySql(connection), zone, Some(clock))
    }

    fn new(inner: Inner, zone: TimeZone, clock: Option<Clock>) -> Self {
        Self {
            inner,
            zone,
            clock,
            locks: Vec::new(),
            told: None,
            lent: Lent::default(),
            has_named: false,
            in_transaction: false,
            is_logged: false,
        }
    }

    /// The same, telling the log of each statement, but not of its values, if that is wanted.
    pub(crate) fn logging(self, is_logged: bool) -> Self {
        Self { is_logged, ..self }
    }

    fn tell(&self, statement: &str) {
        if self.is_logged {
            tracing::debug!(target: "sql", statement, "Statement for the database");
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
            Inner::MySql(_) => Dialect::MySql,
        }
    }

    /// What is left of `at` in a time column.
    pub(crate) fn kept(&self, at: SystemTime) -> SystemTime {
        match self.inner {
            Inner::Sqlite(_) => at,
            Inner::Postgres(_) => time::microseconds(at),
            Inner::MySql(_) => time::seconds_in(at, &self.zone),
        }
    }

    /// Runs a statement and returns the number of rows it changed, or would have changed had they not been so already.
    pub(crate) async fn execute(&mut self, mut sql: Sql) -> Result<u64, Error> {
        let alone = self.before(&mut sql).await?;
        self.tell(&sql.text);
        let Self { inner, zone, clock, .. } = self;
        let executed = within(clock.as_ref(), async {
            match inner {
                Inner::Sqlite(db) => execute::<Sqlite>(db, sql, zone).await,
                Inner::Postgres(db) => execute::<Postgres>(db, sql, zone).await,
                Inner::MySql(db) => execute::<MySql>(db, sql, zone).await,
            }
        });
        let executed = executed.await;
        self.after(alone, executed).await
    }

    /// Runs a statement that has no values and no answer.
    async fn command(&mut self, text: &'static str) -> Result<(), Error> {
        match self.inner {
            // Here preparing costs more than asking.
            Inner::Sqlite(_) => self.execute(Sql::new(text)).await.map(drop),
            Inner::Postgres(_) | Inner::MySql(_) => self.execute_script(text).await,
        }
    }

    /// Runs several statements separated by semicolons.
    pub(crate) async fn execute_script(&mut self, script: &'static str) -> Result<(), Error> {
        self.tell(script);
        let Self { inner, clock, .. } = self;
        within(clock.as_ref(), async {
            let script = sqlx::raw_sql(script);
            match inner {
                Inner::Sqlite(db) => script.execute(db).await.map(drop)?,
                Inner::Postgres(db) => script.execute(db).await.map(drop)?,
                Inner::MySql(db) => script.execute(db).await.map(drop)?,
            }
            Ok(())
        })
        .await
    }

    /// Runs a SELECT and reads its rows as they come.
    pub(crate) async fn rows<T: Send>(
        &mut self,
        mut sql: Sql,
        read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        let alone = self.before(&mut sql).await?;
        self.tell(&sql.text);
        let Self { inner, zone, clock, .. } = self;
        let read = within(clock.as_ref(), async {
            match inner {
                Inner::Sqlite(db) => rows::<Sqlite, _>(db, sql, zone, read).await,
                Inner::Postgres(db) => rows::<Postgres, _>(db, sql, zone, read).await,
                Inner::MySql(db) => rows::<MySql, _>(db, sql, zone, read).await,
            }
        });
        let read = read.await;
        self.after(alone, read).await
    }

    /// Runs a SELECT and reads its first row, if there is one.
    pub(crate) async fn row<T: Send>(
        &mut self,
        sql: Sql,
        read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, Error> {
        let mut rows = self.rows(sql, read).await?;
        Ok(if rows.is_empty() { None } else { Some(rows.swap_remove(0)) })
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
        let most = self.dialect().max_binds() / COLUMNS;
        let mut rows: Vec<_> = rows.into_iter().collect();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(most));
            self.execute(Sql::new(into).rows(rows)).await?;
            rows = rest;
        }
        Ok(())
    }

    /// The same, reading what each row returns, in any order; where [`Dialect::returns`].
    pub(crate) async fn insert_returning<T: Send, const COLUMNS: usize>(
        &mut self,
        into: &'static str,
        rows: Vec<[Value; COLUMNS]>,
        returning: &str,
        mut read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        let most = self.dialect().max_binds() / COLUMNS;
        let (mut rows, mut all) = (rows, Vec::new());
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(most));
            let sql = Sql::new(into).rows(rows).push(" RETURNING ").push(returning);
            all.append(&mut self.rows(sql, &mut read).await?);
            rows = rest;
        }
        Ok(all)
    }

    /// Whether there is a table of this name.
    pub(crate) async fn has_table(&mut self, name: &str) -> Result<bool, Error> {
        let found = self.row(Sql::new(self.dialect().table_exists(name)), |row| row.integer(0)).await?;
        Ok(found.is_some_and(|count| count > 0))
    }

    /// Whether a table of MySQL has a column of this name.
    pub(crate) async fn has_column(&mut self, table: &str, column: &str) -> Result<bool, Error> {
        let count = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? \
                     AND column_name = ?";
        let found = self.row(Sql::new(count).bind(table).bind(column), |row| row.integer(0)).await?;
        Ok(found.is_some_and(|count| count > 0))
    }

    /// Whether a transaction was begun and has not ended.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }

    pub(crate) async fn begin_read(&mut self) -> Result<(), Error> {
        self.command(self.dialect().begin_read()).await?;
        self.in_transaction = true;
        Ok(())
    }

    /// The same with its first SELECT, which has no values: one round trip to a server, and one row at most.
    pub(crate) async fn begin_read_with<T: Send>(
        &mut self,
        select: &str,
        mut read: impl FnMut(&Row) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, Error> {
        if !self.dialect().is_server() {
            self.begin_read().await?;
            return self.row(Sql::new(select.to_owned()), read).await;
        }
        let script = format!("{}; {select}", self.dialect().begin_read());
        self.tell(&script);
        self.in_transaction = true;
        let Self { inner, zone, clock, .. } = self;
        within(clock.as_ref(), async {
            match inner {
                Inner::Sqlite(db) => last_row::<Sqlite, _>(db, script, zone, &mut read).await,
                Inner::Postgres(db) => last_row::<Postgres, _>(db, script, zone, &mut read).await,
                Inner::MySql(db) => last_row::<MySql, _>(db, script, zone, &mut read).await,
            }
        })
        .await
    }

    pub(crate) async fn begin_write(&mut self) -> Result<(), Error> {
        self.command(self.dialect().begin_write()).await?;
        self.in_transaction = true;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.command("COMMIT").await?;
        self.in_transaction = false;
        // The commit is made. A connection that is lost now loses its locks too, and its next user finds it lost.
        let _ = self.unlock().await;
        Ok(())
    }

    /// Takes back the whole transaction.
    pub(crate) async fn roll_back(&mut self) -> Result<(), Error> {
        self.command("ROLLBACK").await?;
        self.in_transaction = false;
        self.unlock().await
    }

    /// Marks a point in the transaction to which [`Self::undo`] goes back. Points nest.
    pub(crate) async fn savepoint(&mut self) -> Result<(), Error> {
        self.command("SAVEPOINT item").await
    }

    /// Keeps what happened since the last point.
    pub(crate) async fn keep(&mut self) -> Result<(), Error> {
        self.command("RELEASE SAVEPOINT item").await
    }

    /// Takes back what happened since the last point. An error means that the whole transaction is gone.
    pub(crate) async fn undo(&mut self) -> Result<(), Error> {
        self.command("ROLLBACK TO SAVEPOINT item").await?;
        self.keep().await
    }

    /// Asks whether the server is still there.
    pub(crate) async fn ping(&mut self) -> Result<(), Error> {
        let Self { inner, clock, .. } = self;
        within(clock.as_ref(), async {
            match inner {
                Inner::Sqlite(db) => db.ping().await?,
                Inner::Postgres(db) => db.ping().await?,
                Inner::MySql(db) => db.ping().await?,
            }
            Ok(())
        })
        .await
    }

    /// Takes locks that are named by `keys`, until the end of the transaction; SQLite's writers are alone anyway. All
    /// transactions take them in the same order. Nothing may have been read before: on MySQL a transaction sees the
    /// state of its first read.
    pub(crate) async fn lock(&mut self, keys: impl IntoIterator<Item = u64>) -> Result<(), Error> {
        let mut keys: Vec<u64> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(());
        }
        match &self.inner {
            Inner::Sqlite(_) => Ok(()),
            Inner::Postgres(_) => {
                for some in keys.chunks(KEYS_A_STATEMENT) {
                    let rows = some.iter().map(|key| [Value::from(key.cast_signed())]);
                    let sql = Sql::new("SELECT pg_advisory_xact_lock(key) FROM (VALUES ").rows(rows);
                    self.rows(sql.push(") AS keys (key)"), |_| Ok(())).await?;
                }
                Ok(())
            }
            Inner::MySql(_) => {
                for some in keys.chunks(LOCKS_A_STATEMENT) {
                    self.locks.extend(some);
                    let calls = vec!["GET_LOCK(?, 50)"; some.len()].join(" + ");
                    let sql =
                        some.iter().fold(Sql::new(format!("SELECT {calls}")), |sql, key| sql.bind(lock_name(*key)));
                    let taken = self.row(sql, |row| row.integer(0)).await?;
                    if taken != i64::try_from(some.len()).ok() {
                        return Err(Error::Busy("another transaction holds a lock for too long".to_owned()));
                    }
                }
                Ok(())
            }
        }
    }

    /// Gives back the locks that outlive a transaction.
    async fn unlock(&mut self) -> Result<(), Error> {
        for some in std::mem::take(&mut self.locks).chunks(LOCKS_A_STATEMENT) {
            let calls = vec!["RELEASE_LOCK(?)"; some.len()].join(", ");
            let sql = some.iter().fold(Sql::new(format!("DO {calls}")), |sql, key| sql.bind(lock_name(*key)));
            self.execute(sql).await?;
        }
        Ok(())
    }

    /// Whether a transaction that is still open has written a row of `table` with an id from `first` to `last`. Only
    /// MySQL is asked: on PostgreSQL snapshots tell, on SQLite there is one writer. MySQL 5.7 cannot be asked without
    /// waiting. None where nobody is asked.
    pub(crate) async fn is_held(&mut self, table: &str, first: i64, last: i64) -> Result<Option<bool>, Error> {
        let lock = match &self.inner {
            Inner::Sqlite(_) | Inner::Postgres(_) => return Ok(None),
            Inner::MySql(_) => self.told().await?.share_lock,
        };
        if lock.is_empty() {
            return Ok(None);
        }
        // Elsewhere than here the gap itself would be locked, against those who are to fill it.
        self.command("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        self.command("START TRANSACTION").await?;
        let sql =
            Sql::new(format!("SELECT COUNT(*) FROM {table} WHERE id BETWEEN ? AND ? {lock}")).bind(first).bind(last);
        let held = match self.rows(sql, |_| Ok(())).await {
            Ok(_) => false,
            Err(Error::Conflict(_)) => true,
            Err(error) => return Err(error),
        };
        self.command("ROLLBACK").await?;
        Ok(Some(held))
    }

    /// Closes the connection and waits until the database has let go of its files.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { inner, clock, .. } = self;
        within(clock.as_ref(), async {
            match inner {
                Inner::Sqlite(db) => db.close().await?,
                Inner::Postgres(db) => db.close().await?,
                Inner::MySql(db) => db.close().await?,
            }
            Ok(())
        })
        .await
    }
}

/// MySQL's locks are those of the whole server and have names, of up to 64 characters.
fn lock_name(key: u64) -> String {
    format!("steeple-{key:016x}")
}

async fn within<T>(clock: Option<&Clock>, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let Some(clock) = clock else { return work.await };
    let late = || Err(Error::Unavailable(format!("the database did not answer within {} s", STATEMENT.as_secs())));
    clock.within(STATEMENT, work).await.unwrap_or_else(late)
}

async fn execute<D: Driver>(db: &mut D::Connection, sql: Sql, zone: &TimeZone) -> Result<u64, Error>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
{
    let Statement { text, arguments, recurring } = D::statement(sql, zone)?;
    let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(recurring);
    Ok(D::changed(&query.execute(db).await?))
}

async fn rows<D: Driver, T>(
    db: &mut D::Connection,
    sql: Sql,
    zone: &TimeZone,
    mut read: impl FnMut(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, Error>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
{
    let Statement { text, arguments, recurring } = D::statement(sql, zone)?;
    let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(recurring);
    let mut rows = query.fetch(db);
    let mut read_rows = Vec::new();
    while let Some(row) = rows.try_next().await? {
        read_rows.push(read(&D::row(row, zone))?);
    }
    Ok(read_rows)
}

/// Runs statements without values and reads the last row of their answers.
async fn last_row<D: Driver, T>(
    db: &mut D::Connection,
    script: String,
    zone: &TimeZone,
    read: &mut (dyn FnMut(&Row) -> Result<T, Error> + Send),
) -> Result<Option<T>, Error>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    let mut rows = sqlx::raw_sql(AssertSqlSafe(script)).fetch(db);
    let mut last = None;
    while let Some(row) = rows.try_next().await? {
        last = Some(read(&D::row(row, zone))?);
    }
    Ok(last)
}
