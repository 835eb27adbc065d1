//! The services of an agent's server.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, stream};
use prost::Message;
use steeple_pki::CertificateRequest;
use steeple_proto::spire::api::server::agent::v1::agent_server::{Agent, AgentServer};
use steeple_proto::spire::api::server::agent::v1::attest_agent_request::Step as Asked;
use steeple_proto::spire::api::server::agent::v1::attest_agent_response::{Result as Attested, Step as Answered};
use steeple_proto::spire::api::server::agent::v1::{
    AttestAgentRequest, AttestAgentResponse, PostStatusRequest, PostStatusResponse, RenewAgentRequest,
    RenewAgentResponse,
};
use steeple_proto::spire::api::server::bundle::v1::bundle_server::{Bundle, BundleServer};
use steeple_proto::spire::api::server::bundle::v1::{GetBundleRequest, GetFederatedBundleRequest};
use steeple_proto::spire::api::server::entry::v1::entry_server::{Entry, EntryServer};
use steeple_proto::spire::api::server::entry::v1::{
    EntryRevision, GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, SyncAuthorizedEntriesRequest,
    SyncAuthorizedEntriesResponse,
};
use steeple_proto::spire::api::server::svid::v1::svid_server::{Svid, SvidServer};
use steeple_proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, BatchNewX509svidResponse, NewJwtsvidRequest, NewJwtsvidResponse,
    batch_new_x509svid_response,
};
use steeple_proto::spire::api::types;
use steeple_proto::steeple::agent::sync::v1::sync_server::SyncServer;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::connection::Connection;
use steeple_transport::id::on_wire;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, follow};
use crate::ca;

/// Certificates begin so much before they are made.
const BACKDATE: Duration = Duration::from_secs(10);

/// All services.
pub(super) fn routes(shared: &Arc<Shared>) -> Routes {
    let service = || Service(Arc::clone(shared));
    let mut routes = Routes::builder();
    routes
        .add_service(AgentServer::new(service()))
        .add_service(BundleServer::new(service()))
        .add_service(EntryServer::new(service()))
        .add_service(SvidServer::new(service()))
        .add_service(SyncServer::new(follow::Service(Arc::clone(shared))));
    routes.routes()
}

struct Service(Arc<Shared>);

#[tonic::async_trait]
impl Agent for Service {
    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<BoxStream<AttestAgentResponse>>, Status> {
        let mut asked = request.into_inner();
        let Some(AttestAgentRequest { step: Some(Asked::Params(params)) }) = asked.message().await? else {
            return Err(Status::invalid_argument("malformed param: missing params"));
        };
        let (data, csr) = (params.data.unwrap_or_default(), params.params.unwrap_or_default().csr);
        let name = String::from_utf8_lossy(&data.payload).into_owned();
        let (challenges, reattestable) = {
            let key = parse(&csr)?.public_key.spki_der().to_vec();
            let mut script = self.0.script();
            if data.r#type == "join_token" {
                if script.join_tokens.remove(&name) {
                    script.used_tokens.insert(name.clone(), key);
                } else if script.used_tokens.get(&name) != Some(&key) {
                    let refusal = "failed to attest: join token does not exist or has already been used";
                    return Err(Status::invalid_argument(refusal));
                }
            }
            (script.challenges.clone(), script.reattestable)
        };
        let svid = self.agent_svid(&self.0.ca().id(&format!("/spire/agent/{}/{name}", data.r#type)), &csr)?;
        let shared = Arc::clone(&self.0);
        let (answers, stream) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let answer = |step| AttestAgentResponse { step: Some(step) };
            for challenge in challenges {
                // The agent may be gone, which ends the stream.
                let _ = answers.send(Ok(answer(Answered::Challenge(challenge)))).await;
                let Some(Ok(AttestAgentRequest { step: Some(Asked::ChallengeResponse(response)) })) =
                    asked.next().await
                else {
                    return;
                };
                shared.see(|seen| seen.responses.push(response));
            }
            let _ = answers.send(Ok(answer(Answered::Result(Attested { svid: Some(svid), reattestable })))).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn renew_agent(&self, request: Request<RenewAgentRequest>) -> Result<Response<RenewAgentResponse>, Status> {
        let id = caller(&request)?;
        let csr = request.into_inner().params.unwrap_or_default().csr;
        Ok(Response::new(RenewAgentResponse { svid: Some(self.agent_svid(&id, &csr)?) }))
    }

    async fn post_status(&self, request: Request<PostStatusRequest>) -> Result<Response<PostStatusResponse>, Status> {
        caller(&request)?;
        self.0.see(|seen| seen.versions.push(request.into_inner().agent_version));
        Ok(Response::new(PostStatusResponse {}))
    }
}

#[tonic::async_trait]
impl Bundle for Service {
    async fn get_bundle(&self, _: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        Ok(Response::new(self.0.script().bundle.clone()))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let bundle = self.0.script().federated.get(&request.get_ref().trust_domain).cloned();
        bundle.map(Response::new).ok_or_else(|| Status::not_found("bundle not found"))
    }
}

#[tonic::async_trait]
impl Entry for Service {
    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        caller(&request)?;
        Ok(Response::new(GetAuthorizedEntriesResponse { entries: encoded(&self.0.script().entries) }))
    }

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<BoxStream<SyncAuthorizedEntriesResponse>>, Status> {
        caller(&request)?;
        let mut asked = request.into_inner();
        asked.message().await?;
        let (entries, page) = {
            let script = self.0.script();
            (script.entries.clone(), script.page)
        };
        if entries.len() <= page {
            let whole = SyncAuthorizedEntriesResponse {
                entries: encoded(&entries),
                ..SyncAuthorizedEntriesResponse::default()
            };
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(whole)))));
        }
        let revisions: Vec<_> = entries
            .iter()
            .map(|entry| EntryRevision {
                id: entry.id.clone(),
                revision_number: entry.revision_number,
                created_at: entry.created_at,
            })
            .collect();
        let listed = pages(&revisions, page).into_iter().map(|(entry_revisions, more)| SyncAuthorizedEntriesResponse {
            entry_revisions,
            more,
            ..SyncAuthorizedEntriesResponse::default()
        });
        let listed = stream::iter(listed.map(Ok).collect::<Vec<_>>());
        let shared = Arc::clone(&self.0);
        let wanted = asked.flat_map(move |request| {
            let answers = match request {
                Err(status) => vec![Err(status)],
                Ok(request) => {
                    let ids = request.ids;
                    let found: Vec<_> = entries.iter().filter(|entry| ids.contains(&entry.id)).cloned().collect();
                    shared.see(|seen| seen.wanted.push(ids));
                    let answer = |(entries, more): (Vec<_>, _)| SyncAuthorizedEntriesResponse {
                        entries: encoded(&entries),
                        more,
                        ..SyncAuthorizedEntriesResponse::default()
                    };
                    pages(&found, page).into_iter().map(answer).map(Ok).collect()
                }
            };
            stream::iter(answers)
        });
        Ok(Response::new(Box::pin(listed.chain(wanted))))
    }
}

