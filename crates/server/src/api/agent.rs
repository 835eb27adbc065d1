//! `spire.api.server.agent.v1.Agent`

mod attest;

use std::sync::Arc;

use steeple_catalog::ServerNodeAttestor;
use steeple_datastore::entries::Entry as Row;
use steeple_datastore::join_tokens::{CreateJoinToken, JoinToken};
use steeple_datastore::nodes::{DeleteNode, NodeFilter, RenewNode, UpdateNode};
use steeple_datastore::{Match, MatchSet, Mutation, Node, Page, Selector};
use steeple_pki::CertificateRequest;
use steeple_proto::spire::api::server::agent::v1::agent_server::{Agent, AgentServer};
use steeple_proto::spire::api::server::agent::v1::{
    AttestAgentRequest, AttestAgentResponse, BanAgentRequest, CountAgentsRequest, CountAgentsResponse,
    CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse,
    PostStatusRequest, PostStatusResponse, RenewAgentRequest, RenewAgentResponse, count_agents_request,
    list_agents_request,
};
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::rpc::Call;
use steeple_transport::status::permission_denied;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, debug, error_span, info, warn};
use uuid::Uuid;

use super::svid::x509_svid;
use super::{Parts, audited, ids, keep, status};
use crate::authpolicy::Agents;
use crate::ca::sign::expires_at;
use crate::entries::{api_id, api_selector};
use crate::inventory::Ground;

/// The longest version that an agent may report, in bytes.
const VERSION: usize = 255;

struct Service {
    parts: Parts,
    attestors: Arc<[ServerNodeAttestor]>,
    /// Whether an agent's ID is one of its selectors (`agent_spiffe_id_as_selector`).
    id_as_selector: bool,
    /// Told of those that get another SVID.
    agents: Arc<Agents>,
}

/// The service.
pub(crate) fn service(
    parts: Parts,
    attestors: Arc<[ServerNodeAttestor]>,
    id_as_selector: bool,
    agents: Arc<Agents>,
) -> AgentServer<impl Agent> {
    AgentServer::new(Service { parts, attestors, id_as_selector, agents })
}

#[tonic::async_trait]
impl Agent for Service {
    async fn count_agents(
        &self,
        request: Request<CountAgentsRequest>,
    ) -> Result<Response<CountAgentsResponse>, Status> {
        const FAILED: &str = "failed to count agents";
        let call = Call::of(&request)?;
        let filter = request.into_inner().filter.map(|filter| {
            let count_agents_request::Filter {
                by_attestation_type,
                by_selector_match,
                by_banned,
                by_can_reattest,
                by_expires_before,
            } = filter;
            list_agents_request::Filter {
                by_attestation_type,
                by_selector_match,
                by_banned,
                by_can_reattest,
                by_expires_before,
            }
        });
        call.audit_fields(|| audited::agent_filter(filter.as_ref()));
        let filter = filter.map_or(Ok(NodeFilter::default()), |filter| filter_of(filter, FAILED))?;
        let count = self.parts.store.count_nodes(&filter).await;
        let count = count.map_err(|error| status::internal(FAILED, error))?;
        Ok(Response::new(CountAgentsResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        const FAILED: &str = "failed to list agents";
        let call = Call::of(&request)?;
        let ListAgentsRequest { filter, output_mask: mask, page_size, page_token } = request.into_inner();
        call.audit_fields(|| audited::agent_filter(filter.as_ref()));
        let filter = filter.map_or(Ok(NodeFilter::default()), |filter| filter_of(filter, FAILED))?;
        let page = Page { size: u32::try_from(page_size).unwrap_or(0), token: page_token };
        let with_selectors = mask.as_ref().is_none_or(|mask| mask.selectors);
        let listing = self.parts.store.list_nodes(&filter, &page, with_selectors).await;
        let listing = listing.map_err(|error| status::internal(FAILED, error))?;
        let agents = listing.rows.into_iter().filter_map(|node| agent_of(node, mask.as_ref()));
        Ok(Response::new(ListAgentsResponse { agents: agents.collect(), next_page_token: listing.next_page_token }))
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
        let call = Call::of(&request)?;
        let GetAgentRequest { id, output_mask } = request.into_inner();
        let id = self.agent_id(&call, id.as_ref())?;
        let span = error_span!(target: "api", "agent", spiffe_id = %id);
        let agent = agent_of(self.node(&id).instrument(span).await?, output_mask.as_ref());
        agent.map(Response::new).ok_or_else(|| status::internal("failed to convert agent", "malformed SPIFFE ID"))
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request)?;
        let id = self.agent_id(&call, request.get_ref().id.as_ref())?;
        let span = error_span!(target: "api", "agent", spiffe_id = %id);
        async {
            match self.parts.store.write(DeleteNode { spiffe_id: id.to_string() }).await {
                Ok(_) => {
                    info!(target: "api", "Agent deleted");
                    Ok(Response::new(()))
                }
                Err(steeple_datastore::Error::NotFound) => Err(status::not_found("agent not found")),
                Err(error) => Err(status::internal("failed to remove agent", error)),
            }
        }
        .instrument(span)
        .await
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request)?;
        let id = self.agent_id(&call, request.get_ref().id.as_ref())?;
        let ban = UpdateNode {
            spiffe_id: id.to_string(),
            serial: Some(String::new()),
            new_serial: Some(String::new()),
            ..UpdateNode::default()
        };
        let span = error_span!(target: "api", "agent", spiffe_id = %id);
        async {
            match self.parts.store.write(ban).await {
                Ok(_) => {
                    info!(target: "api", "Agent banned");
                    Ok(Response::new(()))
                }
                Err(steeple_datastore::Error::NotFound) => Err(status::not_found("agent not found")),
                Err(error) => Err(status::internal("failed to ban agent", error)),
            }
        }
        .instrument(span)
        .await
    }

    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<BoxStream<AttestAgentResponse>>, Status> {
        let call = Call::of(&request)?;
        call.admit(1).await?;
        let attestation = attest::Attestation {
            parts: self.parts.clone(),
            call,
            attestors: Arc::clone(&self.attestors),
            id_as_selector: self.id_as_selector,
        };
        Ok(Response::new(attestation.answer(request.into_inner()).await?))
    }

