//! `spire.api.server.bundle.v1.Bundle`

use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_server::{Bundle, BundleServer};
use steeple_proto::spire::api::types;
use steeple_transport::rpc::Call;
use tonic::{Request, Response, Status};

use super::{Parts, status};
use crate::entries::api_bundle;

struct Service(Parts);

/// The service.
pub(crate) fn service(parts: Parts) -> BundleServer<impl Bundle> {
    BundleServer::new(Service(parts))
}

#[tonic::async_trait]
impl Bundle for Service {
    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let call = Call::of(&request)?;
        call.audit("trust_domain_id", &self.0.trust_domain);
        let id = self.0.trust_domain.id();
        let stored = self.0.store.fetch_bundle(id.as_str()).await;
        let stored = stored.map_err(|error| status::internal("failed to fetch bundle", &error))?;
        let mut bundle = api_bundle(&stored.ok_or_else(|| status::not_found("bundle not found"))?);
        masked(&mut bundle, request.get_ref().output_mask.as_ref());
        Ok(Response::new(bundle))
    }
}

/// Clears what a mask leaves out. Without a mask, nothing.
pub(super) fn masked(bundle: &mut types::Bundle, mask: Option<&types::BundleMask>) {
    let Some(mask) = mask else { return };
    let types::BundleMask { x509_authorities, jwt_authorities, refresh_hint, sequence_number, wit_authorities } = *mask;
    if !x509_authorities {
        bundle.x509_authorities.clear();
    }
    if !jwt_authorities {
        bundle.jwt_authorities.clear();
    }
    if !refresh_hint {
        bundle.refresh_hint = 0;
    }
    if !sequence_number {
        bundle.sequence_number = 0;
    }
    if !wit_authorities {
        bundle.wit_authorities.clear();
    }
}
