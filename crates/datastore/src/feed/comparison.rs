//! Going through all rows, in slices, so that whoever follows the feed can compare them with what it knows.
//!
//! At its ease over an interval, because a change may have come without an event or have been missed; in a hurry when the
//! database is another one than before. Changes are handed out between slices, so that a comparison delays nothing.

use std::sync::Arc;
use std::time::Duration;

use steeple_runtime::metrics::measure;

use super::Slice;
use crate::connection::Connection;
use crate::{Error, entries, nodes};

/// Rows of one slice: they are read in a few milliseconds.
const ROWS_A_SLICE: u32 = 1_000;

/// How far a comparison is.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// How long one takes when there is no hurry. None makes it wait for a reason.
    interval: Option<Duration>,
    /// Since the last one ended.
    elapsed: Duration,
    is_hurried: bool,
    after: Cursor,
    /// Slices that have been read.
    slices: u32,
    /// Slices that it takes, going by the number of rows that there were the last time.
    expected: u32,
    /// Whether the last attempt to read a slice failed. What cannot be read must not keep back what changed elsewhere.
    has_failed: bool,
}

/// The rows that have been read.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    node: i64,
    /// Whether there are no more nodes.
    are_nodes_read: bool,
    entry: i64,
}

/// A slice, and what comes behind it.
pub(super) struct Read {
    pub(super) slice: Slice,
    /// Entries that cannot be decoded, and why.
    pub(super) unreadable: Vec<(String, Error)>,
    after: Cursor,
}

impl Comparison {
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = Some(interval);
    }

    /// So many rows have just been read.
    pub(super) fn begin_after(&mut self, rows: usize) {
        let slices = rows / ROWS_A_SLICE as usize + 1;
        let expected = u32::try_from(slices).unwrap_or(u32::MAX);
        *self = Self { interval: self.interval, expected, ..Self::default() };
    }

    /// Begins at the first row, and does not rest.
    pub(super) fn hurry(&mut self) {
        *self = Self { interval: self.interval, expected: self.expected, is_hurried: true, ..Self::default() };
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.is_hurried
    }

    pub(super) fn pass(&mut self, length: Duration) {
        self.elapsed = self.elapsed.saturating_add(length);
    }

    /// Whether the next slice should be read. Slices are spread over the interval; those that were not expected come at its
    /// end.
    pub(super) fn is_due(&self) -> bool {
        let share = |interval: Duration| {
            let expected = self.expected.max(1);
            interval.saturating_mul((self.slices + 1).min(expected)) / expected
        };
        !self.has_failed && (self.is_hurried || self.interval.is_some_and(|interval| self.elapsed >= share(interval)))
    }

    /// Reads the next slice, in the open transaction.
    pub(super) async fn read(&mut self, db: &mut Connection) -> Result<Read, Error> {
        self.has_failed = true;
        let Cursor { node, are_nodes_read, entry } = self.after;
        let nodes = if are_nodes_read {
            Vec::new()
        } else {
            measure("datastore.node.list", nodes::load_page(db, node, ROWS_A_SLICE)).await?
        };
        let left = ROWS_A_SLICE.saturating_sub(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
        let (mut rows, mut last, mut entries, mut unreadable) = (0, None, Vec::new(), Vec::new());
        if left > 0 {
            let read = measure("datastore.registration_entry.list", entries::readable_page(db, entry, left)).await?;
            (rows, last) = (read.rows(), read.last);
            (entries, unreadable) = (read.entries, read.unreadable);
        }
        let after = Cursor {
            node: nodes.last().map_or(node, |(id, _)| *id),
            are_nodes_read: left > 0,
            entry: last.unwrap_or(entry),
        };
        let slice = Slice {
            is_first: self.slices == 0,
            is_last: left as usize > rows,
            nodes: nodes.into_iter().map(|(_, node)| node).collect(),
            entries: entries.into_iter().map(|(_, entry)| Arc::new(entry)).collect(),
        };
        Ok(Read { slice, unreadable, after })
    }

    /// The slice has been read, and is handed out.
    pub(super) fn advance(&mut self, Read { slice, unreadable: _, after }: Read) -> Slice {
        self.has_failed = false;
        self.slices = self.slices.saturating_add(1);
        self.after = after;
        if slice.is_last {
            *self = Self { interval: self.interval, expected: self.slices, ..Self::default() };
        }
        slice
    }

    /// The feed has read what changed, without a slice.
    pub(super) fn passed_over(&mut self) {
        self.has_failed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn slice(is_last: bool) -> Read {
        let slice = Slice { nodes: Vec::new(), entries: Vec::new(), is_first: false, is_last };
        Read { slice, unreadable: Vec::new(), after: Cursor::default() }
    }

    /// The minutes at which slices are read.
    fn slices(comparison: &mut Comparison, minutes: u32, most: u32) -> Vec<u32> {
        let mut read = Vec::new();
        for minute in 1..=minutes {
            comparison.pass(MINUTE);
            while comparison.is_due() {
                read.push(minute);
                comparison.advance(slice(comparison.slices + 1 == most));
            }
        }
        read
    }

    #[test]
    fn slices_are_spread_over_the_interval() {
        let mut comparison = Comparison::default();
        comparison.set_interval(MINUTE * 12);
        comparison.begin_after(3_500);
        assert_eq!(slices(&mut comparison, 24, 4), [3, 6, 9, 12, 15, 18, 21, 24]);
    }

    #[test]
    fn what_was_not_expected_is_read_at_the_end_and_expected_the_next_time() {
        let mut comparison = Comparison::default();
        comparison.set_interval(MINUTE * 12);
        comparison.begin_after(0);
        assert_eq!(slices(&mut comparison, 24, 3), [12, 12, 12, 16, 20, 24]);
    }

    #[test]
    fn in_a_hurry_it_begins_anew_and_does_not_rest() {
        let mut comparison = Comparison::default();
        comparison.set_interval(MINUTE * 12);
        comparison.begin_after(1_500);
        assert_eq!(slices(&mut comparison, 7, 2), [6]);
        comparison.hurry();
        assert_eq!(slices(&mut comparison, 13, 2), [1, 1, 7, 13]);
    }

    #[test]
    fn without_an_interval_it_waits_for_a_reason() {
        let mut comparison = Comparison::default();
        assert!(slices(&mut comparison, 10_000, 1).is_empty());
        comparison.hurry();
        assert_eq!(slices(&mut comparison, 10_000, 1), [1]);
    }
}