    async fn renew_agent(&self, request: Request<RenewAgentRequest>) -> Result<Response<RenewAgentResponse>, Status> {
        let call = Call::of(&request)?;
        call.admit(1).await?;
        let id = call.agent()?;
        let _turn = call.turn_to_store().await?;
        let mut node = self.node(id).await?;
        if node.can_reattest {
            let denial = permission_denied("agent must reattest instead of renew", Reason::AgentMustReattest);
            return Err(status::log(denial));
        }
        let params = request.into_inner().params.ok_or_else(|| status::invalid_argument("params cannot be nil"))?;
        if params.csr.is_empty() {
            return Err(status::invalid_argument("missing CSR"));
        }
        call.audit_fields(|| vec![audited::request(&params.csr)]);
        let csr = CertificateRequest::parse_and_verify(&params.csr)
            .map_err(|error| status::invalid("failed to parse CSR", error))?;
        info!(target: "api", "Renewing agent SVID");
        let chain = self.parts.ca.sign_agent(id, &csr.public_key, Ground::Renewal).await;
        let chain = chain.map_err(|error| status::internal("failed to sign X509 SVID", error))?;
        // Beside the one in use, which stays good until the agent shows the new one.
        let serial = chain.first().map(steeple_spiffe::Certificate::serial_decimal).unwrap_or_default();
        let expires_at = expires_at(&chain);
        // Another one may be written meanwhile, which the agent has given up.
        while node.new_serial != serial {
            let (spiffe_id, known) = (id.to_string(), node.new_serial);
            node = self.update(RenewNode { spiffe_id, known, serial: serial.clone(), expires_at }).await?;
        }
        self.agents.gave(id, node);
        Ok(Response::new(RenewAgentResponse { svid: Some(x509_svid(id, &chain)) }))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        let call = Call::of(&request)?;
        let CreateJoinTokenRequest { ttl, token, agent_id } = request.into_inner();
        call.audit("ttl", ttl);
        if ttl < 1 {
            return Err(status::invalid_argument("ttl is required, you must provide one"));
        }
        let agent_id = agent_id
            .map(|id| ids::workload(Some(&id), &self.parts.trust_domain))
            .transpose()
            .map_err(|error| status::invalid("invalid agent ID", error))?;
        let token = if token.is_empty() { Uuid::new_v4().to_string() } else { token };
        let expires_at = self.parts.clock.unix_seconds() + i64::from(ttl);
        const ENTRY: &str = "failed to create join token registration entry";
        let entry = match agent_id {
            Some(agent_id) => {
                call.audit("spiffe_id", agent_id.as_str());
                let entry = alias(&self.parts.trust_domain, &token, &agent_id);
                Some(entry.map_err(|error| status::internal(ENTRY, error))?)
            }
            None => None,
        };
        let row = JoinToken { token: token.clone(), expires_at };
        self.parts.store.write(CreateJoinToken { token: row, entry }).await.map_err(|error| match error {
            steeple_datastore::Error::JoinTokenEntry(error) => status::internal(ENTRY, *error),
            error => status::internal("failed to create token", error),
        })?;
        Ok(Response::new(types::JoinToken { value: token, expires_at }))
    }

    async fn post_status(&self, request: Request<PostStatusRequest>) -> Result<Response<PostStatusResponse>, Status> {
        let call = Call::of(&request)?;
        call.admit(1).await?;
        let id = call.agent()?;
        call.audit("spiffe_id", id.as_str());
        let PostStatusRequest { current_bundle_serial: _, agent_version } = request.into_inner();
        if agent_version.len() > VERSION {
            return Err(status::invalid_argument("agent version is too long (max 255 characters)"));
        }
        if !agent_version.is_empty() {
            call.audit("agent_version", &agent_version);
            let spiffe_id = id.to_string();
            let version = Some(agent_version.clone());
            self.update(UpdateNode { spiffe_id, agent_version: version, ..UpdateNode::default() }).await?;
            debug!(target: "api", spiffe_id = %id, agent_version, "Agent status updated");
        }
        Ok(Response::new(PostStatusResponse {}))
    }
}

