//! `x509pop`: a certificate that the node got from somebody else, and the proof that the node has its key.
//!
//! The agent shows a chain, the server asks for a signature over two fresh numbers, one from each side, and the agent's
//! certificate becomes its SPIFFE ID and selectors. The agent can do so again at any time, and does so instead of renewing.

mod agent;
mod node;
mod server;
mod wire;

use std::sync::Arc;

use serde::Deserialize;
use steeple_catalog::node_attestor::{AgentPlugin, ServerPlugin};
use steeple_catalog::{Configuration, PluginError};

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerOptions {
    mode: String,
    ca_bundle_path: String,
    ca_bundle_paths: Vec<String>,
    spiffe_prefix: Option<String>,
    agent_path_template: String,
    max_intermediates: Option<i64>,
    max_rsa_key_size: Option<i64>,
    verify_client_ip: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AgentOptions {
    private_key_path: String,
    certificate_path: String,
    intermediates_path: String,
    spiffe_endpoint_socket: String,
}

/// The server's half.
///
/// # Errors
/// INVALID_ARGUMENT: a key is missing, has a value that it cannot have, or names a file that cannot be read.
pub fn server(configuration: &Configuration) -> Result<Arc<dyn ServerPlugin>, PluginError> {
    let Configuration { trust_domain, data: _, host } = configuration;
    let server = server::Server::new(configuration.decode()?, trust_domain.clone(), host.clone())?;
    Ok(Arc::new(server))
}

/// The agent's half. The files are read here to see that they fit together, and again at each attestation, so that they
/// can be replaced.
///
/// # Errors
/// INVALID_ARGUMENT: a key is missing, or its file cannot be read or does not fit.
pub fn agent(configuration: &Configuration) -> Result<Arc<dyn AgentPlugin>, PluginError> {
    Ok(Arc::new(agent::Agent::new(configuration.decode()?)?))
}

/// What a message would be written as, read as the evidence, the challenge and the response. A door of the fuzz targets,
/// which no other build has, like the next one.
///
/// # Errors
/// The message is none of that kind.
#[cfg(fuzzing)]
pub fn written_again(json: &[u8]) -> [Result<Vec<u8>, PluginError>; 3] {
    [
        wire::read::<wire::Evidence>("evidence", json).and_then(|read| wire::write(&read)),
        wire::read::<wire::Challenge>("challenge", json).and_then(|read| wire::write(&read)),
        wire::read::<wire::Response>("response", json).and_then(|read| wire::write(&read)),
    ]
}

/// The SPIFFE ID that a template makes of a certificate.
///
/// # Errors
/// The template cannot be read or rendered, or makes no path of an agent.
#[cfg(fuzzing)]
pub fn agent_id(
    template: &str,
    leaf: &steeple_spiffe::x509::Certificate,
    trust_domain: &steeple_spiffe::TrustDomain,
) -> Result<String, PluginError> {
    let template = super::template::Template::parse(template).map_err(PluginError::invalid_argument)?;
    node::Node::new(leaf, &[], trust_domain, Some("path")).agent_id(&template)
}

#[cfg(test)]
mod tests;
