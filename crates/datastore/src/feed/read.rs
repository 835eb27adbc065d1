//! What one look at the database reads, inside one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use steeple_runtime::metrics::measure;

use super::bundles::{BundleRow, Known};
use super::{ChangedRows, Position, Snapshot};
use crate::connection::{Connection, Row};
use crate::events::{ENTRY_EVENTS, NODE_EVENTS};
use crate::sql::{Conditions, Sql};
use crate::{Entry, Error, bundles, entries, nodes};

/// The most events of each kind that one look takes; the next one goes on at once.
const EVENTS_A_LOOK: i64 = 10_000;

/// What a look has found.
pub(super) struct Found {
    pub(super) rows: ChangedRows,
    pub(super) position: Position,
    /// All bundles, if they were looked at.
    pub(super) bundles: Option<Vec<BundleRow>>,
    /// Whether there are more events.
    pub(super) more: bool,
}

/// All rows.
pub(super) async fn everything(db: &mut Connection) -> Result<(Snapshot, Known), Error> {
    let position = newest(db).await?;
    let entries = entries::load(db, Conditions::default(), None);
    let entries = shared(measure("datastore.registration_entry.list", entries).await?);
    let nodes = nodes::load(db, Conditions::default(), None, true);
    let nodes = measure("datastore.node.list", nodes).await?;
    let rows = measure("datastore.bundle.list", all_bundles(db)).await?;
    let known = Known::new(position, &entries, &rows);
    let snapshot = Snapshot {
        entries,
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        bundles: rows.into_iter().map(|row| row.bundle).collect(),
        position,
    };
    Ok((snapshot, known))
}

/// Not by `collect`, which would keep the rows' allocation, thirty times as large as that of the pointers.
fn shared(rows: Vec<(i64, Entry)>) -> Vec<Arc<Entry>> {
    let mut entries = Vec::with_capacity(rows.len());
    entries.extend(rows.into_iter().map(|(_, entry)| Arc::new(entry)));
    entries
}

/// What happened since `known`; None when the database has moved back behind it.
pub(super) async fn since(db: &mut Connection, known: &Known, with_bundles: bool) -> Result<Option<Found>, Error> {
    let Position { entries, nodes } = known.position;
    let newest = newest(db).await?;
    if newest.entries < entries || newest.nodes < nodes {
        return Ok(None);
    }
    let entry_events = events(db, ENTRY_EVENTS, "entry_id", entries, newest.entries);
    let entry_events = measure("datastore.registration_entry_event.list", entry_events).await?;
    let node_events = events(db, NODE_EVENTS, "spiffe_id", nodes, newest.nodes);
    let node_events = measure("datastore.node_event.list", node_events).await?;
    let bundles = if with_bundles { Some(measure("datastore.bundle.list", all_bundles(db)).await?) } else { None };
    let (changed_bundles, unfederated) = bundles.as_ref().map(|rows| known.compare(rows)).unwrap_or_default();

    let entry_ids = unique(entry_events.names.into_iter().chain(unfederated));
    let found = measure("datastore.registration_entry.fetch", entries::by_entry_ids(db, &entry_ids)).await?;
    let entries = paired(entry_ids, found.into_iter().map(|entry| (entry.entry_id.clone(), Arc::new(entry))));

    let spiffe_ids = unique(node_events.names);
    let found = measure("datastore.node.fetch", nodes::by_spiffe_ids(db, &spiffe_ids)).await?;
    let nodes = paired(spiffe_ids, found.into_iter().map(|node| (node.spiffe_id.clone(), node)));

    Ok(Some(Found {
        rows: ChangedRows { entries, nodes, bundles: changed_bundles },
        position: Position { entries: entry_events.last, nodes: node_events.last },
        bundles,
        more: entry_events.last < newest.entries || node_events.last < newest.nodes,
    }))
}

/// Each name with its row, if there is one.
fn paired<T>(names: Vec<String>, found: impl Iterator<Item = (String, T)>) -> Vec<(String, Option<T>)> {
    let mut found: HashMap<String, T> = found.collect();
    let row_of = |name: String| {
        let row = found.remove(&name);
        (name, row)
    };
    names.into_iter().map(row_of).collect()
}

async fn newest(db: &mut Connection) -> Result<Position, Error> {
    Ok(Position { entries: newest_id(db, ENTRY_EVENTS).await?, nodes: newest_id(db, NODE_EVENTS).await? })
}

/// Counted by the database itself, because events are pruned: an empty table is not one that moved back.
async fn newest_id(db: &mut Connection, table: &str) -> Result<i64, Error> {
    let sql = Sql::new(db.dialect().newest_id(table));
    Ok(db.row(sql, |row| row.integer(0)).await?.unwrap_or_default())
}

struct Events {
    /// In order, with repetitions.
    names: Vec<String>,
    /// Everything up to this id has been seen.
    last: i64,
}

/// The events after `after`. `newest` is the newest id that was given, whether or not its event is still there.
async fn events(db: &mut Connection, table: &str, column: &str, after: i64, newest: i64) -> Result<Events, Error> {
    if after == newest {
        return Ok(Events { names: Vec::new(), last: after });
    }
    let sql = Sql::new(format!("SELECT id, {column} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"));
    let read = |row: &Row| Ok((row.integer(0)?, row.text(1)?));
    let rows = db.rows(sql.bind(after).bind(EVENTS_A_LOOK), read).await?;
    let is_last = i64::try_from(rows.len()).is_ok_and(|count| count < EVENTS_A_LOOK);
    let last = rows.last().map(|(id, _)| *id).filter(|_| !is_last).unwrap_or(newest);
    Ok(Events { names: rows.into_iter().map(|(_, name)| name).collect(), last })
}

async fn all_bundles(db: &mut Connection) -> Result<Vec<BundleRow>, Error> {
    let read = |row: &Row| {
        Ok(BundleRow {
            id: row.integer(0)?,
            trust_domain: row.text(1)?,
            data: row.bytes(2)?,
            bundle: bundles::read(row)?,
        })
    };
    db.rows(Sql::new("SELECT id, trust_domain, data FROM bundles ORDER BY id"), read).await
}

/// The names, each once, in the order of their first event.
fn unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}
