use std::time::SystemTime;

use super::Position;

/// How far a feed is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedStatus {
    /// When it last knew for certain that it had handed out all that the database held; None before the first snapshot.
    pub confirmed_at: Option<SystemTime>,
    /// When all rows had last been handed out, in place of those that had changed.
    pub compared_at: Option<SystemTime>,
    /// The newest events that were read.
    pub newest: Position,
    /// Ids that were skipped and may still appear: those of entries, then those of nodes, each in order.
    pub open_gaps: Vec<OpenGap>,
    /// How many events were read that others have certainly written: those that came while this process wrote nothing.
    /// There may have been more.
    pub foreign_events: u64,
    /// When the last of them was read.
    pub foreign_at: Option<SystemTime>,
    /// Whether other writers are heard as soon as they write; otherwise the database is asked over and over.
    pub is_heard: bool,
}

/// Ids of events that were skipped, because a transaction that has not ended may hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGap {
    /// Whether they are of nodes; otherwise of entries.
    pub of_nodes: bool,
    /// The first id.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// When it was noticed.
    pub since: SystemTime,
}
