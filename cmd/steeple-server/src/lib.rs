//! The server's command line. The command `spire-server entry create` is `cli/entry/create.rs`.
//!
//! Output, errors and exit codes are an interface: scripts read them. They are the reference's to the byte, except where
//! `tests/golden` gives a reason. The texts of usages are our own.

mod cli;

pub use cli::main;
#[cfg(fuzzing)]
pub use cli::{check_date, read_entries, read_entry_ids, read_relationships};