#[tonic::async_trait]
impl Svid for Service {
    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        caller(&request)?;
        let ttl = self.0.script().x509_ttl;
        let results = request.into_inner().params.into_iter().map(|params| {
            let svid = self.entry_id(&params.entry_id).and_then(|id| self.certify(&id, &params.csr, ttl));
            if svid.is_ok() {
                self.0.see(|seen| seen.minted.push(params.entry_id));
            }
            let status = match &svid {
                Ok(_) => types::Status { code: 0, message: "OK".to_owned() },
                Err(status) => types::Status { code: status.code() as i32, message: status.message().to_owned() },
            };
            batch_new_x509svid_response::Result { status: Some(status), svid: svid.ok() }
        });
        Ok(Response::new(BatchNewX509svidResponse { results: results.collect() }))
    }

    async fn new_jwtsvid(&self, request: Request<NewJwtsvidRequest>) -> Result<Response<NewJwtsvidResponse>, Status> {
        caller(&request)?;
        let NewJwtsvidRequest { entry_id, audience } = request.into_inner();
        let id = self.entry_id(&entry_id)?;
        let now = self.0.clock.now();
        let validity = now..now + self.0.script().jwt_ttl;
        let audience: Vec<&str> = audience.iter().map(String::as_str).collect();
        let svid = types::Jwtsvid {
            issued_at: unix_seconds(validity.start),
            expires_at: unix_seconds(validity.end),
            token: self.0.ca().jwt_svid(&id, &audience, validity),
            id: Some(on_wire(&id)),
            hint: String::new(),
        };
        Ok(Response::new(NewJwtsvidResponse { svid: Some(svid) }))
    }
}

impl Service {
    fn agent_svid(&self, id: &SpiffeId, csr: &[u8]) -> Result<types::X509svid, Status> {
        let ttl = self.0.script().agent_ttl;
        self.certify(id, csr, ttl)
    }

    fn certify(&self, id: &SpiffeId, csr: &[u8], ttl: Duration) -> Result<types::X509svid, Status> {
        let csr = parse(csr)?;
        let validity: Range<SystemTime> = self.0.clock.now() - BACKDATE..self.0.clock.now() + ttl;
        let leaf = self.0.ca().certify(id, &csr.public_key, validity);
        Ok(ca::api_svid(id, &[leaf]))
    }

    fn entry_id(&self, entry_id: &str) -> Result<SpiffeId, Status> {
        let script = self.0.script();
        let entry = script.entries.iter().find(|entry| entry.id == entry_id);
        let id = entry.and_then(|entry| entry.spiffe_id.as_ref());
        let id = id.ok_or_else(|| Status::not_found("entry not found or not authorized"))?;
        let trust_domain = TrustDomain::parse(&id.trust_domain);
        let id = trust_domain.and_then(|trust_domain| SpiffeId::new(&trust_domain, &id.path));
        id.map_err(|error| Status::internal(error.to_string()))
    }
}

fn parse(csr: &[u8]) -> Result<CertificateRequest, Status> {
    let csr = CertificateRequest::parse_and_verify(csr);
    csr.map_err(|error| Status::invalid_argument(format!("failed to parse CSR: {error}")))
}

/// An agent has shown itself; it is nobody's business here whether it may.
fn caller<T>(request: &Request<T>) -> Result<SpiffeId, Status> {
    let svid = request.extensions().get::<Arc<Connection>>().and_then(|connection| connection.svid());
    svid.map(|svid| svid.id.clone()).ok_or_else(|| Status::permission_denied("no caller ID"))
}

fn encoded(entries: &[types::Entry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.encode_to_vec().into()).collect()
}

/// Pages, each with whether another follows; nothing is one empty page.
fn pages<T: Clone>(items: &[T], page: usize) -> Vec<(Vec<T>, bool)> {
    if items.is_empty() {
        return vec![(Vec::new(), false)];
    }
    let pages = items.len().div_ceil(page);
    items.chunks(page).enumerate().map(|(i, chunk)| (chunk.to_vec(), i + 1 < pages)).collect()
}
