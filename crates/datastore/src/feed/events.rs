//! Reading the two tables of events.

use steeple_runtime::Clock;
use steeple_runtime::metrics::measure;

use super::gaps::Horizon;
use super::probe;
use super::tail::{Event, Tail};
use crate::Error;
use crate::connection::{Connection, Row};
use crate::dialect::Dialect;
use crate::events::{ENTRY_EVENTS, NODE_EVENTS};
use crate::sql::Sql;

/// The most events of each kind that one look takes; the next one goes on at once.
const EVENTS_A_LOOK: i64 = 10_000;
/// Gaps that are asked for in one statement.
const GAPS_A_STATEMENT: usize = 200;

/// One of the two tables.
#[derive(Clone, Copy)]
pub(super) struct Table {
    name: &'static str,
    column: &'static str,
    key: &'static str,
}

/// Events of entries.
pub(super) const OF_ENTRIES: Table =
    Table { name: ENTRY_EVENTS, column: "entry_id", key: "datastore.registration_entry_event.list" };
/// Events of nodes.
pub(super) const OF_NODES: Table = Table { name: NODE_EVENTS, column: "spiffe_id", key: "datastore.node_event.list" };

/// What a look at one table has found.
pub(super) struct Found {
    /// In the order of their ids.
    pub(super) events: Vec<Event>,
    /// Everything up to this id has been read, but for gaps.
    pub(super) last: i64,
    /// Whether there are more.
    pub(super) more: bool,
    /// What is remembered of earlier ids has been pruned.
    pub(super) pruned_before: Option<i64>,
}

/// What has become of the events that are remembered.
enum Past {
    /// All are there.
    AsItWas,
    /// Those of earlier ids are gone, as all that was older: what prunes begins with the oldest.
    PrunedBefore(i64),
    /// Some are gone or other ones: the database moved back.
    Another,
}

impl Table {
    /// A tail that begins with the state of the open transaction.
    pub(super) async fn begin(self, db: &mut Connection, horizon: Horizon, clock: &Clock) -> Result<Tail, Error> {
        let newest = self.newest(db).await?;
        let Self { name, column, key: _ } = self;
        let sql = match horizon {
            // Where nothing can be missing, the newest one is all that there is to remember.
            Horizon::InOrder => {
                Sql::new(format!("SELECT id, {column}, created_at FROM {name} ORDER BY id DESC LIMIT 1"))
            }
            _ => Sql::new(format!("SELECT id, {column}, created_at FROM {name} ORDER BY id")),
        };
        let events = db.rows(sql, event).await?;
        Ok(Tail::beginning_with(events, newest, horizon, clock.now()))
    }

    /// The largest id. A database that moved back may have a smaller one than before.
    pub(super) async fn newest(self, db: &mut Connection) -> Result<i64, Error> {
        let sql = Sql::new(db.dialect().newest_id(self.name));
        Ok(db.row(sql, |row| row.integer(0)).await?.unwrap_or_default())
    }

    /// What happened since `tail`, and what appeared in its gaps; None when the database has moved back behind it.
    pub(super) async fn since(self, db: &mut Connection, tail: &Tail, compare: bool) -> Result<Option<Found>, Error> {
        measure(self.key, self.look(db, tail, compare)).await
    }

    async fn look(self, db: &mut Connection, tail: &Tail, compare: bool) -> Result<Option<Found>, Error> {
        let Self { name, column, key: _ } = self;
        let newest = self.newest(db).await?;
        // Elsewhere the newest rows may have been pruned; what is remembered of them tells.
        if newest < tail.last && db.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let past = if compare { self.past(db, tail).await? } else { Past::AsItWas };
        let pruned_before = match past {
            Past::AsItWas => None,
            Past::PrunedBefore(id) => Some(id),
            Past::Another => return Ok(None),
        };
        let mut events = Vec::new();
        for some in tail.gaps.ranges().chunks(GAPS_A_STATEMENT) {
            let mut sql = Sql::new(format!("SELECT id, {column}, created_at FROM {name} WHERE "));
            for (i, (first, last)) in some.iter().enumerate() {
                let between = if i == 0 { "id BETWEEN ? AND ?" } else { " OR id BETWEEN ? AND ?" };
                sql = sql.push(between).bind(*first).bind(*last);
            }
            events.append(&mut db.rows(sql.push(" ORDER BY id"), event).await?);
        }
        if newest <= tail.last {
            return Ok(Some(Found { events, last: tail.last, more: false, pruned_before }));
        }
        let sql = Sql::new(format!("SELECT id, {column}, created_at FROM {name} WHERE id > ? ORDER BY id LIMIT ?"));
        let mut new = db.rows(sql.bind(tail.last).bind(EVENTS_A_LOOK), event).await?;
        let more = i64::try_from(new.len()).is_ok_and(|count| count == EVENTS_A_LOOK);
        let last = new.last().map(|event| event.id).filter(|_| more).unwrap_or(newest);
        events.append(&mut new);
        Ok(Some(Found { events, last, more: more && last < newest, pruned_before }))
    }

    /// Whether the events that were read last are still there, but for those that were pruned.
    pub(super) async fn has_kept(self, db: &mut Connection, tail: &Tail) -> Result<bool, Error> {
        Ok(!matches!(self.past(db, tail).await?, Past::Another))
    }

    /// Asks which gaps are held by a transaction: it has written a row that nobody sees yet.
    pub(super) async fn probe(self, db: &mut Connection, tail: &mut Tail, clock: &Clock) -> Result<(), Error> {
        probe::probe(db, self.name, &mut tail.gaps, clock).await
    }

    /// Whether the events that were read last are still there, as they were.
    async fn past(self, db: &mut Connection, tail: &Tail) -> Result<Past, Error> {
        let Self { name, column, key: _ } = self;
        let remembered = tail.remembered();
        let select = format!("SELECT id, {column}, created_at FROM {name} WHERE id IN ");
        let found = db.rows_in(&select, &remembered, "", event).await?;
        if !remembered.is_empty() && tail.agrees_with(&found) {
            return Ok(Past::AsItWas);
        }
        let oldest = Sql::new(format!("SELECT id FROM {name} ORDER BY id LIMIT 1"));
        let oldest = db.row(oldest, |row| row.integer(0)).await?;
        if !tail.agrees_from(oldest, &found) {
            return Ok(Past::Another);
        }
        // In an empty table nothing tells but the ids that were given.
        let given = match oldest {
            Some(_) => self.newest(db).await?,
            None => db.row(Sql::new(db.dialect().last_given_id(name)), |row| row.integer(0)).await?.unwrap_or_default(),
        };
        Ok(if given < tail.last {
            Past::Another
        } else if remembered.is_empty() {
            Past::AsItWas
        } else {
            Past::PrunedBefore(oldest.unwrap_or(i64::MAX))
        })
    }
}

fn event(row: &Row) -> Result<Event, Error> {
    // A time that cannot be read is none: nothing hangs on it but whether it is still the same.
    Ok(Event { id: row.integer(0)?, name: row.text(1)?, created_at: row.time(2).unwrap_or_default() })
}
