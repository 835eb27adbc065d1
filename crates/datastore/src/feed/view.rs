//! What a transaction tells of the database that it runs in.

use std::time::Duration;

use super::gaps::Horizon;
use super::{Position, events};
use crate::Error;
use crate::connection::Connection;
use crate::dialect::Dialect;

/// The database as one snapshot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// What is another one after a failover or a restart. Empty for a file, which is told by its inode.
    pub(super) source: String,
    /// Whether it takes writes. What does not may be a copy that is behind.
    pub(super) is_writable: bool,
    pub(super) horizon: Horizon,
    /// The largest ids of events ([`Dialect::newest_id`]). A database that moved back may have smaller ones than before.
    pub(super) newest: Position,
}

/// An insert may wait for a lock after it took its id, and come a moment after that.
const AFTER_A_WAIT: Duration = Duration::from_secs(10);

impl View {
    /// Opens a transaction that reads, and looks at it.
    pub(super) async fn begin(db: &mut Connection) -> Result<Self, Error> {
        let dialect = db.dialect();
        // In any transaction it would be the same, and a connection asks once.
        let started = if dialect == Dialect::MySql { db.told().await?.started } else { 0 };
        let more = match dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres => {
                ", txid_snapshot_xmin(txid_current_snapshot()), txid_snapshot_xmax(txid_current_snapshot()), \
                 pg_is_in_recovery(), CAST(pg_postmaster_start_time() AS text)"
            }
            Dialect::MySql => ", CONCAT(@@hostname, ':', @@port), @@read_only, @@innodb_lock_wait_timeout",
        };
        let select = events::newest_ids(dialect) + more;
        let view = db.begin_read_with(&select, |row| {
            let newest = events::position(row)?;
            Ok(match dialect {
                Dialect::Sqlite => Self { source: String::new(), is_writable: true, horizon: Horizon::InOrder, newest },
                Dialect::Postgres => {
                    let horizon = Horizon::Transactions { oldest: row.integer(2)?, next: row.integer(3)? };
                    Self { source: row.text(5)?, is_writable: !row.flag(4)?, horizon, newest }
                }
                Dialect::MySql => {
                    let wait = Duration::from_secs(row.integer(4)?.unsigned_abs());
                    let horizon = Horizon::Time { after: wait + AFTER_A_WAIT };
                    let source = format!("{} since {started}", row.text(2)?);
                    Self { source, is_writable: row.integer(3)? == 0, horizon, newest }
                }
            })
        });
        view.await?.ok_or(Error::NotFound)
    }
}
