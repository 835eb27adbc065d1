//! `join_token`: a secret that the operator carries from the server to the agent, good for one attestation. The server
//! redeems it in its datastore, where tokens are rows, whether or not its configuration names the plugin; the agent only
//! shows it.

use std::sync::Arc;

use async_trait::async_trait;
use steeple_catalog::node_attestor::{
    AgentAttributes, AgentPlugin, AttestationStream, ChallengeStream, Evidence, ServerPlugin,
};
use steeple_catalog::{Configuration, PluginError};
use zeroize::Zeroizing;

struct JoinToken(Option<Zeroizing<String>>);

/// The plugin with the token that the agent was given.
pub fn with_token(token: Zeroizing<String>) -> Arc<dyn AgentPlugin> {
    Arc::new(JoinToken(Some(token)))
}

/// The plugin as a configuration names it: without a token it can only say so. It takes no configuration.
///
/// # Errors
/// When there is one.
pub fn without_token(configuration: &Configuration) -> Result<Arc<dyn AgentPlugin>, PluginError> {
    configuration.none()?;
    Ok(Arc::new(JoinToken(None)))
}

/// The server's half, which is never asked. Any configuration will do.
///
/// # Errors
/// None.
pub fn server(_: &Configuration) -> Result<Arc<dyn ServerPlugin>, PluginError> {
    Ok(Arc::new(ByTheServer))
}

struct ByTheServer;

#[async_trait]
impl ServerPlugin for ByTheServer {
    async fn attest(&self, _: Evidence, _: &mut dyn ChallengeStream) -> Result<AgentAttributes, PluginError> {
        Err(PluginError::unimplemented("join token attestation is currently implemented within the server"))
    }
}

#[async_trait]
impl AgentPlugin for JoinToken {
    async fn aid_attestation(&self, server: &mut dyn AttestationStream) -> Result<(), PluginError> {
        let Some(token) = &self.0 else {
            return Err(PluginError::invalid_argument("join token was not provided"));
        };
        server.send_payload(token.as_bytes().to_vec()).await?;
        match server.challenge().await? {
            None => Ok(()),
            Some(_) => Err(PluginError::internal("server issued unexpected challenge")),
        }
    }
}
