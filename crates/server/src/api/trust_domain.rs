//! `spire.api.server.trustdomain.v1.TrustDomain`: where the bundles of foreign trust domains are fetched.

mod convert;

use futures::{StreamExt, stream};
use steeple_datastore::federation::{
    BundleEndpointProfile, CreateFederationRelationship, DeleteFederationRelationship, FederationRelationship,
    UpdateFederationRelationship,
};
use steeple_datastore::{Error, Page};
use steeple_proto::spire::api::server::trustdomain::v1::trust_domain_server::{TrustDomain, TrustDomainServer};
use steeple_proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, BatchCreateFederationRelationshipResponse,
    BatchDeleteFederationRelationshipRequest, BatchDeleteFederationRelationshipResponse,
    BatchUpdateFederationRelationshipRequest, BatchUpdateFederationRelationshipResponse,
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest, ListFederationRelationshipsResponse,
    RefreshBundleRequest, batch_create_federation_relationship_response, batch_delete_federation_relationship_response,
    batch_update_federation_relationship_response,
};
use steeple_proto::spire::api::types;
use steeple_spiffe::{self as spiffe, SpiffeId};
use steeple_transport::rpc::{Call, Fields};
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, debug, error_span, warn};

use super::{AT_ONCE, Parts, audited, status};
use convert::{api, fields_of, masked, sent};

struct Service(Parts);

/// The service.
pub(crate) fn service(parts: Parts) -> TrustDomainServer<impl TrustDomain> {
    TrustDomainServer::new(Service(parts))
}

#[tonic::async_trait]
impl TrustDomain for Service {
    async fn list_federation_relationships(
        &self,
        request: Request<ListFederationRelationshipsRequest>,
    ) -> Result<Response<ListFederationRelationshipsResponse>, Status> {
        let ListFederationRelationshipsRequest { output_mask, page_size, page_token } = request.into_inner();
        let page = Page { size: u32::try_from(page_size).unwrap_or(0), token: page_token };
        let listing = self.0.store.list_federation_relationships(&page).await;
        let listing = listing.map_err(|error| status::internal("failed to list federation relationships", error))?;
        let listed = listing.rows.into_iter().map(|row| masked(api(row), output_mask.as_ref())).collect();
        let next_page_token = listing.next_page_token;
        Ok(Response::new(ListFederationRelationshipsResponse { federation_relationships: listed, next_page_token }))
    }

    async fn get_federation_relationship(
        &self,
        request: Request<GetFederationRelationshipRequest>,
    ) -> Result<Response<types::FederationRelationship>, Status> {
        let call = Call::of(&request)?;
        let GetFederationRelationshipRequest { trust_domain, output_mask } = request.into_inner();
        call.audit("trust_domain_id", &trust_domain);
        let found = self.stored(&named(&trust_domain)?).await;
        let found = found.map_err(|error| status::internal("failed to fetch federation relationship", error))?;
        let found = found.ok_or_else(|| status::not_found("federation relationship does not exist"))?;
        Ok(Response::new(masked(api(found), output_mask.as_ref())))
    }

    /// Here and below: many items at once, so that they share commits; they reach the store in the order of the request.
    async fn batch_create_federation_relationship(
        &self,
        request: Request<BatchCreateFederationRelationshipRequest>,
    ) -> Result<Response<BatchCreateFederationRelationshipResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchCreateFederationRelationshipRequest { federation_relationships, output_mask } = request.into_inner();
        let results = stream::iter(federation_relationships).map(async |relationship| {
            let fields = audit_of(&call, &relationship, None);
            let span = span_of(&relationship.trust_domain);
            let (status, created) = status::item_of(self.create(relationship).instrument(span).await);
            call.audit_item(&status, fields);
            let federation_relationship = created.map(|created| masked(api(created), output_mask.as_ref()));
            batch_create_federation_relationship_response::Result { status: Some(status), federation_relationship }
        });
        let results = results.buffered(AT_ONCE).collect().await;
        Ok(Response::new(BatchCreateFederationRelationshipResponse { results }))
    }

    async fn batch_update_federation_relationship(
        &self,
        request: Request<BatchUpdateFederationRelationshipRequest>,
    ) -> Result<Response<BatchUpdateFederationRelationshipResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchUpdateFederationRelationshipRequest { federation_relationships, input_mask, output_mask } =
            request.into_inner();
        let results = stream::iter(federation_relationships).map(async |relationship| {
            let fields = audit_of(&call, &relationship, input_mask.as_ref());
            let span = span_of(&relationship.trust_domain);
            let updated = self.update(relationship, input_mask.as_ref()).instrument(span).await;
            let (status, updated) = status::item_of(updated);
            call.audit_item(&status, fields);
            let federation_relationship = updated.map(|updated| masked(api(updated), output_mask.as_ref()));
            batch_update_federation_relationship_response::Result { status: Some(status), federation_relationship }
        });
        let results = results.buffered(AT_ONCE).collect().await;
        Ok(Response::new(BatchUpdateFederationRelationshipResponse { results }))
    }

    /// The bundles stay.
    async fn batch_delete_federation_relationship(
        &self,
        request: Request<BatchDeleteFederationRelationshipRequest>,
    ) -> Result<Response<BatchDeleteFederationRelationshipResponse>, Status> {
        let call = Call::of(&request)?;
        let results = stream::iter(request.into_inner().trust_domains).map(async |text| {
            let (trust_domain, deleted) = self.delete(&text).instrument(span_of(&text)).await;
            let status = status::item(&deleted);
            call.audit_item(&status, vec![audited::field("trust_domain_id", &text)]);
            batch_delete_federation_relationship_response::Result { status: Some(status), trust_domain }
        });
        let results = results.buffered(AT_ONCE).collect().await;
        Ok(Response::new(BatchDeleteFederationRelationshipResponse { results }))
    }

    /// Fetching is not built yet; who asks for it is told so when there is something to fetch.
    async fn refresh_bundle(&self, request: Request<RefreshBundleRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request)?;
        let RefreshBundleRequest { trust_domain: text } = request.into_inner();
        call.audit("trust_domain_id", &text);
        let refreshing = async {
            let trust_domain = named(&text)?;
            let found = self.stored(&trust_domain).await;
            let found = found.map_err(|error| status::internal("failed to refresh bundle", error))?;
            if found.is_none() {
                return Err(status::not_found(&format!("no relationship with trust domain {:?}", trust_domain.name())));
            }
            Err(status::log(Status::unimplemented("bundles are not fetched from their endpoints yet; use bundle set")))
        };
        refreshing.instrument(span_of(&text)).await
    }
}

