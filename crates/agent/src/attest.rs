//! How an agent gets its identity: the stored one, or node attestation.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use steeple_catalog::key_manager::{Key, KeySigner};
use steeple_catalog::node_attestor::AttestationStream;
use steeple_catalog::{AgentNodeAttestor, KeyManager, PluginError};
use steeple_pki::{KeyType, Name, PkiError, csr};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::types;
use steeple_runtime::Clock;
use steeple_runtime::metrics::{Coded, measure, measure_of};
use steeple_spiffe::X509Error;
use steeple_spiffe::x509::Certificate;
use steeple_transport::dial::Traced;
use steeple_transport::status::{code_name, describe};
use steeple_transport::tls::{TlsError, is_unknown_authority};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use crate::bootstrap::{self, BootstrapError};
use crate::config::Bootstrap;
use crate::storage::{Storage, StorageError, StoredSvid};
use crate::upstream::{Identity, Upstream};

/// An SVID that ends sooner than this is not taken up again.
const MARGIN: Duration = Duration::from_secs(1);
/// A server that accepts an attestation and then says nothing is not waited for longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What attestation needs.
pub(crate) struct Attestation {
    /// The server.
    pub upstream: Upstream,
    /// The agent's keys.
    pub keys: KeyManager,
    /// What proves what the node is.
    pub attestor: AgentNodeAttestor,
    /// Where the first bundle comes from.
    pub bootstrap: Bootstrap,
    /// The time.
    pub clock: Clock,
}

/// Why an agent has no identity.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The key manager or the node attestor failed.
    #[error("rpc error: code = {code} desc = {0}", code = code_name(.0.code))]
    Plugin(#[from] PluginError),
    /// A key or request could not be made.
    #[error("unable to generate attestation CSR: {0}")]
    Pki(#[from] PkiError),
    /// There is no first bundle.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The server refused, or could not be reached.
    #[error("{what}: {}", describe(.status))]
    Server {
        /// What was being done.
        what: &'static str,
        /// What it answered.
        status: Box<Status>,
    },
    /// The server answered nonsense.
    #[error("the server's answer is malformed: {0}")]
    Malformed(String),
    /// The agent's data could not be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The agent's SVID ended before there was another.
    #[error("current SVID has already expired and {what} failed: {cause}")]
    Ended {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        cause: Box<AttestError>,
    },
}

impl AttestError {
    /// What the server said, if it said something.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Server { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether trying again is pointless: the server knows the agent and does not want it.
    pub fn is_final(&self) -> bool {
        self.status().is_some_and(|status| status.code() == Code::PermissionDenied)
    }

    /// Whether the server does not want this agent any more, and said so.
    pub fn is_rejection(&self) -> bool {
        self.status().is_some_and(|status| crate::rejection::of(status).is_some())
    }

    /// Whether the server could not be asked, or is one whose authority the agent does not know. One that does not take
    /// the agent's certificate looks like that too: what it says of it may be lost when the connection breaks.
    pub fn is_outage(&self) -> bool {
        let Self::Server { status, .. } = self else { return false };
        // What the server answers has no cause here.
        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
            || status.source().is_some()
            || is_unknown_authority(&**status)
    }

    /// Whether the server's certificate chains to no authority that the agent knows.
    pub fn is_unknown_authority(&self) -> bool {
        matches!(self, Self::Server { status, .. } if is_unknown_authority(&**status))
    }
}

impl Coded for AttestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Plugin(error) => error.code(),
            Self::Server { status, .. } => code_name(status.code()),
            _ => "Unknown",
        }
    }
}

