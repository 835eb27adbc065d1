//! AttestAgent: evidence in, an agent's SVID out.

use std::time::Duration;

use futures::StreamExt;
use steeple_datastore::join_tokens::ConsumeJoinToken;
use steeple_datastore::nodes::AttestNode;
use steeple_datastore::{Error, Selector};
use steeple_pki::CertificateRequest;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::types;
use steeple_spiffe::SpiffeId;
use steeple_transport::rpc::Call;
use tonic::{Code, Status, Streaming};
use tracing::warn;

use super::join_token_id;
use crate::api::svid::x509_svid;
use crate::api::{Parts, status};
use crate::ca::sign::expires_at;

/// An agent that connects sends its evidence at once; who does not, holds a stream for nothing.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

pub(super) struct Attestation<'a> {
    pub(super) parts: &'a Parts,
    pub(super) call: &'a Call,
    pub(super) id_as_selector: bool,
}

/// What attestation has found out about an agent.
struct Attested {
    id: SpiffeId,
    selectors: Vec<Selector>,
    can_reattest: bool,
}

impl Attestation<'_> {
    pub(super) async fn run(&self, mut messages: Streaming<AttestAgentRequest>) -> Result<AttestAgentResponse, Status> {
        let (data, csr) = self.first_message(&mut messages).await?;
        self.call.audit("node_attestor_type", &data.r#type);
        let mut attested = match data.r#type.as_str() {
            "join_token" => self.redeem(&data.payload).await?,
            kind => {
                let message = format!("could not find node attestor type {kind:?}");
                let refused = Status::failed_precondition(format!("error getting node attestor: {message}"));
                return Err(status::log(refused));
            }
        };
        if self.id_as_selector {
            attested.selectors.push(Selector::new("spiffe_id", attested.id.as_str()));
        }
        self.call.audit("agent_id", &attested.id);
        self.admit(&attested.id, &data.r#type).await?;
        self.issue(attested, data.r#type, &csr).await
    }

    async fn first_message(
        &self,
        messages: &mut Streaming<AttestAgentRequest>,
    ) -> Result<(types::AttestationData, Vec<u8>), Status> {
        let received = self.parts.clock.within(FIRST_MESSAGE, messages.next()).await;
        let message = match received {
            Some(Some(Ok(message))) => message,
            Some(Some(Err(error))) => {
                return Err(status::invalid("failed to receive request from stream", error.message()));
            }
            Some(None) => return Err(status::invalid("failed to receive request from stream", "EOF")),
            None => return Err(status::invalid("failed to receive request from stream", "none came in time")),
        };
        let malformed = |what: &str| status::invalid("malformed param", what);
        let Some(attest_agent_request::Step::Params(params)) = message.step else {
            return Err(malformed("missing params"));
        };
        let data = params.data.ok_or_else(|| malformed("missing attestation data"))?;
        let AgentX509svidParams { csr } = params.params.ok_or_else(|| malformed("missing X509-SVID parameters"))?;
        if csr.is_empty() {
            return Err(malformed("missing CSR"));
        }
        if data.r#type.is_empty() {
            return Err(malformed("missing attestation data type"));
        }
        if data.payload.is_empty() {
            return Err(malformed("missing attestation data payload"));
        }
        Ok((data, csr))
    }

    /// Takes a join token out of the datastore, whatever comes of it: a token that was shown once is used.
    async fn redeem(&self, payload: &[u8]) -> Result<Attested, Status> {
        let unknown = || status::invalid("failed to attest", "join token does not exist or has already been used");
        let token = std::str::from_utf8(payload).map_err(|_| unknown())?.to_owned();
        let row = match self.parts.store.write(ConsumeJoinToken { token: token.clone() }).await {
            Ok(row) => row,
            Err(Error::NotFound) => return Err(unknown()),
            Err(error) => return Err(status::datastore("failed to fetch join token", &error)),
        };
        if row.expires_at < self.parts.clock.unix_seconds() {
            return Err(status::invalid_argument("join token expired"));
        }
        let id = join_token_id(&self.parts.trust_domain, &token)
            .map_err(|error| status::log(Status::new(Code::Internal, error.to_string())))?;
        Ok(Attested { id, selectors: Vec::new(), can_reattest: false })
    }

    /// An ID that attestation may not give, and an agent that is banned, are refused.
    async fn admit(&self, id: &SpiffeId, kind: &str) -> Result<(), Status> {
        if id.path() == "/spire/server" {
            return Err(status::log(Status::internal("agent ID cannot collide with the server ID")));
        }
        if !id.path().starts_with(&format!("/spire/agent/{kind}/")) {
            warn!(target: "api", agent_id = %id, "The node attestor produced an invalid agent ID");
        }
        let node = self.parts.store.fetch_node(id.as_str()).await;
        let node = node.map_err(|error| status::datastore("failed to fetch agent", &error))?;
        if node.is_some_and(|node| node.is_banned()) { Err(banned()) } else { Ok(()) }
    }

    async fn issue(&self, attested: Attested, kind: String, csr: &[u8]) -> Result<AttestAgentResponse, Status> {
        let Attested { id, selectors, can_reattest } = attested;
        let csr =
            CertificateRequest::parse_and_verify(csr).map_err(|error| status::invalid("failed to parse CSR", error))?;
        let chain = self.parts.ca.sign_agent(&id, &csr.public_key).await;
        let chain = chain.map_err(|error| status::internal("failed to sign X509 SVID", error))?;
        let node = AttestNode {
            spiffe_id: id.to_string(),
            attestation_type: kind,
            serial: chain.first().map(steeple_spiffe::Certificate::serial_decimal).unwrap_or_default(),
            expires_at: expires_at(&chain),
            can_reattest,
            selectors,
        };
        match self.parts.store.write(node).await {
            Ok(_) => {}
            Err(Error::Banned) => return Err(banned()),
            Err(error) => return Err(status::datastore("failed to create attested agent", &error)),
        }
        let svid = Some(x509_svid(&id, &chain));
        let result = attest_agent_response::Result { svid, reattestable: can_reattest };
        Ok(AttestAgentResponse { step: Some(attest_agent_response::Step::Result(result)) })
    }
}

/// Without details: an agent that attests anew has no reason to know more.
fn banned() -> Status {
    status::log(Status::permission_denied("failed to attest: agent is banned"))
}
