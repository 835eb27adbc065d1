//! `spire.api.server.bundle.v1.Bundle`: the own bundle, and those of foreign trust domains that operators bring by hand.

pub(super) mod convert;

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use steeple_datastore::bundles::{AppendBundle, CreateBundle, DeleteBundle, DeleteMode, SetBundle, UpdateBundle};
use steeple_datastore::{Bundle as Stored, Error, Page};
use steeple_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use steeple_proto::spire::api::server::bundle::v1::bundle_server::{Bundle, BundleServer};
use steeple_proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
    BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse, BatchSetFederatedBundleRequest,
    BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse,
    CountBundlesRequest, CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest, ListFederatedBundlesResponse, PublishJwtAuthorityRequest, PublishJwtAuthorityResponse,
    PublishWitAuthorityRequest, PublishWitAuthorityResponse, batch_create_federated_bundle_response,
    batch_delete_federated_bundle_response, batch_set_federated_bundle_response,
    batch_update_federated_bundle_response,
};
use steeple_proto::spire::api::types;
use steeple_runtime::logging::Value;
use steeple_spiffe::TrustDomain;
use steeple_transport::rpc::{Call, Fields};
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, error_span, info};

use super::{AT_ONCE, Parts, audited, status};
use crate::entries::api_bundle;
use convert::{fields_of, jwt_key, masked, own_root, stored};

struct Service(Parts);

/// How long a bundle is waited for that is in memory as well.
const FETCHING: Duration = Duration::from_secs(2);

/// A foreign bundle that a caller sent, as others would see it once it is stored: a door of the fuzz target, which no other
/// build has.
///
/// # Errors
/// The bundle is refused.
#[cfg(fuzzing)]
pub fn taken(bundle: types::Bundle, trust_domain: &steeple_spiffe::TrustDomain) -> Result<types::Bundle, String> {
    let stored = convert::stored(trust_domain, bundle).map_err(|error| error.to_string())?;
    Ok(crate::entries::api_bundle(&stored))
}

/// The service.
pub(crate) fn service(parts: Parts) -> BundleServer<impl Bundle> {
    BundleServer::new(Service(parts))
}

