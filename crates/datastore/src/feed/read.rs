//! What one look at the database reads, inside one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use steeple_runtime::Clock;
use steeple_runtime::metrics::measure;

use super::bundles::{BundleRow, Bundles};
use super::events::{self, OF_ENTRIES, OF_NODES};
use super::gaps::Horizon;
use super::tail::Tail;
use super::view::View;
use super::{ChangedRows, Names, OpenGap, Part, Position};
use crate::connection::Connection;
use crate::entries::Readable;
use crate::sql::{Conditions, Sql};
use crate::{Error, bundles, entries, nodes};

/// Entries of one part: few enough that reading all takes little more memory than what is made of them.
const ENTRIES_A_PART: u32 = 10_000;

/// Rows that one look reads though no event names them; the next one goes on at once.
const AGAIN_A_LOOK: usize = 5_000;

/// What has been handed out.
#[derive(Default)]
pub(super) struct Known {
    pub(super) tails: Tails,
    pub(super) bundles: Bundles,
}

/// How far events have been read.
#[derive(Default)]
pub(super) struct Tails {
    pub(super) entries: Tail,
    pub(super) nodes: Tail,
}

/// What a look has found.
pub(super) struct Found {
    pub(super) rows: ChangedRows,
    entry_events: events::Found,
    node_events: events::Found,
    /// All bundles, if they were looked at.
    bundles: Option<Vec<BundleRow>>,
    /// Entries that cannot be decoded, and why: they are not among the rows.
    pub(super) unreadable: Vec<(String, Error)>,
    /// How many rows were read again, as far as they had been asked for.
    again: (usize, usize),
    horizon: Horizon,
}

/// What a look should do beside reading new events.
#[derive(Clone, Copy)]
pub(super) struct Tasks<'a> {
    /// Read the bundles, which have no events.
    pub(super) bundles: bool,
    /// Look whether the events that were read are still there.
    pub(super) compare: bool,
    /// Read these rows, too.
    pub(super) again: &'a Names,
}

impl Found {
    /// Whether there are more events.
    pub(super) fn more(&self) -> bool {
        self.entry_events.more || self.node_events.more
    }

    /// Whether events that are remembered have been pruned.
    pub(super) fn pruned(&self) -> bool {
        self.entry_events.pruned_before.is_some() || self.node_events.pruned_before.is_some()
    }

    /// The bundles that cannot be decoded, and why, if bundles were looked at.
    pub(super) fn unreadable_bundles(&self) -> Option<Vec<(String, Error)>> {
        let reason = |row: &BundleRow| Some((row.trust_domain.clone(), row.bundle.as_ref().err()?.clone()));
        Some(self.bundles.as_ref()?.iter().filter_map(reason).collect())
    }

    /// How many events there are.
    pub(super) fn events(&self) -> usize {
        self.entry_events.events.len() + self.node_events.events.len()
    }
}

impl Tails {
    /// Those that begin with the state of the open transaction.
    pub(super) async fn begin(db: &mut Connection, view: &View, clock: &Clock) -> Result<Self, Error> {
        let View { horizon, newest, .. } = view;
        let entries = OF_ENTRIES.begin(db, newest.entries, *horizon, clock).await?;
        let nodes = OF_NODES.begin(db, newest.nodes, *horizon, clock).await?;
        Ok(Self { entries, nodes })
    }

    /// Whether the state of the open transaction goes on from these, as far as they remember.
    pub(super) async fn are_kept(&self, db: &mut Connection, view: &View) -> Result<bool, Error> {
        events::are_kept(db, [&self.entries, &self.nodes], view.newest).await
    }

    pub(super) fn position(&self) -> Position {
        Position { entries: self.entries.last, nodes: self.nodes.last }
    }

    /// All gaps, those of entries first.
    pub(super) fn open_gaps(&self) -> Vec<OpenGap> {
        let of = |of_nodes, tail: &Tail| {
            let gaps = tail.gaps.open().map(move |(first, last, since)| OpenGap { of_nodes, first, last, since });
            gaps.collect::<Vec<_>>()
        };
        [of(false, &self.entries), of(true, &self.nodes)].concat()
    }

    /// Asks, outside of any transaction, which gaps somebody still holds: MySQL's snapshots do not tell.
    pub(super) async fn probe(&mut self, db: &mut Connection, clock: &Clock) -> Result<(), Error> {
        OF_ENTRIES.probe(db, &mut self.entries, clock).await?;
        OF_NODES.probe(db, &mut self.nodes, clock).await
    }
}

