//! `spire.api.server.svid.v1.SVID`

mod wit;

use futures::StreamExt;
use futures::stream;
use steeple_pki::CertificateRequest;
use steeple_proto::spire::api::server::svid::v1::svid_server::{Svid, SvidServer};
use steeple_proto::spire::api::server::svid::v1::{
    BatchNewWitsvidRequest, BatchNewWitsvidResponse, BatchNewX509svidRequest, BatchNewX509svidResponse,
    MintJwtsvidRequest, MintJwtsvidResponse, MintWitsvidRequest, MintWitsvidResponse, MintX509svidRequest,
    MintX509svidResponse, NewDownstreamX509caRequest, NewDownstreamX509caResponse, NewJwtsvidRequest,
    NewJwtsvidResponse, NewX509svidParams, batch_new_witsvid_response, batch_new_x509svid_response,
};
use steeple_proto::spire::api::types;
use steeple_runtime::clock::{from_unix_seconds, rfc3339};
use steeple_runtime::logging::with_fields;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::Certificate;
use steeple_transport::connection::{Connection, Local, Remote};
use steeple_transport::id::on_wire;
use steeple_transport::rpc::{Call, Turn};
use tonic::{Request, Response, Status};
use tracing::{Level, debug, enabled};

use super::{Parts, audited, ids, status};
use crate::ca::CaError;
use crate::ca::sign::{SignedJwt, WorkloadJwt, WorkloadX509, expires_at, ttl_of};
use crate::dns_name;
use crate::entries::Terms;
use crate::inventory::Ground;

/// Signatures of one batch that are under way at a time.
const IN_FLIGHT: usize = 32;

struct Service(Parts);

/// The service.
pub(crate) fn service(parts: Parts) -> SvidServer<impl Svid> {
    SvidServer::new(Service(parts))
}

#[tonic::async_trait]
impl Svid for Service {
    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let call = Call::of(&request)?;
        let MintX509svidRequest { csr, ttl } = request.into_inner();
        call.audit_fields(|| vec![audited::request(&csr), audited::field("ttl", ttl)]);
        if csr.is_empty() {
            return Err(status::invalid_argument("missing CSR"));
        }
        let csr = parse_csr(&csr, "failed to verify CSR signature")?;
        let id = self.requested_id(&csr)?;
        for name in &csr.dns_sans {
            dns_name::check(name).map_err(|error| status::invalid("CSR DNS name is invalid", error))?;
        }
        dns_name::check_overlap(&csr.dns_sans).map_err(|error| {
            status::invalid("CSR DNS name contains a wildcard that covers another non-wildcard name", error)
        })?;
        let subject = (!csr.subject.is_empty()).then(|| csr.subject.to_subject().without_extra());
        let params =
            WorkloadX509 { id: &id, public_key: &csr.public_key, ttl: ttl_of(ttl), dns_names: &csr.dns_sans, subject };
        let chain = self.0.ca.sign_workload(params, Ground::Mint(&caller(&call))).await;
        let chain = chain.map_err(|error| status::internal("failed to sign X509-SVID", error))?;
        if let Some(leaf) = chain.first() {
            let subject = enabled!(target: "api", Level::DEBUG).then(|| audited::subject(&csr.subject));
            with_fields(subject.into_iter().collect(), || {
                debug!(
                    target: "api",
                    spiffe_id = %id,
                    expiration = rfc3339(leaf.not_after()),
                    serial_num = leaf.serial_decimal(),
                    dns_name = csr.dns_sans.join(","),
                    "Signed X509 SVID"
                );
            });
        }
        call.audit("spiffe_id", id.as_str());
        call.audit_fields(|| audited::minted(&csr, &chain));
        Ok(Response::new(MintX509svidResponse { svid: Some(x509_svid(&id, &chain)) }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        let call = Call::of(&request)?;
        self.check_jwt()?;
        let MintJwtsvidRequest { id, audience, ttl } = request.into_inner();
        call.audit("ttl", ttl);
        let id = ids::workload(id.as_ref(), &self.0.trust_domain)
            .map_err(|error| status::invalid("invalid SPIFFE ID", error))?;
        call.audit("spiffe_id", id.as_str());
        call.audit("audience", audience.join(","));
        let params = WorkloadJwt { id: &id, audience: &audience, ttl: ttl_of(ttl), include_jti: false };
        let svid = self.jwt_svid(params, Ground::Mint(&caller(&call))).await?;
        Ok(Response::new(MintJwtsvidResponse { svid: Some(svid) }))
    }

    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        let call = Call::of(&request)?;
        let agent = call.agent()?;
        let (params, _turn) = admitted(&call, request.into_inner().params).await?;
        // In the order of the request, whichever signature is ready first.
        let results = stream::iter(params)
            .map(async |params| (audited::x509_request(&call, &params), self.new_x509_svid(agent, params).await))
            .buffered(IN_FLIGHT)
            .map(|(mut fields, result)| {
                let (status, svid) = status::item_of(result);
                fields.extend(svid.as_ref().map(audited::x509_svid).into_iter().flatten());
                call.audit_item(&status, fields);
                batch_new_x509svid_response::Result { status: Some(status), svid }
            })
            .collect()
            .await;
        Ok(Response::new(BatchNewX509svidResponse { results }))
    }

