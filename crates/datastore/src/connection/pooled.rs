//! What stands before PostgreSQL and lends each transaction any of its connections, as PgBouncer does in its mode
//! `transaction`.
//!
//! There a prepared statement is gone, or somebody else's, when the transaction ends. So none has a name, and a statement
//! that is not in a transaction gets one of its own: what the driver does for it takes two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Connection;
use crate::Error;
use crate::dialect::Dialect;
use crate::sql::Sql;

/// Whether connections are lent, once it is known. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lent(Arc<AtomicBool>);

impl Lent {
    pub(crate) fn new(lent: bool) -> Self {
        Self(Arc::new(lent.into()))
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn notice(&self) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::info!(
                target: "sql",
                "Connections to the database are lent by transaction; changes of other servers are asked for"
            );
        }
    }
}

/// Transactions of two connections that meet on one of the server's are proof enough. A pool that nobody else uses at the
/// moment lends the one that it got back last.
const ATTEMPTS: usize = 3;

/// Finds out whether connections are lent, by two that are open at the same time.
pub(crate) async fn find_out(one: &mut Connection, mut other: Connection) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        if one.server_process().await? == other.server_process().await? {
            one.lent.notice();
            break;
        }
    }
    // Whether it can be closed in peace is of no matter.
    let _ = other.close().await;
    Ok(())
}

/// How the driver names its statements.
const NAMES: &str = "\"sqlx_s_";

impl Connection {
    /// Whether it must not be used any more: it has been used before it was known that connections are lent.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.has_named && self.lent.is_known()
    }

    async fn server_process(&mut self) -> Result<Option<i64>, Error> {
        self.begin_read().await?;
        let sql = Sql { recurring: false, ..Sql::new("SELECT CAST(pg_backend_pid() AS bigint)") };
        let process = self.row(sql, |row| row.integer(0)).await?;
        self.commit().await?;
        Ok(process)
    }

    /// Prepares for a statement; whether it has a transaction of its own.
    pub(super) async fn before(&mut self, sql: &mut Sql) -> Result<bool, Error> {
        if !self.lent.is_known() {
            self.has_named |= sql.recurring;
            return Ok(false);
        }
        if self.is_spoiled() {
            return Err(Error::Conflict("a connection with statements that have names".to_owned()));
        }
        sql.recurring = false;
        let alone = !self.in_transaction;
        if alone {
            self.execute_script(Dialect::Postgres.begin_write()).await?;
        }
        Ok(alone)
    }

    /// Ends the statement's own transaction, and learns from a name that is not there or taken.
    pub(super) async fn after<T>(&mut self, alone: bool, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) if alone => self.execute_script("COMMIT").await?,
            // What went wrong is told, not that this may go wrong as well: the connection is lost then.
            Err(_) if alone => drop(self.execute_script("ROLLBACK").await),
            Err(Error::Conflict(text)) if text.contains(NAMES) => self.lent.notice(),
            _ => {}
        }
        result
    }
}
