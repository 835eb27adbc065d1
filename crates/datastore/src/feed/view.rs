//! What a transaction tells of the database that it runs in.

use std::time::Duration;

use super::gaps::Horizon;
use crate::Error;
use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::sql::Sql;

/// The database as one snapshot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// What is another one after a failover or a restart. Empty for a file, which is told by its inode.
    pub(super) source: String,
    /// Whether it takes writes. What does not may be a copy that is behind.
    pub(super) is_writable: bool,
    pub(super) horizon: Horizon,
}

/// An insert may wait for a lock after it took its id, and come a moment after that.
const AFTER_A_WAIT: Duration = Duration::from_secs(10);

impl View {
    /// That of the open transaction.
    pub(super) async fn of(db: &mut Connection) -> Result<Self, Error> {
        match db.dialect() {
            Dialect::Sqlite => Ok(Self { source: String::new(), is_writable: true, horizon: Horizon::InOrder }),
            Dialect::Postgres => {
                let sql = "SELECT txid_snapshot_xmin(txid_current_snapshot()), \
                           txid_snapshot_xmax(txid_current_snapshot()), pg_is_in_recovery(), \
                           CAST(pg_postmaster_start_time() AS text)";
                let view = db.row(Sql::new(sql), |row| {
                    let horizon = Horizon::Transactions { oldest: row.integer(0)?, next: row.integer(1)? };
                    Ok(Self { source: row.text(3)?, is_writable: !row.flag(2)?, horizon })
                });
                view.await?.ok_or(Error::NotFound)
            }
            Dialect::MySql => {
                let started = db.told().await?.started;
                let sql = "SELECT CONCAT(@@hostname, ':', @@port), @@read_only, @@innodb_lock_wait_timeout";
                let view = db.row(Sql::new(sql), |row| {
                    let wait = Duration::from_secs(row.integer(2)?.unsigned_abs());
                    let horizon = Horizon::Time { after: wait + AFTER_A_WAIT };
                    let source = format!("{} since {started}", row.text(0)?);
                    Ok(Self { source, is_writable: row.integer(1)? == 0, horizon })
                });
                view.await?.ok_or(Error::NotFound)
            }
        }
    }
}