    /// What else a request says is not asked: an authority has the name of the one above it.
    async fn new_downstream_x509ca(
        &self,
        request: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        let call = Call::of(&request)?;
        let NewDownstreamX509caRequest { csr, preferred_ttl } = request.into_inner();
        let Parts { trust_domain, store, ca, .. } = &self.0;
        call.audit_fields(|| {
            vec![audited::request(&csr), audited::field("trust_domain_id", trust_domain.id().as_str())]
        });
        call.admit(1).await?;
        let _turn = call.turn_to_store().await?;
        let csr = parse_csr(&csr, "invalid CSR signature")?;
        let (ttl, caller) = (ttl_of(preferred_ttl), caller(&call));
        let chain = ca.sign_downstream(trust_domain, &csr.public_key, ttl, Ground::Downstream(&caller)).await;
        let chain = chain.map_err(|error| status::internal("failed to sign downstream X.509 CA", error))?;
        if let Some(authority) = chain.first() {
            debug!(
                target: "api",
                spiffe_id = %trust_domain.id(),
                expiration = rfc3339(authority.not_after()),
                "Signed X509 CA SVID"
            );
        }
        // As it is stored: what the server below publishes must hold the root that this chain ends at.
        let bundle = store.fetch_bundle(trust_domain.id().as_str()).await;
        let bundle = bundle.map_err(|error| status::datastore("failed to fetch bundle", &error))?;
        let bundle = bundle.ok_or_else(|| status::not_found("bundle not found"))?;
        call.audit_fields(|| vec![audited::moment("expires_at", expires_at(&chain))]);
        Ok(Response::new(NewDownstreamX509caResponse {
            ca_cert_chain: ders(&chain),
            x509_authorities: bundle.root_cas.into_iter().map(|root| root.der_bytes).collect(),
        }))
    }

    async fn new_jwtsvid(&self, request: Request<NewJwtsvidRequest>) -> Result<Response<NewJwtsvidResponse>, Status> {
        let call = Call::of(&request)?;
        let agent = call.agent()?;
        let NewJwtsvidRequest { entry_id, audience } = request.into_inner();
        call.audit("entry_id", &entry_id);
        call.audit("audience", audience.join(","));
        call.admit(1).await?;
        let _turn = call.turn().await?;
        self.check_jwt()?;
        // The entry before the audience, as in the reference: an empty request finds no entry.
        let (id, terms) = self.authorized_entry(agent, &entry_id)?;
        call.audit("spiffe_id", id.as_str());
        call.audit("ttl", terms.jwt_svid_ttl);
        let params = WorkloadJwt {
            id: &id,
            audience: &audience,
            ttl: ttl_of(terms.jwt_svid_ttl),
            include_jti: terms.additional_attributes.is_some_and(|attributes| attributes.jwt_svid_include_jti),
        };
        let svid = self.jwt_svid(params, Ground::Entry { agent, entry_id: &entry_id }).await?;
        Ok(Response::new(NewJwtsvidResponse { svid: Some(svid) }))
    }

    async fn mint_witsvid(
        &self,
        request: Request<MintWitsvidRequest>,
    ) -> Result<Response<MintWitsvidResponse>, Status> {
        let call = Call::of(&request)?;
        self.check_wit()?;
        let svid = self.mint_wit_svid(&call, request.into_inner()).await?;
        Ok(Response::new(MintWitsvidResponse { svid: Some(svid) }))
    }

    /// Where no WIT-SVIDs are signed each item is refused, but the call is not, as in the reference.
    async fn batch_new_witsvid(
        &self,
        request: Request<BatchNewWitsvidRequest>,
    ) -> Result<Response<BatchNewWitsvidResponse>, Status> {
        let call = Call::of(&request)?;
        let agent = call.agent()?;
        let (params, _turn) = admitted(&call, request.into_inner().params).await?;
        let results = stream::iter(params)
            .map(|params| self.new_wit_svid(agent, params))
            .buffered(IN_FLIGHT)
            .map(|(fields, made)| {
                let (status, svid) = status::item_of(made);
                call.audit_item(&status, fields);
                // The reference's agents are used to an item that went well without a status.
                batch_new_witsvid_response::Result { status: svid.is_none().then_some(status), svid }
            })
            .collect()
            .await;
        Ok(Response::new(BatchNewWitsvidResponse { results }))
    }
}

impl Service {
    fn check_jwt(&self) -> Result<(), Status> {
        if self.0.ca.signs_jwt() {
            return Ok(());
        }
        Err(status::log(Status::unimplemented("JWT functionality is disabled")))
    }

