//! Whether a look would find anything: one statement in place of many, for the time in which nothing happens.

use super::read::Tails;
use crate::Error;
use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::sql::Sql;

/// What a look hangs on: source, newest events, bundles. As long as a server shows the same, a look that has seen all there
/// was sees nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glance([String; 4]);

/// What of the database is told by its server: which one it is, and whether it takes writes.
const POSTGRES: &str = "SELECT CONCAT(pg_postmaster_start_time(), ' ', pg_is_in_recovery())";
const MYSQL: &str = "SELECT CONCAT(@@hostname, ' ', @@port, ' ', @@read_only)";
/// The newest events, whole: an id that is used again may name something else.
const EVENTS: &str = "(SELECT CONCAT(id, ' ', entry_id, ' ', created_at) FROM registered_entries_events \
                      ORDER BY id DESC LIMIT 1), \
                      (SELECT CONCAT(id, ' ', spiffe_id, ' ', created_at) FROM attested_node_entries_events \
                      ORDER BY id DESC LIMIT 1)";
/// A digest of each bundle, since bundles have no events.
const POSTGRES_BUNDLES: &str = "(SELECT string_agg(CONCAT(id, ' ', trust_domain, ' ', encode(sha256(data), 'hex')), ' ' \
                                ORDER BY id) FROM bundles)";
/// One of all of them: what is put together there has a limit. The order does not matter, each row has its id in it.
const MYSQL_BUNDLES: &str = "(SELECT CONCAT(COUNT(*), ' ', BIT_XOR(CAST(CONV(LEFT(SHA2(CONCAT(id, ' ', trust_domain, ' ', \
                             SHA2(data, 256)), 256), 16), 16, 10) AS UNSIGNED))) FROM bundles)";

impl Glance {
    /// Of what the server shows now, outside of any transaction.
    pub(super) async fn of(db: &mut Connection) -> Result<Option<Self>, Error> {
        let sql = match db.dialect() {
            // What one file has is told without asking.
            Dialect::Sqlite => return Ok(None),
            Dialect::Postgres => format!("{POSTGRES}, {EVENTS}, {POSTGRES_BUNDLES}"),
            Dialect::MySql => format!("{MYSQL}, {EVENTS}, {MYSQL_BUNDLES}"),
        };
        db.row(Sql::new(sql), |row| Ok(Self([row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?]))).await
    }

    /// Whether it tells all that a look at these tails would: not with a gap, which has to be asked for, nor with more events that
    /// are remembered than the newest one, nor without any where there have been some.
    pub(super) fn suffices(tails: &Tails) -> bool {
        [&tails.entries, &tails.nodes].iter().all(|tail| {
            let is_remembered = tail.last == 0 || tail.remembered().len() == 1;
            is_remembered && tail.gaps.ranges().is_empty()
        })
    }
}
