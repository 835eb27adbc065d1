//! Between federation relationships of the API and stored ones.

use steeple_config::url::{Url, UrlError};
use steeple_datastore::federation::{BundleEndpointProfile, FederationRelationship, FederationRelationshipMask};
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::federation_relationship::BundleEndpointProfile as Profile;
use steeple_spiffe::{IdError, SpiffeId, TrustDomain};

use crate::api::bundle::convert::{BadBundle, stored};
use crate::api::keep;
use crate::entries::api_bundle;

/// Why a relationship is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRelationship {
    /// Its trust domain is none.
    #[error("failed to parse trust domain: {0}")]
    TrustDomain(IdError),
    /// Its URL is none.
    #[error("failed to parse bundle endpoint URL: {0}")]
    Url(#[from] UrlError),
    /// Its URL does not begin with `https:`.
    #[error("bundle endpoint URL must use the https scheme")]
    NoHttps,
    /// Its URL names no host.
    #[error("bundle endpoint URL must specify the host")]
    NoHost,
    /// A user stands in its URL.
    #[error("bundle endpoint URL must not contain user info")]
    User,
    /// It does not say how the endpoint proves who it is. The words are those of the reference, which shows a type of Go.
    #[error("unsupported bundle endpoint profile type: <nil>")]
    NoProfile,
    /// The endpoint's SPIFFE ID is none.
    #[error("failed to parse endpoint SPIFFE ID: {0}")]
    EndpointId(IdError),
    /// Its bundle is of no trust domain.
    #[error("failed to parse bundle: invalid trust domain: {0}")]
    BundleTrustDomain(IdError),
    /// Its bundle.
    #[error("failed to parse bundle: {0}")]
    Bundle(#[from] BadBundle),
    /// Its bundle is another trust domain's.
    #[error("trust domain bundle ({of_bundle:?}) must match the trust domain of the federation relationship ({own:?})")]
    OtherBundle {
        /// The bundle's trust domain.
        of_bundle: String,
        /// The relationship's.
        own: String,
    },
}

/// The relationship that a caller sent.
pub(super) fn sent(relationship: types::FederationRelationship) -> Result<FederationRelationship, BadRelationship> {
    let types::FederationRelationship {
        trust_domain,
        bundle_endpoint_url,
        trust_domain_bundle,
        bundle_endpoint_profile,
    } = relationship;
    let trust_domain = TrustDomain::parse(&trust_domain).map_err(BadRelationship::TrustDomain)?;
    let url = Url::parse(&bundle_endpoint_url)?;
    if url.scheme != "https" {
        return Err(BadRelationship::NoHttps);
    }
    if url.host.is_empty() {
        return Err(BadRelationship::NoHost);
    }
    if url.has_user {
        return Err(BadRelationship::User);
    }
    let bundle_endpoint_profile = match bundle_endpoint_profile {
        Some(Profile::HttpsWeb(_)) => BundleEndpointProfile::HttpsWeb,
        Some(Profile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })) => {
            let id = SpiffeId::parse(&endpoint_spiffe_id).map_err(BadRelationship::EndpointId)?;
            BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id: id.to_string() }
        }
        None => return Err(BadRelationship::NoProfile),
    };
    let bundle = trust_domain_bundle.map(|bundle| {
        let of_bundle = TrustDomain::parse(&bundle.trust_domain).map_err(BadRelationship::BundleTrustDomain)?;
        let bundle = stored(&of_bundle, bundle)?;
        if of_bundle != trust_domain {
            let (of_bundle, own) = (of_bundle.name().to_owned(), trust_domain.name().to_owned());
            return Err(BadRelationship::OtherBundle { of_bundle, own });
        }
        Ok(bundle)
    });
    Ok(FederationRelationship {
        trust_domain: trust_domain.name().to_owned(),
        bundle_endpoint_url: url.to_string(),
        bundle_endpoint_profile,
        bundle: bundle.transpose()?,
    })
}

/// A relationship as it is stored.
pub(super) fn api(relationship: FederationRelationship) -> types::FederationRelationship {
    let FederationRelationship { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, bundle } = relationship;
    let profile = match bundle_endpoint_profile {
        BundleEndpointProfile::HttpsWeb => Profile::HttpsWeb(types::HttpsWebProfile {}),
        BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id } => {
            Profile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })
        }
    };
    types::FederationRelationship {
        trust_domain,
        bundle_endpoint_url,
        trust_domain_bundle: bundle.as_ref().map(api_bundle),
        bundle_endpoint_profile: Some(profile),
    }
}

/// The fields that an input mask names; without a mask all.
pub(super) fn fields_of(mask: Option<&types::FederationRelationshipMask>) -> FederationRelationshipMask {
    let Some(mask) = mask else { return FederationRelationshipMask::ALL };
    let types::FederationRelationshipMask { bundle_endpoint_url, bundle_endpoint_profile, trust_domain_bundle } = *mask;
    FederationRelationshipMask { bundle_endpoint_url, bundle_endpoint_profile, bundle: trust_domain_bundle }
}

/// The relationship with what a mask asks for; the trust domain always. Without a mask, all.
pub(super) fn masked(
    relationship: types::FederationRelationship,
    mask: Option<&types::FederationRelationshipMask>,
) -> types::FederationRelationship {
    let asked = fields_of(mask);
    types::FederationRelationship {
        trust_domain: relationship.trust_domain,
        bundle_endpoint_url: keep(asked.bundle_endpoint_url, relationship.bundle_endpoint_url),
        trust_domain_bundle: keep(asked.bundle, relationship.trust_domain_bundle),
        bundle_endpoint_profile: keep(asked.bundle_endpoint_profile, relationship.bundle_endpoint_profile),
    }
}
