//! Relationships for people to read.

use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::federation_relationship::BundleEndpointProfile;

/// A relationship, a line a property.
pub(super) fn block(relationship: &types::FederationRelationship) -> String {
    let types::FederationRelationship {
        trust_domain,
        bundle_endpoint_url,
        trust_domain_bundle: _,
        bundle_endpoint_profile,
    } = relationship;
    let line = |label: &str, value: &str| format!("{label:<26}: {value}\n");
    let profile = match bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsWeb(_)) => line(PROFILE, "https_web"),
        Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })) => {
            line(PROFILE, "https_spiffe") + &line("Endpoint SPIFFE ID", endpoint_spiffe_id)
        }
        None => String::new(),
    };
    line("Trust domain", trust_domain) + &line("Bundle endpoint URL", bundle_endpoint_url) + &profile
}

const PROFILE: &str = "Bundle endpoint profile";