#[tonic::async_trait]
impl Bundle for Service {
    async fn count_bundles(&self, _: Request<CountBundlesRequest>) -> Result<Response<CountBundlesResponse>, Status> {
        let count = self.0.store.count_bundles().await;
        let count = count.map_err(|error| status::internal("failed to count bundles", error))?;
        Ok(Response::new(CountBundlesResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let call = Call::of(&request)?;
        call.audit("trust_domain_id", self.0.trust_domain.name());
        self.fetch(&self.0.trust_domain, request.get_ref().output_mask).await
    }

    async fn append_bundle(&self, request: Request<AppendBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let call = Call::of(&request)?;
        let AppendBundleRequest { x509_authorities, jwt_authorities, output_mask, wit_authorities: _ } =
            request.into_inner();
        call.audit_fields(|| audited::authorities(&x509_authorities, &jwt_authorities));
        if x509_authorities.is_empty() && jwt_authorities.is_empty() {
            return Err(status::invalid_argument("no authorities to append"));
        }
        let keys = jwt_authorities.into_iter().map(jwt_key).collect::<Result<_, _>>();
        let keys = keys.map_err(|error| status::invalid("failed to convert JWT authority", error))?;
        let roots = x509_authorities.into_iter().map(own_root).collect::<Result<_, _>>();
        let roots = roots.map_err(|error| status::invalid("failed to convert X.509 authority", error))?;
        let more = Stored { root_cas: roots, jwt_signing_keys: keys, ..self.own() };
        let bundle = self.0.store.write(AppendBundle(more)).await;
        let bundle = bundle.map_err(|error| status::internal("failed to append bundle", error))?;
        Ok(Response::new(masked(api_bundle(&bundle), output_mask.as_ref())))
    }

    /// Without an upstream authority, the keys of servers below this one are published here.
    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        let call = Call::of(&request)?;
        call.admit(1).await?;
        let key =
            request.into_inner().jwt_authority.ok_or_else(|| status::invalid_argument("missing JWT authority"))?;
        call.audit_fields(|| audited::jwt_authority("", &key).into());
        let key = jwt_key(key).map_err(|error| status::invalid("invalid JWT authority", error))?;
        let more = Stored { jwt_signing_keys: vec![key], ..self.own() };
        let bundle = self.0.store.write(AppendBundle(more)).await;
        let bundle = bundle.map_err(|error| status::internal("failed to publish JWT key", error))?;
        Ok(Response::new(PublishJwtAuthorityResponse { jwt_authorities: api_bundle(&bundle).jwt_authorities }))
    }

    async fn publish_wit_authority(
        &self,
        _: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        Err(status::log(Status::unimplemented("WIT-SVID functionality is not yet implemented")))
    }

    /// The own bundle is left out of a page that has been cut, as in the reference: a page may be empty and yet not the
    /// last one, which its token tells.
    async fn list_federated_bundles(
        &self,
        request: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        let ListFederatedBundlesRequest { output_mask, page_size, page_token } = request.into_inner();
        let page = Page { size: u32::try_from(page_size).unwrap_or(0), token: page_token };
        let listing = self.0.store.list_bundles(&page).await;
        let listing = listing.map_err(|error| status::internal("failed to list bundles", error))?;
        let own = self.0.trust_domain.id().to_string();
        let federated = listing.rows.iter().filter(|bundle| bundle.trust_domain_id != own);
        let bundles = federated.map(|bundle| masked(api_bundle(bundle), output_mask.as_ref())).collect();
        Ok(Response::new(ListFederatedBundlesResponse { bundles, next_page_token: listing.next_page_token }))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let call = Call::of(&request)?;
        let GetFederatedBundleRequest { trust_domain, output_mask } = request.into_inner();
        call.audit("trust_domain_id", &trust_domain);
        let span = named(&trust_domain);
        async { self.fetch(&self.foreign(&trust_domain, GETTING)?, output_mask).await }.instrument(span).await
    }

    /// Here and below: many items at once, so that they share commits; they reach the store in the order of the request.
    async fn batch_create_federated_bundle(
        &self,
        request: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchCreateFederatedBundleRequest { bundle, output_mask } = request.into_inner();
        let results = stream::iter(bundle).map(async |bundle| {
            let fields = if call.audit_is_on() { audited::bundle(&bundle) } else { Fields::new() };
            let span = named(&bundle.trust_domain);
            let (status, bundle) = status::item_of(self.create(bundle).instrument(span).await);
            call.audit_item(&status, fields);
            let bundle = bundle.map(|bundle| masked(api_bundle(&bundle), output_mask.as_ref()));
            batch_create_federated_bundle_response::Result { status: Some(status), bundle }
        });
        Ok(Response::new(BatchCreateFederatedBundleResponse { results: results.buffered(AT_ONCE).collect().await }))
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchUpdateFederatedBundleRequest { bundle, input_mask, output_mask } = request.into_inner();
        let results = stream::iter(bundle).map(async |bundle| {
            let fields = if call.audit_is_on() { audited::bundle(&bundle) } else { Fields::new() };
            let span = named(&bundle.trust_domain);
            let (status, bundle) = status::item_of(self.update(bundle, input_mask).instrument(span).await);
            call.audit_item(&status, fields);
            let bundle = bundle.map(|bundle| masked(api_bundle(&bundle), output_mask.as_ref()));
            batch_update_federated_bundle_response::Result { status: Some(status), bundle }
        });
        Ok(Response::new(BatchUpdateFederatedBundleResponse { results: results.buffered(AT_ONCE).collect().await }))
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchSetFederatedBundleRequest { bundle, output_mask } = request.into_inner();
        let results = stream::iter(bundle).map(async |bundle| {
            let fields = if call.audit_is_on() { audited::bundle(&bundle) } else { Fields::new() };
            let span = named(&bundle.trust_domain);
            let (status, bundle) = status::item_of(self.set(bundle).instrument(span).await);
            call.audit_item(&status, fields);
            let bundle = bundle.map(|bundle| masked(api_bundle(&bundle), output_mask.as_ref()));
            batch_set_federated_bundle_response::Result { status: Some(status), bundle }
        });
        Ok(Response::new(BatchSetFederatedBundleResponse { results: results.buffered(AT_ONCE).collect().await }))
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        let call = Call::of(&request)?;
        let BatchDeleteFederatedBundleRequest { trust_domains, mode } = request.into_inner();
        let Ok(asked) = Mode::try_from(mode) else {
            let unknown = format!("unhandled delete mode \"{mode}\"");
            return Err(status::invalid("failed to parse deletion mode", unknown));
        };
        let mode = match asked {
            Mode::Restrict => DeleteMode::Restrict,
            Mode::Delete => DeleteMode::Delete,
            Mode::Dissociate => DeleteMode::Dissociate,
        };
        let told = asked.as_str_name();
        let results = stream::iter(trust_domains).map(async |trust_domain| {
            let deleting = named(&trust_domain)
                .in_scope(|| error_span!(target: "api", "deletion", delete_federated_bundle_mode = told));
            let deleted = self.delete(&trust_domain, mode).instrument(deleting).await;
            let status = status::item(&deleted);
            let mode = Value::Named(asked.into(), told);
            let fields = [audited::field("trust_domain_id", &trust_domain), audited::field("mode", mode)];
            call.audit_item(&status, fields.into());
            batch_delete_federated_bundle_response::Result { status: Some(status), trust_domain }
        });
        Ok(Response::new(BatchDeleteFederatedBundleResponse { results: results.buffered(AT_ONCE).collect().await }))
    }
}

impl Service {
    /// The own bundle without authorities: what is appended to it goes in there.
    fn own(&self) -> Stored {
        Stored { trust_domain_id: self.0.trust_domain.id().to_string(), ..Stored::default() }
    }

