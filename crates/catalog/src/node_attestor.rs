//! NodeAttestor, the agent's half: proves to the server what the agent's node is.

use std::sync::Arc;

use async_trait::async_trait;

use crate::PluginError;

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
    plugin: Arc<dyn AgentPlugin>,
}

impl AgentNodeAttestor {
    /// With the name under which the server knows the attestation.
    pub fn new(name: &str, plugin: Arc<dyn AgentPlugin>) -> Self {
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
        self.plugin.aid_attestation(server).await.map_err(|error| error.of(TYPE, &self.name))
    }
}
