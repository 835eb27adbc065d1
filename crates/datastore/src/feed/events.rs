//! Reading the two tables of events.

use steeple_runtime::Clock;
use steeple_runtime::metrics::measure;

use super::gaps::Horizon;
use super::tail::{Event, Tail};
use super::{Position, probe};
use crate::Error;
use crate::connection::{Connection, Row};
use crate::dialect::Dialect;
use crate::events::{ENTRY_EVENTS, NODE_EVENTS};
use crate::sql::{LENGTHS, Sql};

/// The most events of each kind that one look takes; the next one goes on at once.
const EVENTS_A_LOOK: i64 = 10_000;
/// The most gaps that one part of a statement asks for. So many, or as many as a list that is kept prepared has, are asked for:
/// where there are fewer, the last one stands there several times.
const GAPS_A_PART: usize = 200;
const PARTS_A_STATEMENT: usize = 16;

/// One of the two tables.
#[derive(Clone, Copy)]
pub(super) struct Table {
    name: &'static str,
    column: &'static str,
    /// What is selected where both tables are asked: a number and the row. Names have columns of their own, as those of lists
    /// do ([`crate::entries`]).
    select: &'static str,
    key: &'static str,
}

/// Events of entries.
pub(super) const OF_ENTRIES: Table = Table {
    name: ENTRY_EVENTS,
    column: "entry_id",
    select: "SELECT 0, id, created_at, entry_id, NULL",
    key: "datastore.registration_entry_event.list",
};
/// Events of nodes.
pub(super) const OF_NODES: Table = Table {
    name: NODE_EVENTS,
    column: "spiffe_id",
    select: "SELECT 1, id, created_at, NULL, spiffe_id",
    key: "datastore.node_event.list",
};
/// Both, in the order in which pairs of anything have them here.
const TABLES: [Table; 2] = [OF_ENTRIES, OF_NODES];

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
    /// A tail that begins with the state of the open transaction, in which `newest` is the largest id.
    pub(super) async fn begin(
        self,
        db: &mut Connection,
        newest: i64,
        horizon: Horizon,
        clock: &Clock,
    ) -> Result<Tail, Error> {
        let Self { name, column, .. } = self;
        let sql = match horizon {
            // Where nothing can be missing, the newest one is all that there is to remember.
            Horizon::InOrder => {
                Sql::new(format!("SELECT id, {column}, created_at FROM {name} ORDER BY id DESC LIMIT 1"))
            }
            _ => Sql::new(format!("SELECT id, {column}, created_at FROM {name} ORDER BY id")),
        };
        let events = db.rows(sql, |row| event(row, [0, 1, 2])).await?;
        Ok(Tail::beginning_with(events, newest, horizon, clock.now()))
    }

    /// Asks which gaps are held by a transaction: it has written a row that nobody sees yet.
    pub(super) async fn probe(self, db: &mut Connection, tail: &mut Tail, clock: &Clock) -> Result<(), Error> {
        probe::probe(db, self.name, &mut tail.gaps, clock).await
    }

    /// Some rows.
    fn part(self) -> Sql {
        let Self { name, select, .. } = self;
        Sql::new(format!("{select} FROM {name} WHERE "))
    }

    /// Whether the events that were read last are still there, as they were: `found` is what there is of them.
    async fn past(self, db: &mut Connection, tail: &Tail, newest: i64, found: &[Event]) -> Result<Past, Error> {
        let is_empty = tail.remembered().is_empty();
        if !is_empty && tail.agrees_with(found) {
            return Ok(Past::AsItWas);
        }
        let name = self.name;
        let oldest = Sql::new(format!("SELECT id FROM {name} ORDER BY id LIMIT 1"));
        let oldest = db.row(oldest, |row| row.integer(0)).await?;
        if !tail.agrees_from(oldest, found) {
            return Ok(Past::Another);
        }
        // In an empty table nothing tells but the ids that were given.
        let given = match oldest {
            Some(_) => newest,
            None => db.row(Sql::new(db.dialect().last_given_id(name)), |row| row.integer(0)).await?.unwrap_or_default(),
        };
        Ok(if given < tail.last {
            Past::Another
        } else if is_empty {
            Past::AsItWas
        } else {
            Past::PrunedBefore(oldest.unwrap_or(i64::MAX))
        })
    }
}

/// The SELECT of the largest ids. A database that moved back may have smaller ones than before.
pub(super) fn newest_ids(dialect: Dialect) -> String {
    let [entries, nodes] = TABLES.map(|Table { name, .. }| dialect.newest_id(name));
    format!("SELECT ({entries}), ({nodes})")
}

/// A row of [`newest_ids`].
pub(super) fn position(row: &Row) -> Result<Position, Error> {
    Ok(Position { entries: row.integer(0)?, nodes: row.integer(1)? })
}

/// The largest ids.
pub(super) async fn newest(db: &mut Connection) -> Result<Position, Error> {
    Ok(db.row(Sql::new(newest_ids(db.dialect())), position).await?.unwrap_or_default())
}

/// What happened since `tails`, and what appeared in their gaps; None when the database has moved back behind them. `newest`
/// are the largest ids of the open transaction.
pub(super) async fn since(
    db: &mut Connection,
    tails: [&Tail; 2],
    newest: Position,
    compare: bool,
) -> Result<Option<[Found; 2]>, Error> {
    measure(OF_ENTRIES.key, measure(OF_NODES.key, look(db, tails, newest, compare))).await
}

