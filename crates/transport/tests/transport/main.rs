//! The door of the room: TLS by SPIFFE ID, listeners, and the layers around every call.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's report")]

mod dial;
mod listen;
mod otlp;
mod proxy;
mod rpc;
mod servers;
mod tls;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_testkit::{Ca, ManualClock};
use steeple_transport::tls::Admission;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A clock that shows one moment, and a CA that works at it.
fn world() -> (ManualClock, Ca) {
    let now = SystemTime::UNIX_EPOCH + HOUR * 24 * 365 * 50;
    (ManualClock::new(now), Ca::new("example.org", now))
}

/// Lets in members of the first CA's trust domain, and of the others the IDs that are named.
struct Members {
    cas: Vec<Ca>,
    admitted: Vec<SpiffeId>,
}

impl Admission for Members {
    fn authorities(&self, trust_domain: &TrustDomain) -> Option<Arc<[Certificate]>> {
        self.cas.iter().find(|ca| ca.trust_domain() == trust_domain).map(Ca::authorities)
    }

    fn admits(&self, id: &SpiffeId) -> bool {
        id.is_member_of(self.cas[0].trust_domain()) || self.admitted.contains(id)
    }
}