    async fn fetch(
        &self,
        trust_domain: &TrustDomain,
        mask: Option<types::BundleMask>,
    ) -> Result<Response<types::Bundle>, Status> {
        let bundle = match self.stored(trust_domain).await {
            Ok(stored) => stored.map(|stored| api_bundle(&stored)),
            Err(error) if error.is_away() => {
                self.0.freshness.check()?;
                self.0.index.bundle(trust_domain.name()).map(|bundle| bundle.api.clone())
            }
            Err(error) => return Err(status::internal("failed to fetch bundle", error)),
        };
        let bundle = bundle.ok_or_else(|| status::not_found(NOT_FOUND))?;
        Ok(Response::new(masked(bundle, mask.as_ref())))
    }

    /// As it is stored, so that whoever has changed it sees that; but nobody waits for a database that is away.
    async fn stored(&self, trust_domain: &TrustDomain) -> Result<Option<Stored>, Error> {
        let id = trust_domain.id();
        self.0.freshness.ask_within(FETCHING, self.0.store.fetch_bundle(id.as_str()).boxed()).await
    }

    /// A trust domain other than the own one, by its name or by an ID in it.
    fn foreign(&self, text: &str, own: &str) -> Result<TrustDomain, Status> {
        let trust_domain =
            TrustDomain::parse(text).map_err(|error| status::invalid("trust domain argument is not valid", error))?;
        if trust_domain == self.0.trust_domain {
            return Err(status::invalid_argument(own));
        }
        Ok(trust_domain)
    }

    /// The bundle of a foreign trust domain that a caller sent, checked.
    fn sent(&self, bundle: types::Bundle, own: &str) -> Result<Stored, Status> {
        let trust_domain = self.foreign(&bundle.trust_domain, own)?;
        stored(&trust_domain, bundle).map_err(|error| status::invalid("failed to convert bundle", error))
    }

    async fn create(&self, bundle: types::Bundle) -> Result<Stored, Status> {
        let bundle = self.sent(bundle, CREATING)?;
        match self.0.store.write(CreateBundle(bundle.clone())).await {
            Ok(()) => Ok(bundle),
            Err(Error::Constraint(_)) => Err(status::log(Status::already_exists("bundle already exists"))),
            Err(error) => Err(status::internal("unable to create bundle", error)),
        }
    }

    async fn update(&self, bundle: types::Bundle, mask: Option<types::BundleMask>) -> Result<Stored, Status> {
        let bundle = self.sent(bundle, UPDATING)?;
        match self.0.store.write(UpdateBundle { bundle, mask: fields_of(mask) }).await {
            Ok(bundle) => Ok(bundle),
            Err(Error::NotFound) => Err(status::not_found(NOT_FOUND)),
            Err(error) => Err(status::internal("failed to update bundle", error)),
        }
    }

    async fn set(&self, bundle: types::Bundle) -> Result<Stored, Status> {
        let bundle = self.sent(bundle, SETTING)?;
        match self.0.store.write(SetBundle(bundle.clone())).await {
            Ok(()) => {
                info!(target: "api", "Bundle set successfully");
                Ok(bundle)
            }
            Err(error) => Err(status::internal("failed to set bundle", error)),
        }
    }

    async fn delete(&self, text: &str, mode: DeleteMode) -> Result<(), Status> {
        let trust_domain = self.foreign(text, REMOVING)?.id().to_string();
        match self.0.store.write(DeleteBundle { trust_domain, mode }).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound) => Err(status::not_found(NOT_FOUND)),
            Err(error) => Err(status::datastore("failed to delete federated bundle", &error)),
        }
    }
}

/// Names the trust domain in what is logged of an item.
fn named(trust_domain: &str) -> Span {
    error_span!(target: "api", "bundle", trust_domain_id = trust_domain)
}

const NOT_FOUND: &str = "bundle not found";
const GETTING: &str = "getting a federated bundle for the server's own trust domain is not allowed";
const CREATING: &str = "creating a federated bundle for the server's own trust domain is not allowed";
const UPDATING: &str = "updating a federated bundle for the server's own trust domain is not allowed";
const SETTING: &str = "setting a federated bundle for the server's own trust domain is not allowed";
const REMOVING: &str = "removing the bundle for the server trust domain is not allowed";