impl Attestation {
    /// The identity that was stored, if it still holds; else a new one from the server. Either way the server's bundle is
    /// believed afterwards.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub(crate) async fn identity(&self, storage: &mut Storage) -> Result<(), AttestError> {
        let authorities = match storage.bundle().filter(|stored| !stored.is_empty()) {
            Some(stored) => Some(stored),
            None => {
                let so_far = storage.begin_bootstrap(self.clock.now())?;
                bootstrap::load(&self.bootstrap, self.upstream.trust_domain(), so_far, &self.clock).await?
            }
        };
        match authorities {
            Some(_) => info!(target: "attestor", trust_domain_id = %self.upstream.trust_domain().id(), "Bundle loaded"),
            None => info!(target: "attestor", "Bundle is not found"),
        }
        let insecure = authorities.is_none();
        if let Some(authorities) = authorities {
            self.upstream.set_authorities(authorities);
        }
        if let Some(identity) = self.stored(storage).await? {
            if identity.reattestable && storage.awaits_answer() && self.is_answered(storage, &identity.key_id).await {
                return Ok(());
            }
            info!(target: "attestor", spiffe_id = %identity.id, "SVID loaded");
            self.upstream.set_identity(identity)?;
            if insecure {
                // It attested, and was stopped before it had the bundle.
                let channel = self.upstream.anonymous_channel(insecure)?;
                self.in_time(self.take_bundle(storage, channel)).await?;
                storage.bootstrapped(self.clock.now())?;
            }
            return Ok(());
        }
        let trust_domain_id = (!insecure).then(|| tracing::field::display(self.upstream.trust_domain().id()));
        info!(target: "attestor", trust_domain_id, "SVID is not found. Starting node attestation");
        if insecure {
            warn!(target: "attestor", "Insecure bootstrap enabled; skipping server certificate verification");
        }
        let taken = self.stored_key_id(storage).await?;
        let attesting = self.in_time(Box::pin(self.attest(storage, insecure, taken.as_deref())));
        measure_of("node.attestor.new_svid", ("attestor", self.attestor.name()), attesting).await
    }

    /// Asks again for the SVID that an agent that can attest again was about to get when it was ended: of such an agent the
    /// server knows one SVID alone, and that may be the one that did not arrive. False when it cannot be had now; what is
    /// stored is good then, or the server says that it is not.
    async fn is_answered(&self, storage: &mut Storage, in_use: &str) -> bool {
        let attesting = self.in_time(Box::pin(self.attest(storage, false, Some(in_use))));
        let attested = measure("node.attest", attesting).await;
        if let Err(failed) = &attested {
            warn!(target: "attestor", error = %failed, "Could not reattest agent");
        }
        attested.is_ok()
    }

    /// Attests anew; the key goes beside the one that is in use.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub(crate) async fn reattest(&self, storage: &mut Storage) -> Result<(), AttestError> {
        let in_use = self.upstream.identity().map(|identity| identity.key_id);
        measure("node.attest", self.in_time(Box::pin(self.attest(storage, false, in_use.as_deref())))).await
    }

    async fn in_time(&self, work: impl Future<Output = Result<(), AttestError>>) -> Result<(), AttestError> {
        let late = || AttestError::Server {
            what: "failed to attest",
            status: Box::new(Status::deadline_exceeded("the server does not answer")),
        };
        self.clock.within(LIMIT, work).await.unwrap_or_else(|| Err(late()))
    }

    async fn attest(&self, storage: &mut Storage, insecure: bool, in_use: Option<&str>) -> Result<(), AttestError> {
        let (key, signer) = self.attestation_key(storage, in_use).await?;
        let csr = agent_csr(&signer).await?;
        let channel = self.upstream.anonymous_channel(insecure)?;
        let failed = |what| move |status: Status| AttestError::Server { what, status: Box::new(status) };
        let mut server = ServerStream::open(AgentClient::new(channel.clone()), self.attestor.name(), csr);
        let aided = self.attestor.aid_attestation(&mut server).await;
        // The server's own refusal tells more than what the plugin made of it.
        let result = server.finish(aided).await.map_err(|error| match error {
            // Only what the connection broke by has a cause of its own.
            Refusal::Server(status) if std::error::Error::source(&status).is_some() => {
                failed("could not open attestation stream to SPIRE server")(status)
            }
            Refusal::Server(status) => failed("failed to receive attestation response")(status),
            Refusal::Plugin(error) => AttestError::Plugin(error),
        })?;
        let attest_agent_response::Result { svid, reattestable } = result;
        let chain = chain_of(svid)?;
        let id = chain.first().ok_or_else(|| AttestError::Malformed("no certificate".into()))?.spiffe_id();
        let id = id.map_err(|error| AttestError::Malformed(error.to_string()))?;
        // Kept before anything else can fail: a join token attests only once.
        storage.store_svid(&chain, reattestable)?;
        self.take_bundle(storage, channel).await?;
        info!(
            target: "attestor",
            spiffe_id = %id,
            trust_domain_id = %self.upstream.trust_domain().id(),
            reattestable,
            "Node attestation was successful"
        );
        storage.bootstrapped(self.clock.now())?;
        let signer = std::sync::Arc::new(signer);
        self.upstream.set_identity(Identity { id, chain, signer, reattestable, key_id: key.id })?;
        Ok(())
    }

    /// The key of the attempt before, if that had no answer, whatever its evidence was: the server may have answered, and
    /// answers a join token that is used up only to the key that has used it. Else a new one, which is on disk and noted
    /// before it is shown.
    async fn attestation_key(
        &self,
        storage: &mut Storage,
        in_use: Option<&str>,
    ) -> Result<(Key, KeySigner), AttestError> {
        let mut keys = self.keys.public_keys().await?.into_iter();
        if let Some(key) = keys.find(|key| storage.is_unanswered(key.public_key.spki_der())) {
            info!(target: "attestor", "The last attestation has had no answer; asking again with its key");
            return Ok((key.clone(), KeySigner::new(self.keys.clone(), key)));
        }
        let (key, signer) = new_key(&self.keys, in_use).await?;
        storage.will_ask_with(key.public_key.spki_der())?;
        Ok((key, signer))
    }

    /// Believes the server's bundle from here on, also after a restart.
    async fn take_bundle(&self, storage: &mut Storage, channel: Traced) -> Result<(), AttestError> {
        let bundle = BundleClient::new(channel).get_bundle(GetBundleRequest { output_mask: None }).await;
        let bundle = bundle
            .map_err(|status| AttestError::Server { what: "failed to get updated bundle", status: Box::new(status) })?;
        let authorities = authorities_of(bundle.get_ref())?;
        storage.store_bundle(&authorities)?;
        self.upstream.set_authorities(authorities);
        Ok(())
    }

    /// The stored SVID with its key, unless one is missing or it has ended.
    async fn stored(&self, storage: &Storage) -> Result<Option<Identity>, AttestError> {
        let Some(StoredSvid { chain, reattestable }) = storage.svid() else {
            debug!(target: "attestor", "No pre-existing agent SVID found. Will perform node attestation");
            let is_left = |key: &Key| KEY_IDS.contains(&&*key.id) && !storage.is_unanswered(key.public_key.spki_der());
            if self.keys.public_keys().await?.iter().any(is_left) {
                warn!(target: "attestor", "Keys recovered, but no SVID found. Generating new keypair");
            }
            return Ok(None);
        };
        let Some(leaf) = chain.first() else { return Ok(None) };
        let Some(key) = self.key_of(leaf).await? else {
            warn!(target: "attestor", "SVID recovered, but no SVID key found. Generating new keypair");
            return Ok(None);
        };
        if self.clock.now() + MARGIN >= leaf.not_after() {
            warn!(target: "attestor", "SVID key recovered, but SVID is expired. Generating new keypair");
            return Ok(None);
        }
        let id = leaf.spiffe_id().map_err(|error: X509Error| AttestError::Malformed(error.to_string()))?;
        let key_id = key.id.clone();
        let signer = std::sync::Arc::new(KeySigner::new(self.keys.clone(), key));
        Ok(Some(Identity { id, chain, signer, reattestable, key_id }))
    }

    async fn stored_key_id(&self, storage: &Storage) -> Result<Option<String>, AttestError> {
        match storage.svid().and_then(|svid| svid.chain.first().cloned()) {
            Some(leaf) => Ok(self.key_of(&leaf).await?.map(|key| key.id)),
            None => Ok(None),
        }
    }

    async fn key_of(&self, leaf: &Certificate) -> Result<Option<Key>, AttestError> {
        let keys = self.keys.public_keys().await?;
        Ok(keys.into_iter().find(|key| key.public_key.spki_der() == leaf.spki_der()))
    }
}

