//! The connection that a feed keeps.

use crate::Error;
use crate::connection::Connection;
use crate::database::{Database, Identity};
use crate::sql::Sql;

/// A connection of a feed.
pub(super) struct Open {
    pub(super) db: Connection,
    pub(super) identity: Option<Identity>,
    /// SQLite's `data_version` at the last look.
    pub(super) data_version: i64,
    /// Whether no statement and no transaction is under way.
    pub(super) is_idle: bool,
}

impl Open {
    /// The open connection, or a new one if there is none to the file behind the path. Whoever asks for it is in the middle
    /// of something until he calls it idle: after an error, or when his future is dropped, it is not used again.
    pub(super) async fn of<'o>(open: &'o mut Option<Self>, database: &Database) -> Result<&'o mut Self, Error> {
        let identity = database.identity();
        if open.as_ref().is_none_or(|open| open.identity != identity || !open.is_idle) {
            *open = None;
        }
        let open = match open {
            Some(open) => open,
            None => open.insert(Self { db: database.read().await?, identity, data_version: 0, is_idle: true }),
        };
        open.is_idle = false;
        Ok(open)
    }

    /// A number that changes when another connection, of this process or another, has committed to a file.
    pub(super) async fn newest_data_version(&mut self) -> Result<i64, Error> {
        if self.db.dialect().is_server() {
            return Ok(0);
        }
        Ok(self.db.row(Sql::new("PRAGMA data_version"), |row| row.integer(0)).await?.unwrap_or_default())
    }
}
