//! The gRPC services of the server, one file each, and what they share: how IDs are checked ([`ids`]) and how errors
//! become statuses ([`status`]).

pub mod agent;
pub mod bundle;
pub mod entry;
pub mod health;
mod ids;
pub mod logger;
mod status;
pub mod svid;
pub mod sync;
pub mod unbuilt;

use std::sync::Arc;

use steeple_datastore::DataStore;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;

use crate::ca::Ca;
use crate::entries::Index;

/// What the services stand on. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// What is stored.
    pub store: DataStore,
    /// What is authorized.
    pub index: Arc<Index>,
    /// What signs.
    pub ca: Arc<Ca>,
    /// The time.
    pub clock: Clock,
}
