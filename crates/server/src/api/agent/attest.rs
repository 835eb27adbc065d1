//! AttestAgent: evidence in, an agent's SVID out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use steeple_catalog::node_attestor::{AgentAttributes, ChallengeStream, Evidence};
use steeple_catalog::{PluginError, ServerNodeAttestor};
use steeple_datastore::join_tokens::{AttestWithToken, ConsumeJoinToken, Redeemed, Use};
use steeple_datastore::nodes::AttestNode;
use steeple_datastore::{Error, Selector};
use steeple_pki::{CertificateRequest, PkiError};
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::types;
use steeple_spiffe::{SpiffeId, x509};
use steeple_transport::connection::Connection;
use steeple_transport::rpc::{Call, Turn};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Code, Status, Streaming};
use tracing::{Instrument, Span, error_span, info, warn};

use super::join_token_id;
use crate::api::svid::x509_svid;
use crate::api::{Parts, status};
use crate::ca::sign::expires_at;
use crate::inventory::Ground;

/// An agent that connects sends its evidence at once; who does not, holds a stream for nothing.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// From the evidence to the last answer.
const WHOLE: Duration = Duration::from_secs(60);
/// No attestor asks more often than once; one that goes on and on has lost its way.
const ROUNDS: usize = 8;
/// Bytes of one answer: certificates and tokens of clouds stay far below.
const ANSWER: usize = 128 << 10;

pub(super) struct Attestation {
    pub(super) parts: Parts,
    pub(super) call: Arc<Call>,
    pub(super) attestors: Arc<[ServerNodeAttestor]>,
    pub(super) id_as_selector: bool,
}

/// What attestation has found out about an agent.
struct Attested {
    id: SpiffeId,
    selectors: Vec<Selector>,
    can_reattest: bool,
    /// The join token by which it attests, if the same key may be answered again.
    token: Option<Use>,
}

/// The request for the agent's certificate. What is wrong with it is told last, as in the reference.
type Request = Result<CertificateRequest, PkiError>;

impl Attestation {
    /// Challenges, if there are any, and the result. Nothing runs on when the agent has gone: the answer is what drives it.
    ///
    /// # Errors
    /// The refusal, when it is the first thing that there is to say.
    pub(super) async fn answer(
        self,
        messages: Streaming<AttestAgentRequest>,
    ) -> Result<BoxStream<AttestAgentResponse>, Status> {
        let (challenges, asked) = mpsc::channel(1);
        let work = async move { self.run(messages, challenges).await }.instrument(Span::current());
        let mut answers = Box::pin(stream::select(ReceiverStream::new(asked).map(Ok), stream::once(work)));
        let first = answers.try_next().await?;
        Ok(Box::pin(stream::iter(first.map(Ok)).chain(answers)))
    }

