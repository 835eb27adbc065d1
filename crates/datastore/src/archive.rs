//! Whole databases: written to an archive, filled from one, copied from one kind to another.
//!
//! Tables are read and written as they are ([`tables`]), below what their rows mean. What is read is one state, whoever
//! writes meanwhile; what is filled has no server yet, and is committed as a whole or not at all.

mod copying;
mod destination;
mod format;
mod origin;
mod restoring;
mod saving;
mod tables;

pub use copying::migrate;
#[cfg(any(fuzzing, test))]
pub use format::rewritten_line;
pub use format::{Contents, Header, check};
pub use restoring::{Restored, restore};
pub use saving::{Backup, backup};

/// How far a table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// The table.
    pub table: &'static str,
    /// Rows so far.
    pub rows: u64,
    /// Rows that there are.
    pub of: u64,
}

/// What is done with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows of an archive are looked at.
    Check,
    /// Rows are written, to an archive or a database.
    Write,
    /// Rows that were written are compared with those that were read.
    Compare,
}

/// Who is told of progress: after each few rows, and at the end of each table.
pub type Watcher<'w> = &'w mut (dyn FnMut(Progress) + Send);
