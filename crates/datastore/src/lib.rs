//! The one [`DataStore`]: everything that servers share, in the reference's SQL schema.
//!
//! | Table | Here |
//! |---|---|
//! | `registered_entries`, `selectors`, `dns_names`, `federated_registration_entries` | [`entries`] |
//! | `attested_node_entries`, `node_resolver_map_entries` | [`nodes`] |
//! | `bundles` | [`bundles`] |
//! | `federated_trust_domains` | [`federation`] |
//! | `join_tokens` | [`join_tokens`] |
//! | `ca_journals` | [`journals`] |
//! | `registered_entries_events`, `attested_node_entries_events` | [`events`], read by the [`Feed`] |
//! | `migrations` | written when the store is opened |
//! | `steeple_used_join_tokens`, our own | [`join_tokens`] |
//! | `steeple_inventory`, our own | [`inventory`] |
//! | all of them but the last one at once | [`archive`] |
//!
//! Every write is a value, a [`Mutation`], and passes one door, [`DataStore::write`]. It writes its event rows in its own
//! transaction, so that servers of both kinds, on one database, learn of each other's changes.
//!
//! There is one store, not a trait with stores behind it: what differs between SQLite, PostgreSQL and MySQL is one value
//! that each statement asks, and how writes are committed and changes noticed.
#![warn(missing_docs)]

pub mod archive;
pub mod bundles;
pub mod entries;
pub mod events;
pub mod federation;
pub mod inventory;
pub mod join_tokens;
pub mod journals;
pub mod nodes;

mod config;
mod connection;
mod database;
mod dialect;
mod error;
mod feed;
mod listing;
mod pool;
mod schema;
mod selector;
mod sql;
mod store;
mod time;
mod writer;

pub use config::SqlConfig;
pub use database::{MySqlServer, PasswordFile, PostgresServer, TlsFiles};
pub use entries::Entry;
pub use error::Error;
pub use feed::{Change, ChangedRows, Feed, FeedStatus, Names, OpenGap, Part, Position, Slice, Snapshot};
pub use listing::{Listing, Match, MatchSet, Page};
pub use nodes::Node;
pub use selector::Selector;
pub use steeple_proto::spire::common::Bundle;
pub use steeple_proto::spire::common::registration_entry::AdditionalAttributes;
pub use store::{DataStore, Options, Source};
pub use writer::{Mutation, Tx};

/// Reads a time as a column of SQLite holds it: a door of the fuzz target, which no other build has, like the next one.
#[cfg(fuzzing)]
pub fn read_time(text: &str) -> Option<std::time::SystemTime> {
    time::parse(text)
}

/// Writes a time as a column of SQLite holds it, in UTC.
#[cfg(fuzzing)]
pub fn write_time(at: std::time::SystemTime) -> String {
    time::text(at, &jiff::tz::TimeZone::UTC)
}
