//! A relationship as flags or a file describe it.

use anyhow::{Context, bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_config::quote::Quoted;
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::federation_relationship::BundleEndpointProfile;
use steeple_spiffe::SpiffeId;

use crate::cli::bundle::DocumentFormat;
use crate::cli::console;

/// The flags that describe a relationship.
pub(super) struct RelationshipFlags {
    description: Description,
    bundle_path: String,
    bundle_format: String,
}

impl Default for RelationshipFlags {
    fn default() -> Self {
        Self { description: Description::default(), bundle_path: String::new(), bundle_format: PEM.to_owned() }
    }
}

impl RelationshipFlags {
    pub(super) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self { description, bundle_path, bundle_format } = self;
        let Description { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, endpoint_spiffe_id } =
            description;
        flags
            .flag("trustDomain", trust_domain, "The trust `domain` whose bundle is fetched")
            .flag("bundleEndpointURL", bundle_endpoint_url, "Where its bundle is: an `URL` with https")
            .flag(
                "bundleEndpointProfile",
                bundle_endpoint_profile,
                "How the endpoint proves who it is: https_web or https_spiffe",
            )
            .flag("endpointSpiffeID", endpoint_spiffe_id, "The SPIFFE ID of an endpoint with https_spiffe")
            .flag("trustDomainBundlePath", bundle_path, "A `file` with a bundle to begin with")
            .flag("trustDomainBundleFormat", bundle_format, "The form of that file: pem or spiffe")
    }

    /// Whether none was given, or all as if they had not been.
    pub(super) fn are_unset(&self) -> bool {
        let Self { description, bundle_path, bundle_format } = self;
        *description == Description::default() && bundle_path.is_empty() && bundle_format == PEM
    }

    /// # Errors
    /// Something is missing or malformed, or the file with the bundle cannot be read.
    pub(super) fn relationship(self) -> anyhow::Result<types::FederationRelationship> {
        let Self { description, bundle_path, bundle_format } = self;
        let mut relationship = description.relationship()?;
        if !bundle_path.is_empty() {
            let document = console::read(&bundle_path).context("cannot read bundle file")?;
            // As in the reference, any other word means the standard's document.
            let format = if bundle_format == PEM { DocumentFormat::Pem } else { DocumentFormat::Spiffe };
            let bundle = format.read(&labelled(&relationship)?, &document).context("cannot parse bundle file")?;
            relationship.trust_domain_bundle = Some(bundle);
        }
        Ok(relationship)
    }
}

/// A relationship without its bundle, each part as it was written; empty if it was not.
#[derive(Default, PartialEq)]
pub(super) struct Description {
    pub(super) trust_domain: String,
    pub(super) bundle_endpoint_url: String,
    pub(super) bundle_endpoint_profile: String,
    pub(super) endpoint_spiffe_id: String,
}

impl Description {
    /// # Errors
    /// Something is missing or malformed; the server judges the rest.
    pub(super) fn relationship(self) -> anyhow::Result<types::FederationRelationship> {
        let Self { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, endpoint_spiffe_id } = self;
        ensure!(!trust_domain.is_empty(), "trust domain is required");
        ensure!(!bundle_endpoint_url.is_empty(), "bundle endpoint URL is required");
        let profile = match bundle_endpoint_profile.as_str() {
            "https_web" => BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {}),
            "https_spiffe" => {
                const NO_ID: &str = "endpoint SPIFFE ID is required if 'https_spiffe' endpoint profile is set";
                ensure!(!endpoint_spiffe_id.is_empty(), NO_ID);
                SpiffeId::parse(&endpoint_spiffe_id).context("cannot parse bundle endpoint SPIFFE ID")?;
                BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })
            }
            other => bail!("unknown bundle endpoint profile type: {}", Quoted(other)),
        };
        Ok(types::FederationRelationship {
            trust_domain,
            bundle_endpoint_url,
            trust_domain_bundle: None,
            bundle_endpoint_profile: Some(profile),
        })
    }
}

/// Whose a relationship's bundle is said to be. With `https_spiffe` it is the endpoint's trust domain, as in the
/// reference; the server refuses the bundle when that is another one than the relationship's.
pub(super) fn labelled(relationship: &types::FederationRelationship) -> anyhow::Result<String> {
    match &relationship.bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })) => {
            Ok(SpiffeId::parse(endpoint_spiffe_id)?.trust_domain().name().to_owned())
        }
        _ => Ok(relationship.trust_domain.clone()),
    }
}

const PEM: &str = "pem";
