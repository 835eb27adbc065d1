//! What can change while the server runs. Whoever uses a setting watches it; nobody keeps a copy from the start. (The log
//! level changes in [`Log`](steeple_runtime::logging::Log), the server's own certificate in its
//! [`CredentialWatch`](steeple_transport::tls::CredentialWatch).)

use std::sync::Arc;

use steeple_runtime::Clock;
use steeple_spiffe::SpiffeId;
use steeple_transport::rpc::Limits;
use steeple_transport::tls::KeyExchange;
use tokio::sync::watch;

use crate::authpolicy::Rules;
use crate::limits::{self, RateLimits};

/// The settings of one server; clones change together.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `admin_ids`
    pub admin_ids: watch::Sender<Arc<[SpiffeId]>>,
    /// Who may call what.
    pub policy: watch::Sender<Arc<Rules>>,
    /// `ratelimit`
    pub limits: watch::Sender<Arc<Limits>>,
    /// `experimental.require_pq_kem`
    pub key_exchange: watch::Sender<KeyExchange>,
}

impl Settings {
    /// As the configuration has them.
    pub fn new(
        admin_ids: Vec<SpiffeId>,
        policy: Rules,
        rates: RateLimits,
        key_exchange: KeyExchange,
        clock: &Clock,
    ) -> Self {
        Self {
            admin_ids: watch::Sender::new(admin_ids.into()),
            policy: watch::Sender::new(Arc::new(policy)),
            limits: watch::Sender::new(Limits::new(limits::rates(rates), clock)),
            key_exchange: watch::Sender::new(key_exchange),
        }
    }
}
