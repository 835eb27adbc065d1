//! SPIFFE IDs as SPIRE's APIs have them.

use steeple_proto::spire::api::types;
use steeple_spiffe::SpiffeId;

/// The message of an ID.
pub fn on_wire(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid { trust_domain: id.trust_domain_name().to_owned(), path: id.path().to_owned() }
}
