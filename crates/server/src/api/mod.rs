//! The gRPC services of the server, one file each, and what they share: how IDs are checked ([`ids`]), how errors
//! become statuses ([`status`]), and which stream of an agent is its newest ([`streams`]).

pub(crate) mod agent;
mod audited;
pub(crate) mod bundle;
pub(crate) mod configuration;
pub(crate) mod debug;
pub(crate) mod entry;
pub(crate) mod health;
mod ids;
pub(crate) mod local_authority;
pub(crate) mod logger;
pub(crate) mod status;
pub(crate) mod store;
mod streams;
pub(crate) mod svid;
pub(crate) mod sync;
pub(crate) mod trust_domain;

use std::sync::Arc;

use steeple_datastore::DataStore;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;

use crate::ca::{Ca, Orders};
use crate::entries::Index;
use crate::freshness::Freshness;

/// Items of one call that are written at once, so that they share commits.
const AT_ONCE: usize = 256;

/// What the services stand on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Parts {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// What is stored.
    pub store: DataStore,
    /// What is authorized.
    pub index: Arc<Index>,
    /// What signs.
    pub ca: Arc<Ca>,
    /// What operators do to what signs.
    pub orders: Orders,
    /// Whether what is authorized is new enough.
    pub freshness: Freshness,
    /// The time.
    pub clock: Clock,
}

/// A field that an output mask asks for; else as if it had never been set.
fn keep<T: Default>(asked: bool, value: T) -> T {
    if asked { value } else { T::default() }
}

#[cfg(fuzzing)]
pub use bundle::taken as take_bundle;
#[cfg(fuzzing)]
pub use entry::taken as take_entry;

#[cfg(test)]
mod tests;