/// Under which the key manager holds the agent's keys: one in use, the other on its way.
pub(crate) const KEY_IDS: [&str; 2] = ["agent-svid-A", "agent-svid-B"];

/// A new key for the agent, in the slot that is not in use.
///
/// # Errors
/// The key manager's.
pub(crate) async fn new_key(keys: &KeyManager, in_use: Option<&str>) -> Result<(Key, KeySigner), PluginError> {
    let [a, b] = KEY_IDS;
    let id = if in_use == Some(a) { b } else { a };
    let key = keys.generate_key(id, KeyType::EcP256).await?;
    Ok((key.clone(), KeySigner::new(keys.clone(), key)))
}

/// An agent's request: it asks for a certificate of its key and for nothing else.
///
/// # Errors
/// The signer's.
pub(crate) async fn agent_csr(signer: &KeySigner) -> Result<Vec<u8>, PkiError> {
    let subject = Name::try_from(&steeple_pki::certificate::svid_subject())?;
    csr::build_with(&subject, None, &[], &[], signer).await
}

/// A chain as the server sent it.
///
/// # Errors
/// [`AttestError::Malformed`].
pub(crate) fn chain_of(svid: Option<types::X509svid>) -> Result<Vec<Certificate>, AttestError> {
    let svid = svid.ok_or_else(|| AttestError::Malformed("no SVID".into()))?;
    let chain: Result<Vec<_>, _> = svid.cert_chain.iter().map(|der| Certificate::from_der(der)).collect();
    let chain = chain.map_err(|error| AttestError::Malformed(error.to_string()))?;
    if chain.is_empty() { Err(AttestError::Malformed("empty SVID".into())) } else { Ok(chain) }
}