impl Known {
    /// Takes over what a look has found; `again` loses what was read.
    pub(super) fn follow(&mut self, found: Found, again: &mut Names, clock: &Clock) -> ChangedRows {
        let Found { rows, entry_events, node_events, bundles, unreadable: _, again: (entries, nodes), horizon } = found;
        for (tail, found) in [(&mut self.tails.entries, entry_events), (&mut self.tails.nodes, node_events)] {
            let events::Found { events, last, more: _, pruned_before } = found;
            if let Some(id) = pruned_before {
                tail.forget_before(id);
            }
            tail.advance(events, last, horizon, clock.now());
        }
        again.entries.drain(..entries);
        again.nodes.drain(..nodes);
        if let Some(bundles) = bundles {
            self.bundles.remember(&bundles);
        }
        for (entry_id, entry) in &rows.entries {
            self.bundles.remember_entry(entry_id, entry.as_deref());
        }
        rows
    }
}

/// All rows, part by part. Bundles and nodes come before the entries that need them. One that cannot be decoded fails it, as
/// it fails a start of the reference: nothing is known that could stand in for it.
pub(super) async fn everything(
    db: &mut Connection,
    view: &View,
    clock: &Clock,
    take: &mut (dyn FnMut(Part) + Send),
) -> Result<Known, Error> {
    let tails = Tails::begin(db, view, clock).await?;
    let rows = measure("datastore.bundle.list", all_bundles(db)).await?;
    let mut bundles = Bundles::new(&rows);
    take(Part::Bundles(rows.into_iter().map(|row| row.bundle).collect::<Result<_, _>>()?));
    let nodes = nodes::load(db, Conditions::default(), None, true);
    let nodes = measure("datastore.node.list", nodes).await?;
    take(Part::Nodes(nodes.into_iter().map(|(_, node)| node).collect()));
    let mut after = 0;
    loop {
        let rows = measure("datastore.registration_entry.list", entries::load_page(db, after, ENTRIES_A_PART)).await?;
        let Some((last, _)) = rows.last() else { break };
        after = *last;
        for (_, entry) in &rows {
            bundles.remember_entry(&entry.entry_id, Some(entry));
        }
        take(Part::Entries(rows.into_iter().map(|(_, entry)| entry).collect()));
    }
    Ok(Known { tails, bundles })
}

/// What happened since `tails`; None when the database has moved back behind them.
pub(super) async fn since(
    db: &mut Connection,
    tails: &Tails,
    known_bundles: &Bundles,
    Tasks { bundles, compare, again }: Tasks<'_>,
    view: &View,
) -> Result<Option<Found>, Error> {
    let found = events::since(db, [&tails.entries, &tails.nodes], view.newest, compare).await?;
    let Some([entry_events, node_events]) = found else { return Ok(None) };
    let bundles = if bundles { Some(measure("datastore.bundle.list", all_bundles(db)).await?) } else { None };
    let (changed_bundles, unfederated) = bundles.as_ref().map(|rows| known_bundles.compare(rows)).unwrap_or_default();

    let names = entry_events.events.iter().map(|event| event.name.clone());
    let again_entries = &again.entries[..again.entries.len().min(AGAIN_A_LOOK)];
    let mut entry_ids = unique(names.chain(unfederated).chain(again_entries.iter().cloned()));
    let found = measure("datastore.registration_entry.fetch", entries::readable_by_entry_ids(db, &entry_ids)).await?;
    let Readable { entries: found, unreadable, last: _ } = found;
    if !unreadable.is_empty() {
        let names: HashSet<&str> = unreadable.iter().map(|(name, _)| name.as_str()).collect();
        entry_ids.retain(|entry_id| !names.contains(entry_id.as_str()));
    }
    let entries = paired(entry_ids, found.into_iter().map(|(_, entry)| (entry.entry_id.clone(), Arc::new(entry))));

    let names = node_events.events.iter().map(|event| event.name.clone());
    let again_nodes = &again.nodes[..again.nodes.len().min(AGAIN_A_LOOK)];
    let spiffe_ids = unique(names.chain(again_nodes.iter().cloned()));
    let found = measure("datastore.node.fetch", nodes::by_spiffe_ids(db, &spiffe_ids)).await?;
    let nodes = paired(spiffe_ids, found.into_iter().map(|node| (node.spiffe_id.clone(), node)));

    let rows = ChangedRows { entries, nodes, bundles: changed_bundles };
    let again = (again_entries.len(), again_nodes.len());
    Ok(Some(Found { rows, entry_events, node_events, bundles, unreadable, again, horizon: view.horizon }))
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

async fn all_bundles(db: &mut Connection) -> Result<Vec<BundleRow>, Error> {
    let read = |row: &crate::connection::Row| {
        Ok(BundleRow {
            id: row.integer(0)?,
            trust_domain: row.text(1)?,
            data: row.bytes(2)?,
            bundle: match bundles::read(row) {
                Err(error) if !matches!(error, Error::Corrupt(_)) => return Err(error),
                bundle => bundle,
            },
        })
    };
    db.rows(Sql::new("SELECT id, trust_domain, data FROM bundles ORDER BY id"), read).await
}

/// The names, each once, in the order of their first event.
fn unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}