    async fn run(
        &self,
        mut messages: Streaming<AttestAgentRequest>,
        challenges: mpsc::Sender<AttestAgentResponse>,
    ) -> Result<AttestAgentResponse, Status> {
        let (data, csr) = self.first_message(&mut messages).await?;
        let turn = self.call.turn_to_attest().await?;
        let csr = CertificateRequest::parse_and_verify(&csr);
        let types::AttestationData { r#type: kind, payload } = data;
        self.call.audit("node_attestor_type", &kind);
        let span = error_span!(target: "api", "attestation", node_attestor_type = kind);
        let attesting = async {
            let (mut attested, _turn) = match kind.as_str() {
                "join_token" => (self.redeem(&payload, &csr).await?, Some(turn)),
                kind => self.ask_plugin(kind, payload, messages, challenges, turn).await?,
            };
            if self.id_as_selector {
                attested.selectors.push(Selector::new("spiffe_id", attested.id.as_str()));
            }
            self.call.audit("agent_id", attested.id.as_str());
            self.admit(&attested.id, &kind).await?;
            self.issue(attested, &kind, csr).await
        };
        attesting.instrument(span).await
    }

    async fn ask_plugin(
        &self,
        kind: &str,
        payload: Vec<u8>,
        messages: Streaming<AttestAgentRequest>,
        challenges: mpsc::Sender<AttestAgentResponse>,
        turn: Turn,
    ) -> Result<(Attested, Option<Turn>), Status> {
        let Some(attestor) = self.attestors.iter().find(|attestor| attestor.name() == kind) else {
            let message = format!("could not find node attestor type {kind:?}");
            let refused = Status::failed_precondition(format!("error getting node attestor: {message}"));
            return Err(status::log(refused));
        };
        let client_ip = match &*self.call.connection {
            Connection::Remote(remote) => Some(remote.address.ip().to_canonical()),
            Connection::Local(_) => None,
        };
        let evidence = Evidence { payload, client_ip, untrusted_host: self.call.host.clone() };
        let mut agent = Agent { messages, challenges, rounds: 0, call: &self.call, turn: Some(turn) };
        let attested = self.parts.clock.within(WHOLE, attestor.attest(evidence, &mut agent)).await;
        let attested = attested.unwrap_or_else(|| {
            Err(PluginError { code: Code::DeadlineExceeded, message: "attestation took too long".to_owned() })
        });
        let AgentAttributes { spiffe_id, selector_values, can_reattest } =
            attested.map_err(|PluginError { code, message }| status::log(Status::new(code, message)))?;
        let id = SpiffeId::parse(&spiffe_id).map_err(|error| status::internal("invalid agent ID", error))?;
        if !id.is_member_of(&self.parts.trust_domain) {
            let trust_domain = self.parts.trust_domain.name();
            let foreign = format!("\"{id}\" is not a member of trust domain {trust_domain:?}");
            return Err(status::internal("invalid agent ID", foreign));
        }
        let selectors = selector_values.iter().map(|value| Selector::new(kind, value)).collect();
        Ok((Attested { id, selectors, can_reattest, token: None }, agent.turn))
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

    /// Takes a join token out of the datastore, whatever comes of it: a token that was shown once is used, by a request
    /// that cannot be read too, as with the reference. An agent that has lost the answer comes again with the same key.
    async fn redeem(&self, payload: &[u8], csr: &Request) -> Result<Attested, Status> {
        let token = std::str::from_utf8(payload).map_err(|_| not_redeemed())?.to_owned();
        let id = join_token_id(&self.parts.trust_domain, &token);
        let digest = csr.as_ref().ok().map(|csr| digest(&token, csr));
        let Redeemed { token, by } = match self.parts.store.write(ConsumeJoinToken { token, digest }).await {
            Ok(redeemed) => redeemed,
            Err(error @ (Error::NotFound | Error::JoinTokenUsed)) => {
                if let Ok(id) = id {
                    self.tell_remedy(&id, &error).await;
                }
                return Err(not_redeemed());
            }
            Err(error) => return Err(status::datastore("failed to fetch join token", &error)),
        };
        if token.expires_at < self.parts.clock.unix_seconds() {
            return Err(status::invalid_argument("join token expired"));
        }
        let id = id.map_err(|error| status::log(Status::new(Code::Internal, error.to_string())))?;
        Ok(Attested { id, selectors: Vec::new(), can_reattest: false, token: by })
    }

    /// The reference's agent makes a new key for each attempt, so that one whose answer was lost never comes back by itself.
    async fn tell_remedy(&self, id: &SpiffeId, error: &Error) {
        let is_used = match error {
            Error::JoinTokenUsed => true,
            _ => self.parts.store.fetch_node(id.as_str()).await.is_ok_and(|node| node.is_some()),
        };
        if is_used {
            warn!(
                target: "api",
                agent_id = %id,
                "Join token has been used; an agent that has lost its answer or its data needs a new one (token generate)"
            );
        }
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

    async fn issue(&self, attested: Attested, kind: &str, csr: Request) -> Result<AttestAgentResponse, Status> {
        let Attested { id, selectors, can_reattest, token } = attested;
        let csr = csr.map_err(|error| status::invalid("failed to parse CSR", error))?;
        let chain = self.parts.ca.sign_agent(&id, &csr.public_key, Ground::Attestation).await;
        let chain = chain.map_err(|error| status::internal("failed to sign X509 SVID", error))?;
        let node = AttestNode {
            spiffe_id: id.to_string(),
            attestation_type: kind.to_owned(),
            serial: chain.first().map(steeple_spiffe::Certificate::serial_decimal).unwrap_or_default(),
            expires_at: expires_at(&chain),
            can_reattest,
            selectors,
        };
        let stored = match token {
            Some(by) => self.parts.store.write(AttestWithToken { node, by }).await,
            None => self.parts.store.write(node).await,
        };
        match stored {
            Ok(_) => {}
            Err(Error::Banned) => return Err(banned()),
            Err(Error::JoinTokenUsed) => return Err(not_redeemed()),
            Err(error) => return Err(status::datastore("failed to create attested agent", &error)),
        }
        let address = match &*self.call.connection {
            Connection::Remote(remote) => Some(remote.address.to_string()),
            Connection::Local(_) => None,
        };
        info!(
            target: "api",
            agent_id = %id,
            address,
            "Agent attestation request completed"
        );
        let svid = Some(x509_svid(&id, &chain));
        let result = attest_agent_response::Result { svid, reattestable: can_reattest };
        Ok(AttestAgentResponse { step: Some(attest_agent_response::Step::Result(result)) })
    }
}

fn not_redeemed() -> Status {
    status::invalid_argument("failed to attest: join token does not exist or has already been used")
}

/// Of a token and the key that the request proves its sender to have.
fn digest(token: &str, csr: &CertificateRequest) -> String {
    let key = csr.public_key.spki_der();
    // The length keeps the two apart.
    let both = [&u64::try_from(token.len()).unwrap_or(u64::MAX).to_be_bytes()[..], token.as_bytes(), key].concat();
    x509::hex(&steeple_pki::sha256(&both))
}

/// Without details: an agent that attests anew has no reason to know more.
fn banned() -> Status {
    status::log(Status::permission_denied("failed to attest: agent is banned"))
}

/// The agent, as a plugin talks to it.
struct Agent<'a> {
    messages: Streaming<AttestAgentRequest>,
    challenges: mpsc::Sender<AttestAgentResponse>,
    rounds: usize,
    call: &'a Call,
    /// None while it is the agent's turn.
    turn: Option<Turn>,
}

#[async_trait]
impl ChallengeStream for Agent<'_> {
    async fn ask(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return Err(PluginError::internal(format!("more than {ROUNDS} challenges in one attestation")));
        }
        let challenge = AttestAgentResponse { step: Some(attest_agent_response::Step::Challenge(challenge)) };
        let gone = |what: &str| PluginError::invalid_argument(format!("failed to receive request from stream: {what}"));
        self.turn = None;
        self.challenges.send(challenge).await.map_err(|_| gone("the agent has gone"))?;
        let message = self.messages.next().await;
        let turn = self.call.turn_to_attest().await;
        self.turn =
            Some(turn.map_err(|status| PluginError { code: status.code(), message: status.message().to_owned() })?);
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(gone(error.message())),
            None => return Err(gone("EOF")),
        };
        match message.step {
            Some(attest_agent_request::Step::ChallengeResponse(answer)) if answer.len() > ANSWER => {
                let size = answer.len();
                Err(PluginError::invalid_argument(format!("challenge response is too long ({size} > {ANSWER} bytes)")))
            }
            Some(attest_agent_request::Step::ChallengeResponse(answer)) => Ok(answer),
            // As the reference takes it; no attestor is content with nothing.
            Some(attest_agent_request::Step::Params(_)) | None => Ok(Vec::new()),
        }
    }
}
