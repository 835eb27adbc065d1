//! What a feed hands out.

use std::sync::Arc;

use steeple_proto::spire::common::Bundle;

use crate::{Entry, Node};

/// A part of everything that servers share.
#[derive(Clone, Debug)]
pub enum Part {
    /// All bundles, in order of creation. They come first.
    Bundles(Vec<Bundle>),
    /// All nodes with their selectors, in order of creation. They come next.
    Nodes(Vec<Node>),
    /// Some entries, in order of creation; there may be many such parts.
    Entries(Vec<Entry>),
}

impl Part {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Bundles(_) => 0,
            Self::Nodes(nodes) => nodes.len(),
            Self::Entries(entries) => entries.len(),
        }
    }
}

/// Everything that servers share, read in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// All entries, in order of creation.
    pub entries: Vec<Entry>,
    /// All nodes with their selectors, in order of creation.
    pub nodes: Vec<Node>,
    /// All bundles, in order of creation.
    pub bundles: Vec<Bundle>,
    /// Up to where events are in it.
    pub position: Position,
}

/// The newest event ids that have been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Of entries.
    pub entries: i64,
    /// Of nodes.
    pub nodes: i64,
}

/// What changed, or may have.
#[derive(Clone, Debug)]
pub enum Change {
    /// These rows.
    Rows(ChangedRows),
    /// Some of all rows, to be compared with what is known.
    Slice(Slice),
}

/// A part of a comparison, which goes through all rows in order of creation, nodes first. What changes meanwhile comes in
/// between. Whoever has got all slices, and holds a row that was neither in one of them nor among the changes since the
/// first, asks for it ([`Feed::look_again`](super::Feed::look_again)): it is gone, most likely.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Nodes as they are now.
    pub nodes: Vec<Node>,
    /// Entries as they are now.
    pub entries: Vec<Arc<Entry>>,
    /// Whether a comparison begins here; one that was under way before is void.
    pub is_first: bool,
    /// Whether it ends here.
    pub is_last: bool,
}

/// Names of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By entry id.
    pub entries: Vec<String>,
    /// By SPIFFE ID.
    pub nodes: Vec<String>,
}

impl Names {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        let Self { entries, nodes } = self;
        entries.is_empty() && nodes.is_empty()
    }
}

/// Rows that may have changed, by name, as they are now; None for those that are gone. A row that changed several times
/// comes once, and one that was touched without a change comes too. Entries, nodes and bundles are of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct ChangedRows {
    /// By entry id.
    pub entries: Vec<(String, Option<Arc<Entry>>)>,
    /// By SPIFFE ID.
    pub nodes: Vec<(String, Option<Node>)>,
    /// By trust domain, `spiffe://td`.
    pub bundles: Vec<(String, Option<Bundle>)>,
}

impl ChangedRows {
    pub(super) fn is_empty(&self) -> bool {
        let Self { entries, nodes, bundles } = self;
        entries.is_empty() && nodes.is_empty() && bundles.is_empty()
    }
}