async fn look(
    db: &mut Connection,
    tails: [&Tail; 2],
    newest: Position,
    compare: bool,
) -> Result<Option<[Found; 2]>, Error> {
    let ids = [newest.entries, newest.nodes];
    // Elsewhere the newest rows may have been pruned; what is remembered of them tells.
    if db.dialect() == Dialect::Sqlite && tails.iter().zip(ids).any(|(tail, newest)| newest < tail.last) {
        return Ok(None);
    }
    let pasts = if compare { pasts(db, tails, newest).await? } else { [Past::AsItWas, Past::AsItWas] };
    let mut parts = Vec::new();
    for ((table, tail), newest) in TABLES.iter().zip(tails).zip(ids) {
        if newest > tail.last {
            let sql = table.part().push("id > ? ORDER BY id LIMIT ?").bind(tail.last).bind(EVENTS_A_LOOK);
            // What has an order of its own has to be a table among other parts.
            parts.push(Sql::new("SELECT * FROM (").append(sql).push(&format!(") AS new_{}", table.column)));
        }
        parts.extend(tail.gaps.ranges().chunks(GAPS_A_PART).map(|some| in_gaps(table.part(), some)));
    }
    let [of_entries, of_nodes] = events(db, parts).await?;
    let [entries_past, nodes_past] = pasts;
    let entries = found(of_entries, tails[0], newest.entries, entries_past);
    let nodes = found(of_nodes, tails[1], newest.nodes, nodes_past);
    Ok(entries.zip(nodes).map(<[Found; 2]>::from))
}

/// What is in these gaps, of which there is at least one and not more than [`GAPS_A_PART`].
fn in_gaps(part: Sql, gaps: &[(i64, i64)]) -> Sql {
    let length = LENGTHS.into_iter().find(|length| *length >= gaps.len()).unwrap_or(GAPS_A_PART);
    let last = gaps.last().into_iter().cycle();
    gaps.iter().chain(last).take(length).enumerate().fold(part, |sql, (i, (first, last))| {
        sql.push(if i == 0 { "id BETWEEN ? AND ?" } else { " OR id BETWEEN ? AND ?" }).bind(*first).bind(*last)
    })
}

/// What a look has found of one table, whose rows it has read; None when it has moved back.
fn found(events: Vec<Event>, tail: &Tail, newest: i64, past: Past) -> Option<Found> {
    let pruned_before = match past {
        Past::AsItWas => None,
        Past::PrunedBefore(id) => Some(id),
        Past::Another => return None,
    };
    let new = events.iter().filter(|event| event.id > tail.last).count();
    let more = i64::try_from(new).is_ok_and(|count| count == EVENTS_A_LOOK);
    let last = events.last().map(|event| event.id).filter(|_| more).unwrap_or(newest.max(tail.last));
    Some(Found { events, last, more: more && last < newest, pruned_before })
}

/// Whether the events that were read last are still there, but for those that were pruned.
pub(super) async fn are_kept(db: &mut Connection, tails: [&Tail; 2], newest: Position) -> Result<bool, Error> {
    Ok(!pasts(db, tails, newest).await?.iter().any(|past| matches!(past, Past::Another)))
}

/// Whether the events that were read last are still there, as they were.
async fn pasts(db: &mut Connection, tails: [&Tail; 2], newest: Position) -> Result<[Past; 2], Error> {
    let mut parts = Vec::new();
    for (table, tail) in TABLES.iter().zip(tails) {
        let remembered = tail.remembered();
        if !remembered.is_empty() {
            parts.push(table.part().push("id IN ").list(remembered));
        }
    }
    let [of_entries, of_nodes] = events(db, parts).await?;
    let entries = OF_ENTRIES.past(db, tails[0], newest.entries, &of_entries).await?;
    let nodes = OF_NODES.past(db, tails[1], newest.nodes, &of_nodes).await?;
    Ok([entries, nodes])
}

/// The events of both tables that `parts` select, by ascending ids: one statement, mostly, as the database may be far away.
async fn events(db: &mut Connection, parts: Vec<Sql>) -> Result<[Vec<Event>; 2], Error> {
    let mut found = [Vec::new(), Vec::new()];
    for some in parts.chunks(PARTS_A_STATEMENT) {
        let joined = some.iter().cloned().reduce(|all, part| all.push(" UNION ALL ").append(part));
        let Some(sql) = joined else { continue };
        let add = |row: &Row| {
            let (place, name) = if row.integer(0)? == 0 { (0, 3) } else { (1, 4) };
            found[place].push(event(row, [1, name, 2])?);
            Ok(())
        };
        db.rows(sql, add).await?;
    }
    for events in &mut found {
        events.sort_unstable_by_key(|event| event.id);
    }
    Ok(found)
}

/// An event whose id, name and time are in these columns.
fn event(row: &Row, [id, name, created_at]: [usize; 3]) -> Result<Event, Error> {
    // A time that cannot be read is none: nothing hangs on it but whether it is still the same.
    Ok(Event { id: row.integer(id)?, name: row.text(name)?, created_at: row.time(created_at).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Value;

    #[test]
    fn statements_about_gaps_have_few_lengths_and_ask_for_each_gap() {
        let gaps: Vec<_> = (0..GAPS_A_PART as i64).map(|i| (i * 10, i * 10 + 3)).collect();
        let mut texts = std::collections::HashSet::new();
        for count in 1..=gaps.len() {
            let Sql { text, values, .. } = in_gaps(OF_ENTRIES.part(), &gaps[..count]);
            let mut asked: Vec<_> = values.chunks(2).map(<[Value]>::to_vec).collect();
            assert_eq!(text.matches("BETWEEN").count(), asked.len());
            asked.dedup();
            let wanted = gaps[..count].iter().map(|(first, last)| vec![Value::from(*first), Value::from(*last)]);
            assert!(asked.into_iter().eq(wanted), "{count}");
            texts.insert(text);
        }
        assert_eq!(texts.len(), LENGTHS.len() + 1);
    }
}