impl Service {
    async fn stored(&self, trust_domain: &spiffe::TrustDomain) -> Result<Option<FederationRelationship>, Error> {
        self.0.store.fetch_federation_relationship(trust_domain.name()).await
    }

    async fn create(&self, relationship: types::FederationRelationship) -> Result<FederationRelationship, Status> {
        let relationship = sent(relationship).map_err(|error| status::invalid(NOT_CONVERTED, error))?;
        if relationship.trust_domain == self.0.trust_domain.name() {
            return Err(status::invalid_argument("unable to create federation relationship for server trust domain"));
        }
        let created = self.0.store.write(CreateFederationRelationship(relationship.clone())).await;
        created.map_err(|error| status::internal("failed to create federation relationship", error))?;
        self.warn_of_unknown_endpoint(&relationship).await;
        debug!(target: "api", "Federation relationship created");
        Ok(relationship)
    }

    /// All of the relationship is looked at, also what the mask leaves out, as in the reference.
    async fn update(
        &self,
        relationship: types::FederationRelationship,
        mask: Option<&types::FederationRelationshipMask>,
    ) -> Result<FederationRelationship, Status> {
        let relationship = sent(relationship).map_err(|error| status::invalid(NOT_CONVERTED, error))?;
        let update = UpdateFederationRelationship { relationship, mask: fields_of(mask) };
        let updated = self.0.store.write(update).await;
        let updated = updated.map_err(|error| status::internal("failed to update federation relationship", error))?;
        self.warn_of_unknown_endpoint(&updated).await;
        debug!(target: "api", "Federation relationship updated");
        Ok(updated)
    }

    /// The trust domain as it was understood, else as it was sent.
    async fn delete(&self, text: &str) -> (String, Result<(), Status>) {
        if text.is_empty() {
            return (String::new(), Err(status::invalid_argument("missing trust domain")));
        }
        let trust_domain = match named(text) {
            Ok(trust_domain) => trust_domain.name().to_owned(),
            Err(refusal) => return (text.to_owned(), Err(refusal)),
        };
        let deleted = self.0.store.write(DeleteFederationRelationship { trust_domain: trust_domain.clone() }).await;
        let deleted = deleted.map_err(|error| match error {
            Error::NotFound => status::not_found("federation relationship not found"),
            error => status::internal("failed to delete federation relationship", error),
        });
        if deleted.is_ok() {
            debug!(target: "api", "Federation relationship deleted");
        }
        (trust_domain, deleted)
    }

    /// An endpoint that shows an X509-SVID can be believed once the bundle of its trust domain is there.
    async fn warn_of_unknown_endpoint(&self, relationship: &FederationRelationship) {
        let BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id } = &relationship.bundle_endpoint_profile else {
            return;
        };
        let Ok(endpoint) = SpiffeId::parse(endpoint_spiffe_id) else { return };
        let bundle = self.0.store.fetch_bundle(endpoint.trust_domain().id().as_str()).await;
        match bundle {
            Ok(Some(_)) => {}
            Ok(None) => {
                warn!(target: "api", endpoint_spiffe_id, "bundle not found for the endpoint SPIFFE ID trust domain");
            }
            Err(error) => {
                warn!(target: "api", %error, endpoint_spiffe_id, "failed to check whether a bundle exists for the endpoint SPIFFE ID trust domain");
            }
        }
    }
}

fn named(text: &str) -> Result<spiffe::TrustDomain, Status> {
    spiffe::TrustDomain::parse(text).map_err(|error| status::invalid("failed to parse trust domain", error))
}

fn audit_of(
    call: &Call,
    relationship: &types::FederationRelationship,
    mask: Option<&types::FederationRelationshipMask>,
) -> Fields {
    if call.audit_is_on() { audited::federation_relationship(relationship, fields_of(mask)) } else { Fields::new() }
}

/// Names the trust domain in what is logged of an item.
fn span_of(trust_domain: &str) -> Span {
    error_span!(target: "api", "relationship", trust_domain_id = trust_domain)
}

const NOT_CONVERTED: &str = "failed to convert federation relationship";
