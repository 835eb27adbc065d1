//! One suite over the public door, on SQLite, and what only SQLite has. `servers.rs` has the suite on the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "cases are called by tests: a panic is their report"
)]

#[macro_use]
mod cases;

mod archive;
mod bundles;
mod entries;
mod federation;
mod feed;
mod fixtures;
mod formats;
mod housekeeping;
mod ids;
mod inventory;
mod journals;
mod lists;
mod nodes;
mod opened;
mod rows;
mod schema;
mod sqlite;
mod tokens;
mod trips;
mod unopened;
mod writes;

suite! { on_sqlite }

pairs! { sqlite_to_sqlite: new_sqlite to new_sqlite }