impl Service {
    fn agent_id(&self, call: &Call, id: Option<&types::Spiffeid>) -> Result<SpiffeId, Status> {
        let id =
            ids::agent(id, &self.parts.trust_domain).map_err(|error| status::invalid("invalid agent ID", error))?;
        call.audit("spiffe_id", id.as_str());
        Ok(id)
    }

    async fn node(&self, id: &SpiffeId) -> Result<Node, Status> {
        let node = self.parts.store.fetch_node(id.as_str()).await;
        let node = node.map_err(|error| status::internal("failed to fetch agent", error))?;
        node.ok_or_else(|| status::not_found("agent not found"))
    }

    async fn update(&self, update: impl Mutation<Output = Node>) -> Result<Node, Status> {
        match self.parts.store.write(update).await {
            Ok(node) => Ok(node),
            Err(steeple_datastore::Error::NotFound) => Err(status::not_found("agent not found")),
            Err(error) => Err(status::internal("failed to update agent", error)),
        }
    }
}

/// The entry that gives an agent which attests by a token another identity.
fn alias(trust_domain: &TrustDomain, token: &str, agent_id: &SpiffeId) -> Result<Row, BadToken> {
    let parent = join_token_id(trust_domain, token)?;
    Ok(Row {
        spiffe_id: agent_id.to_string(),
        parent_id: parent.to_string(),
        selectors: vec![Selector::new("spiffe_id", parent.as_str())],
        ..Row::default()
    })
}

/// The ID of an agent that attests by a join token.
fn join_token_id(trust_domain: &TrustDomain, token: &str) -> Result<SpiffeId, BadToken> {
    SpiffeId::new(trust_domain, &format!("/spire/agent/join_token/{token}")).map_err(BadToken)
}

#[derive(Debug, thiserror::Error)]
#[error("failed to create join token ID: {0}")]
struct BadToken(steeple_spiffe::IdError);

fn filter_of(filter: list_agents_request::Filter, failed: &str) -> Result<NodeFilter, Status> {
    let list_agents_request::Filter {
        by_attestation_type,
        by_selector_match,
        by_banned,
        by_can_reattest,
        by_expires_before,
    } = filter;
    let by_selectors = by_selector_match
        .map(|types::SelectorMatch { selectors, r#match }| {
            let items = super::entry::selectors_of(selectors)
                .map_err(|error| status::invalid("failed to parse selectors", error))?;
            if items.is_empty() {
                return Err(status::internal(failed, "cannot list by empty selectors set"));
            }
            let behavior = Match::of_node_selectors(r#match).map_err(|error| status::internal(failed, error))?;
            Ok(MatchSet { items, behavior })
        })
        .transpose()?;
    Ok(NodeFilter {
        by_attestation_type: Some(by_attestation_type).filter(|kind| !kind.is_empty()),
        by_selectors,
        by_banned,
        by_can_reattest,
        // One that does not parse is no filter, as in the reference.
        by_expires_before: moment(&by_expires_before),
    })
}

/// `2006-01-02 15:04:05 -0700 -07`, in Go's notation: the offset stands there twice.
fn moment(text: &str) -> Option<i64> {
    let (time, _) = text.rsplit_once(' ')?;
    let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", time).ok()?;
    time.to_timestamp().ok().map(jiff::Timestamp::as_second)
}

/// A node as the API shows it; None (and a warning) when its ID is malformed.
fn agent_of(node: Node, mask: Option<&types::AgentMask>) -> Option<types::Agent> {
    let id = api_id(&node.spiffe_id);
    if id.is_none() {
        warn!(target: "api", spiffe_id = node.spiffe_id, "Agent has malformed SPIFFE ID");
    }
    let banned = node.is_banned();
    let Node {
        spiffe_id: _,
        attestation_type,
        serial,
        expires_at,
        new_serial: _,
        new_expires_at: _,
        can_reattest,
        agent_version,
        selectors,
    } = node;
    let agent = types::Agent {
        id: Some(id?),
        attestation_type,
        x509svid_serial_number: serial.unwrap_or_default(),
        x509svid_expires_at: expires_at,
        selectors: selectors.iter().map(api_selector).collect(),
        banned,
        can_reattest,
        agent_version,
    };
    let Some(mask) = mask else { return Some(agent) };
    let types::AgentMask {
        attestation_type,
        x509svid_serial_number,
        x509svid_expires_at,
        selectors,
        banned,
        can_reattest,
        agent_version,
    } = *mask;
    Some(types::Agent {
        id: agent.id,
        attestation_type: keep(attestation_type, agent.attestation_type),
        x509svid_serial_number: keep(x509svid_serial_number, agent.x509svid_serial_number),
        x509svid_expires_at: keep(x509svid_expires_at, agent.x509svid_expires_at),
        selectors: keep(selectors, agent.selectors),
        banned: keep(banned, agent.banned),
        can_reattest: keep(can_reattest, agent.can_reattest),
        agent_version: keep(agent_version, agent.agent_version),
    })
}