/// The X.509 authorities of a bundle as the server sent it.
///
/// # Errors
/// [`AttestError::Malformed`].
pub(crate) fn authorities_of(bundle: &types::Bundle) -> Result<Vec<Certificate>, AttestError> {
    let parsed: Result<Vec<Vec<_>>, _> = bundle
        .x509_authorities
        .iter()
        .map(|authority| steeple_spiffe::x509::parse_chain_der(&authority.asn1))
        .collect();
    let parsed = parsed.map_err(|error| AttestError::Malformed(error.to_string()))?.concat();
    // Whoever believed it could not be told anything any more: no server could show that it is one.
    if parsed.is_empty() { Err(AttestError::Malformed("bundle without X.509 authorities".into())) } else { Ok(parsed) }
}

/// The server, as the node attestor talks to it: the stream is opened with its first message.
struct ServerStream {
    client: AgentClient<Traced>,
    kind: String,
    csr: Vec<u8>,
    requests: Option<mpsc::Sender<AttestAgentRequest>>,
    answers: Option<Streaming<AttestAgentResponse>>,
    result: Option<attest_agent_response::Result>,
    refused: Option<Status>,
}

enum Refusal {
    Server(Status),
    Plugin(PluginError),
}

impl ServerStream {
    fn open(client: AgentClient<Traced>, kind: &str, csr: Vec<u8>) -> Self {
        Self { client, kind: kind.to_owned(), csr, requests: None, answers: None, result: None, refused: None }
    }

    fn refuse(&mut self, status: Status) -> PluginError {
        let error = PluginError { code: status.code(), message: status.message().to_owned() };
        self.refused = Some(status);
        error
    }

    async fn finish(mut self, aided: Result<(), PluginError>) -> Result<attest_agent_response::Result, Refusal> {
        if let Some(status) = self.refused {
            return Err(Refusal::Server(status));
        }
        aided.map_err(Refusal::Plugin)?;
        if let Some(result) = self.result.take() {
            return Ok(result);
        }
        // The plugin is content before the server is: what comes next must be the result.
        match self.next().await {
            Ok(None) => self.result.ok_or_else(|| Refusal::Server(Status::internal("the server sent no result"))),
            Ok(Some(_)) => Err(Refusal::Server(Status::internal("server issued unexpected challenge"))),
            Err(_) => Err(Refusal::Server(self.refused.unwrap_or_else(|| Status::internal("the stream broke")))),
        }
    }

    /// The next challenge; None when the result has come.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, PluginError> {
        let Some(answers) = &mut self.answers else {
            return Err(PluginError::failed_precondition("the plugin must send its payload first"));
        };
        match answers.message().await {
            Ok(Some(AttestAgentResponse { step: Some(attest_agent_response::Step::Challenge(challenge)) })) => {
                Ok(Some(challenge))
            }
            Ok(Some(AttestAgentResponse { step: Some(attest_agent_response::Step::Result(result)) })) => {
                self.result = Some(result);
                Ok(None)
            }
            Ok(_) => Err(self.refuse(Status::internal("the server ended the attestation without a result"))),
            Err(status) => Err(self.refuse(status)),
        }
    }
}

#[async_trait]
impl AttestationStream for ServerStream {
    async fn send_payload(&mut self, payload: Vec<u8>) -> Result<(), PluginError> {
        if payload.is_empty() {
            return Err(PluginError::invalid_argument("the plugin's payload is empty"));
        }
        let params = attest_agent_request::Params {
            data: Some(types::AttestationData { r#type: self.kind.clone(), payload }),
            params: Some(AgentX509svidParams { csr: std::mem::take(&mut self.csr) }),
        };
        let (requests, stream) = mpsc::channel(1);
        let first = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
        // An empty channel of one place takes its first message.
        let _ = requests.try_send(first);
        match self.client.attest_agent(ReceiverStream::new(stream)).await {
            Ok(answers) => {
                self.requests = Some(requests);
                self.answers = Some(answers.into_inner());
                Ok(())
            }
            Err(status) => Err(self.refuse(status)),
        }
    }

    async fn challenge(&mut self) -> Result<Option<Vec<u8>>, PluginError> {
        self.next().await
    }

    async fn respond(&mut self, response: Vec<u8>) -> Result<(), PluginError> {
        let Some(requests) = &self.requests else {
            return Err(PluginError::failed_precondition("the plugin must send its payload first"));
        };
        let step = Some(attest_agent_request::Step::ChallengeResponse(response));
        // If the server is gone, its next answer tells why.
        let _ = requests.send(AttestAgentRequest { step }).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
