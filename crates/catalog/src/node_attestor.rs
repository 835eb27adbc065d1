//! NodeAttestor: the agent's half proves to the server what the agent's node is, the server's half looks at the proof.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::PluginError;
use crate::in_use::InUse;

/// The plugin type's name in configuration files.
pub const TYPE: &str = "NodeAttestor";

/// What an agent's node attestor does (`spire.plugin.agent.nodeattestor.v1`).
#[async_trait]
pub trait AgentPlugin: Send + Sync {
    /// Sends the evidence, and answers the server's challenges until the server is satisfied.
    async fn aid_attestation(&self, server: &mut dyn AttestationStream) -> Result<(), PluginError>;
}

/// The server, as a node attestor talks to it.
#[async_trait]
pub trait AttestationStream: Send {
    /// Sends the evidence; must come first.
    async fn send_payload(&mut self, payload: Vec<u8>) -> Result<(), PluginError>;
    /// The server's next challenge, None when it is satisfied.
    async fn challenge(&mut self) -> Result<Option<Vec<u8>>, PluginError>;
    /// Answers the last challenge.
    async fn respond(&mut self, response: Vec<u8>) -> Result<(), PluginError>;
}

/// The host's side of an agent's node attestor. Cheap to clone.
#[derive(Clone)]
pub struct AgentNodeAttestor {
    name: Arc<str>,
    plugin: InUse<dyn AgentPlugin>,
}

impl AgentNodeAttestor {
    /// With the name under which the server knows the attestation.
    pub fn new(name: &str, plugin: Arc<dyn AgentPlugin>) -> Self {
        Self::in_use(name, InUse::new(plugin))
    }

    pub(crate) fn in_use(name: &str, plugin: InUse<dyn AgentPlugin>) -> Self {
        Self { name: name.into(), plugin }
    }

    /// The plugin's name: the type of its attestation data.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the attestation.
    ///
    /// # Errors
    /// The plugin's, or the stream's as the plugin passed it on.
    pub async fn aid_attestation(&self, server: &mut dyn AttestationStream) -> Result<(), PluginError> {
        self.plugin.now().aid_attestation(server).await.map_err(|error| error.of(TYPE, &self.name))
    }
}

/// What a server's node attestor does (`spire.plugin.server.nodeattestor.v1`).
#[async_trait]
pub trait ServerPlugin: Send + Sync {
    /// Looks at an agent's evidence, asking the agent as often as it needs to.
    async fn attest(&self, evidence: Evidence, agent: &mut dyn ChallengeStream)
    -> Result<AgentAttributes, PluginError>;
}

/// What an agent shows.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What the agent's half has sent; not empty.
    pub payload: Vec<u8>,
    /// Where the agent's connection comes from (`X-Forwarded-Client-IP`).
    pub client_ip: Option<IpAddr>,
    /// Under which name or address the agent has called the server (`X-Untrusted-Forwarded-Host`); it says so itself.
    pub untrusted_host: Option<String>,
}

/// An agent, as the server's half talks to it.
#[async_trait]
pub trait ChallengeStream: Send {
    /// Asks, and waits for the answer. A peer that sends no challenge response is taken for one that sends an empty one.
    async fn ask(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, PluginError>;
}

/// What a node has turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAttributes {
    /// The agent's SPIFFE ID, as text: the host reads it.
    pub spiffe_id: String,
    /// The values of the node's selectors; their type is the plugin's name.
    pub selector_values: Vec<String>,
    /// Whether the agent can prove itself again at any time. Then it does so instead of renewing.
    pub can_reattest: bool,
}

/// The host's side of a server's node attestor. Cheap to clone.
#[derive(Clone)]
pub struct ServerNodeAttestor {
    name: Arc<str>,
    plugin: InUse<dyn ServerPlugin>,
}

impl ServerNodeAttestor {
    /// With the type of the attestation data that it looks at.
    pub fn new(name: &str, plugin: Arc<dyn ServerPlugin>) -> Self {
        Self::in_use(name, InUse::new(plugin))
    }

    pub(crate) fn in_use(name: &str, plugin: InUse<dyn ServerPlugin>) -> Self {
        Self { name: name.into(), plugin }
    }

    /// The plugin's name: the type of its attestation data and of its selectors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Attests an agent.
    ///
    /// # Errors
    /// The plugin's, or the stream's as the plugin passed it on; INVALID_ARGUMENT when there is no evidence, INTERNAL when
    /// the plugin does not name the agent.
    pub async fn attest(
        &self,
        evidence: Evidence,
        agent: &mut dyn ChallengeStream,
    ) -> Result<AgentAttributes, PluginError> {
        let attested = async {
            if evidence.payload.is_empty() {
                return Err(PluginError::invalid_argument("payload cannot be empty"));
            }
            let attributes = self.plugin.now().attest(evidence, agent).await?;
            if attributes.spiffe_id.is_empty() {
                return Err(PluginError::internal("plugin response missing agent ID"));
            }
            Ok(attributes)
        };
        attested.await.map_err(|error| error.of(TYPE, &self.name))
    }
}

impl std::fmt::Debug for ServerNodeAttestor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeAttestor({})", self.name)
    }
}
