//! When the authorities end, for those who want to be alerted before. The reference measures the X.509 authority alone,
//! and that at its activation.

use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::gauge_of;

use super::Authorities;
use crate::ca::slots::{Authority, Slots};

impl Authorities {
    /// Tells the end of each authority that signs, or is to sign next.
    pub(super) fn measure(&self) {
        tell("x509", &self.x509);
        if !self.config.disable_jwt {
            tell("jwt", &self.jwt);
        }
        if self.config.wit_key_type.is_some() {
            tell("wit", &self.wit);
        }
    }
}

/// Seconds since 1970; 0 where there is none.
fn tell(kind: &str, slots: &Slots<impl Authority>) {
    for (status, authority) in [("active", slots.active()), ("prepared", slots.prepared())] {
        let end = authority.map_or(0, |authority| unix_seconds(authority.not_after()));
        gauge_of("steeple.authority.expiration", &[("kind", kind), ("status", status)], end as f64);
    }
}