    async fn new_x509_svid(&self, agent: &SpiffeId, params: NewX509svidParams) -> Result<types::X509svid, Status> {
        let NewX509svidParams { entry_id, csr } = params;
        if entry_id.is_empty() {
            return Err(status::invalid_argument("missing entry ID"));
        }
        if csr.is_empty() {
            return Err(status::invalid_argument("missing CSR"));
        }
        let (id, terms) = self.authorized_entry(agent, &entry_id)?;
        let csr = parse_csr(&csr, "invalid CSR signature")?;
        let params = WorkloadX509 {
            id: &id,
            public_key: &csr.public_key,
            ttl: ttl_of(terms.x509_svid_ttl),
            dns_names: &terms.dns_names,
            subject: None,
        };
        let chain = self.0.ca.sign_workload(params, Ground::Entry { agent, entry_id: &entry_id }).await;
        let chain = chain.map_err(|error| status::internal("failed to sign X509-SVID", error))?;
        if let Some(leaf) = chain.first() {
            debug!(
                target: "api",
                entry_id,
                spiffe_id = %id,
                revision_number = terms.revision_number,
                expiration = rfc3339(leaf.not_after()),
                serial_num = leaf.serial_decimal(),
                "Signed X509 SVID"
            );
        }
        Ok(x509_svid(&id, &chain))
    }

    async fn jwt_svid(&self, params: WorkloadJwt<'_>, ground: Ground<'_>) -> Result<types::Jwtsvid, Status> {
        if params.audience.is_empty() {
            return Err(status::invalid_argument("at least one audience is required"));
        }
        let (id, audience) = (params.id, params.audience);
        let signed = self.0.ca.sign_jwt(params, ground).await;
        let SignedJwt { token, issued_at, expires_at } =
            signed.map_err(|error: CaError| status::internal("failed to sign JWT-SVID", error))?;
        if enabled!(target: "api", Level::DEBUG) {
            with_fields(vec![audited::field("audience", audience.to_vec())], || {
                let expiration = rfc3339(from_unix_seconds(expires_at));
                debug!(target: "api", spiffe_id = %id, expiration, "Server CA successfully signed JWT SVID");
            });
        }
        let id = on_wire(id);
        Ok(types::Jwtsvid { token, id: Some(id), expires_at, issued_at, hint: String::new() })
    }

    /// The identity that an entry gives, if the agent may have it, and on what terms.
    fn authorized_entry(&self, agent: &SpiffeId, entry_id: &str) -> Result<(SpiffeId, Terms), Status> {
        let entry = self.0.index.authorized_entry(agent.as_str(), entry_id);
        let entry = entry.ok_or_else(|| status::not_found("entry not found or not authorized"))?;
        let id = SpiffeId::parse(&entry.spiffe_id);
        let id = id.map_err(|error| status::internal("entry has malformed SPIFFE ID", error))?;
        let terms = entry.terms().map_err(|error| status::internal("entry cannot be decoded", error))?;
        Ok((id, terms))
    }

    fn requested_id(&self, csr: &CertificateRequest) -> Result<SpiffeId, Status> {
        let [uri] = &csr.uri_sans[..] else {
            return Err(status::invalid_argument(if csr.uri_sans.is_empty() {
                "CSR URI SAN is required"
            } else {
                "only one URI SAN is expected"
            }));
        };
        let id = SpiffeId::parse(uri).map_err(|error| status::invalid("CSR URI SAN is invalid", error))?;
        ids::workload_id(&id, &self.0.trust_domain)
            .map_err(|error| status::invalid("CSR URI SAN is invalid", error))?;
        Ok(id)
    }
}

/// Who calls, as the inventory names it.
fn caller(call: &Call) -> String {
    match &*call.connection {
        Connection::Remote(Remote { svid: Some(svid), .. }) => svid.id.to_string(),
        Connection::Remote(Remote { svid: None, address }) => address.ip().to_string(),
        Connection::Local(Local { peer: Some(peer) }) => format!("uid:{}", peer.uid),
        Connection::Local(Local { peer: None }) => "local".to_owned(),
    }
}

/// The items of a batch, of which there is one at least, and the turn to work on them.
async fn admitted<T>(call: &Call, params: Vec<T>) -> Result<(Vec<T>, Turn), Status> {
    if params.is_empty() {
        return Err(status::invalid_argument("missing parameters"));
    }
    call.admit(u32::try_from(params.len()).unwrap_or(u32::MAX)).await?;
    Ok((params, call.turn().await?))
}

/// The reference tells a malformed request from one whose signature is not its key's.
fn parse_csr(der: &[u8], bad_signature: &str) -> Result<CertificateRequest, Status> {
    CertificateRequest::parse_and_verify(der).map_err(|error| match error {
        steeple_pki::PkiError::RequestSignature(error) => status::invalid(bad_signature, error),
        other => status::invalid("malformed CSR", other),
    })
}

/// A chain as the APIs deliver it.
pub(super) fn x509_svid(id: &SpiffeId, chain: &[Certificate]) -> types::X509svid {
    types::X509svid {
        cert_chain: ders(chain),
        id: Some(on_wire(id)),
        expires_at: expires_at(chain),
        hint: String::new(),
    }
}

fn ders(chain: &[Certificate]) -> Vec<Vec<u8>> {
    chain.iter().map(|certificate| certificate.der().to_vec()).collect()
}
