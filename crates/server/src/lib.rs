//! The server: attests agents, keeps entries, signs SVIDs. Knows no plugin and no command line.
//!
//! [`run`] is its start, from top to bottom; [`config`] is what it is started with.

mod api;
pub mod authpolicy;
pub mod ca;
pub mod config;
mod dns_name;
mod endpoints;
mod entries;
mod freshness;
mod health;
pub mod inventory;
pub mod limits;
mod owner;
mod prune;
mod publishing;
mod reload;
mod run;
pub mod settings;
mod svid;
#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub use api::{take_bundle, take_entry};
pub use endpoints::EndpointsError;
pub use reload::Reread;
pub use run::{Process, RunError, run};
pub use svid::SvidError;
