//! The agent's half: shows a chain, and signs with the leaf's key.

use std::path::PathBuf;

use async_trait::async_trait;
use steeple_catalog::PluginError;
use steeple_catalog::node_attestor::{AgentPlugin, AttestationStream};
use steeple_pki::possession::ProofKey;
use steeple_pki::random;
use steeple_spiffe::pem;
use steeple_spiffe::workload_api::{Endpoint, WorkloadApiClient};
use steeple_spiffe::x509::{Certificate, X509Error};
use zeroize::Zeroizing;

use super::AgentOptions;
use super::wire::{self, Algorithm, Base64, Challenge, Evidence, Response};
use crate::read_text;

pub(super) struct Agent {
    source: Source,
}

/// Where chain and key come from.
enum Source {
    Files {
        key: PathBuf,
        certificates: PathBuf,
        intermediates: Option<PathBuf>,
    },
    /// The Workload API of another agent on this node.
    WorkloadApi(Endpoint),
}

/// A chain, and the key of its leaf.
struct Identity {
    chain: Vec<Certificate>,
    key: ProofKey,
}

impl Agent {
    pub(super) fn new(options: AgentOptions) -> Result<Self, PluginError> {
        let AgentOptions { private_key_path, certificate_path, intermediates_path, spiffe_endpoint_socket } = options;
        if !spiffe_endpoint_socket.is_empty() {
            let endpoint = Endpoint::parse(&spiffe_endpoint_socket)
                .map_err(|error| PluginError::invalid_argument(format!("invalid spiffe_endpoint_socket: {error}")))?;
            return Ok(Self { source: Source::WorkloadApi(endpoint) });
        }
        for (key, value) in [("private_key_path", &private_key_path), ("certificate_path", &certificate_path)] {
            if value.is_empty() {
                return Err(PluginError::invalid_argument(format!("{key} is required")));
            }
        }
        let source = Source::Files {
            key: private_key_path.into(),
            certificates: certificate_path.into(),
            intermediates: (!intermediates_path.is_empty()).then(|| intermediates_path.into()),
        };
        // Found out now rather than when the agent attests.
        source.read()?;
        Ok(Self { source })
    }
}

impl Source {
    async fn identity(&self) -> Result<Identity, PluginError> {
        match self {
            Self::Files { .. } => self.read(),
            Self::WorkloadApi(endpoint) => {
                let unavailable = |error: String| {
                    PluginError::unavailable(format!("unable to fetch SVID from workload API: {error}"))
                };
                // Whoever attests limits how long it may take.
                let client = WorkloadApiClient::new(endpoint).map(|client| client.with_limit(None));
                let fetching = async { client?.fetch_x509_context().await };
                let context = fetching.await.map_err(|error| unavailable(error.to_string()))?;
                let svid = context.default_svid().ok_or_else(|| unavailable("no SVID in the answer".to_owned()))?;
                let key = ProofKey::from_pkcs8_der(&svid.key_pkcs8).map_err(|error| unavailable(error.to_string()))?;
                Identity::new(svid.chain.clone(), key).map_err(unavailable)
            }
        }
    }

    fn read(&self) -> Result<Identity, PluginError> {
        let Self::Files { key, certificates, intermediates } = self else {
            return Err(PluginError::internal("there are no files"));
        };
        let refused = |error: String| PluginError::invalid_argument(format!("unable to load keypair: {error}"));
        let mut chain = read_certificates(certificates).map_err(refused)?;
        let key = ProofKey::from_pem(&Zeroizing::new(read_text(key).map_err(refused)?));
        if let Some(path) = intermediates {
            let more = read_certificates(path);
            chain.extend(more.map_err(|error| {
                PluginError::invalid_argument(format!("unable to load intermediate certificates: {error}"))
            })?);
        }
        Identity::new(chain, key.map_err(|error| refused(error.to_string()))?).map_err(refused)
    }
}

impl Identity {
    fn new(chain: Vec<Certificate>, key: ProofKey) -> Result<Self, String> {
        let leaf = chain.first().ok_or("no certificate")?;
        if leaf.spki_der() != key.public_key().spki_der() {
            return Err("private key does not match public key".to_owned());
        }
        Ok(Self { chain, key })
    }
}

#[async_trait]
impl AgentPlugin for Agent {
    async fn aid_attestation(&self, server: &mut dyn AttestationStream) -> Result<(), PluginError> {
        let Identity { chain, key } = self.source.identity().await?;
        let certificates = chain.iter().map(|certificate| Base64(certificate.der().into())).collect();
        server.send_payload(wire::write(&Evidence { certificates })?).await?;
        let Some(challenge) = server.challenge().await? else {
            // A server that needs no proof is not ours to teach.
            return Ok(());
        };
        let algorithm = Algorithm::of(key.public_key().kind()).map_err(PluginError::internal)?;
        let challenge: Challenge = wire::read("unable to unmarshal challenge", &challenge)?;
        let of_server = challenge.nonce(algorithm).ok_or_else(|| {
            PluginError::internal("failed to calculate challenge response: the challenge does not fit the key")
        })?;
        let of_agent = random().map_err(PluginError::internal)?;
        let message = wire::message(&of_server, &of_agent);
        // An RSA signature takes milliseconds.
        let proof = tokio::task::spawn_blocking(move || key.prove(&message)).await.map_err(PluginError::internal)?;
        let proof =
            proof.map_err(|error| PluginError::internal(format!("failed to calculate challenge response: {error}")))?;
        server.respond(wire::write(&Response::new(of_agent, proof))?).await
    }
}

/// The certificates of a PEM file, which may hold the key as well.
fn read_certificates(path: &std::path::Path) -> Result<Vec<Certificate>, String> {
    let text = Zeroizing::new(read_text(path)?);
    let blocks = pem::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    let certificates: Result<Vec<_>, X509Error> = certificates.map(|b| Certificate::from_der(&b.contents)).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!("{}: no certificate in it", path.display())),
        other => other.map_err(|error| format!("{}: {error}", path.display())),
    }
}
