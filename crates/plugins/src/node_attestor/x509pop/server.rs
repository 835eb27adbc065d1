//! The server's half: verifies a chain, asks for a proof, and says what the node is.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use steeple_catalog::node_attestor::{AgentAttributes, ChallengeStream, Evidence, ServerPlugin};
use steeple_catalog::{Host, PluginError};
use steeple_pki::{PublicKey, PublicKeyKind, possession, random};
use steeple_runtime::os::unread;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::{Certificate, KeyUsage, parse_pem, verified_paths};

use super::ServerOptions;
use super::node::Node;
use super::wire::{self, Algorithm, Challenge, Response};
use crate::node_attestor::template::Template;

pub(super) struct Server {
    trust_domain: TrustDomain,
    host: Host,
    mode: Mode,
    template: Template,
    max_intermediates: usize,
    max_rsa_bits: usize,
    verify_client_ip: bool,
}

/// Whose certificates are taken.
enum Mode {
    /// Those below these authorities.
    ExternalPki(Arc<[Certificate]>),
    /// SVIDs of the own trust domain, with a path that begins so.
    Spiffe { prefix: String },
}

impl Server {
    pub(super) fn new(options: ServerOptions, trust_domain: TrustDomain, host: Host) -> Result<Self, PluginError> {
        let ServerOptions {
            mode,
            ca_bundle_path,
            ca_bundle_paths,
            spiffe_prefix,
            agent_path_template,
            max_intermediates,
            max_rsa_key_size,
            verify_client_ip,
        } = options;
        let paths = || match (ca_bundle_path.as_str(), ca_bundle_paths.as_slice()) {
            ("", paths) => Ok(paths.to_vec()),
            (path, []) => Ok(vec![path.to_owned()]),
            _ => Err(PluginError::invalid_argument(
                "only one of ca_bundle_path or ca_bundle_paths can be configured, not both",
            )),
        };
        let mode = match mode.as_str() {
            "" | "external_pki" => {
                let paths = paths()?;
                if paths.is_empty() {
                    return Err(PluginError::invalid_argument(
                        "one of ca_bundle_path or ca_bundle_paths must be configured",
                    ));
                }
                let mut authorities = Vec::new();
                for path in paths {
                    authorities.extend(read_bundle(Path::new(&path)).map_err(|error| {
                        PluginError::invalid_argument(format!("unable to load trust bundle {path:?}: {error}"))
                    })?);
                }
                Mode::ExternalPki(authorities.into())
            }
            "spiffe" if !paths()?.is_empty() => {
                return Err(PluginError::invalid_argument(
                    "you can not use ca_bundle_path or ca_bundle_paths in spiffe mode",
                ));
            }
            "spiffe" => {
                let mut prefix = spiffe_prefix.unwrap_or_else(|| "/spire-exchange/".to_owned());
                if !prefix.ends_with('/') {
                    prefix.push('/');
                }
                Mode::Spiffe { prefix }
            }
            _ => return Err(PluginError::invalid_argument("mode can only be either spiffe or external_pki")),
        };
        let template = match (agent_path_template.as_str(), &mode) {
            ("", Mode::ExternalPki(_)) => "/{{ .PluginName }}/{{ .Fingerprint }}",
            ("", Mode::Spiffe { .. }) => "/{{ .PluginName }}/{{ .SVIDPathTrimmed }}",
            (template, _) => template,
        };
        let template = Template::parse(template).map_err(|error| {
            PluginError::invalid_argument(format!("failed to parse agent svid template: {template:?}: {error}"))
        })?;
        let positive = |key: &str, value: Option<i64>, default| match value.map(usize::try_from) {
            None => Ok(default),
            Some(Ok(value)) if value > 0 => Ok(value),
            Some(_) => Err(PluginError::invalid_argument(format!("{key} must be greater than 0"))),
        };
        Ok(Self {
            trust_domain,
            host,
            mode,
            template,
            max_intermediates: positive("max_intermediates", max_intermediates, 4)?,
            max_rsa_bits: positive("max_rsa_key_size", max_rsa_key_size, 8192)?,
            verify_client_ip,
        })
    }

    /// The chain, with nothing known about it but that it is one and not too large.
    fn read_chain(&self, payload: &[u8]) -> Result<Vec<Certificate>, PluginError> {
        let evidence: wire::Evidence = wire::read("failed to unmarshal data", payload)?;
        let Some(intermediates) = evidence.certificates.len().checked_sub(1) else {
            return Err(PluginError::invalid_argument("no certificate to attest"));
        };
        if intermediates > self.max_intermediates {
            return Err(PluginError::invalid_argument("too many intermediate certificates"));
        }
        let mut chain = Vec::with_capacity(evidence.certificates.len());
        for (at, der) in evidence.certificates.iter().enumerate() {
            let which = || match at {
                0 => "leaf certificate".to_owned(),
                at => format!("intermediate certificate {}", at - 1),
            };
            let certificate = Certificate::from_der(&der.0)
                .map_err(|error| PluginError::invalid_argument(format!("unable to parse {}: {error}", which())))?;
            if let Ok(PublicKeyKind::Rsa(bits)) = certificate.public_key().map(|key| key.kind())
                && bits > self.max_rsa_bits
            {
                return Err(PluginError::invalid_argument(format!("{} key size too large", which())));
            }
            chain.push(certificate);
        }
        Ok(chain)
    }

    fn authorities(&self) -> Result<Arc<[Certificate]>, PluginError> {
        match &self.mode {
            Mode::ExternalPki(authorities) => Ok(Arc::clone(authorities)),
            // Without any, nobody is believed: the reference falls back to the authorities of the operating system.
            Mode::Spiffe { .. } => self.host.x509_authorities(),
        }
    }

    fn check_client_ip(&self, leaf: &Certificate, client_ip: Option<IpAddr>) -> Result<(), PluginError> {
        if !self.verify_client_ip {
            return Ok(());
        }
        let ip = client_ip.ok_or_else(|| PluginError::internal("client IP is not available"))?;
        if leaf.ip_sans().iter().any(|san| san.to_canonical() == ip) {
            return Ok(());
        }
        Err(PluginError::permission_denied(format!("client IP {ip} does not match any certificate IP SAN")))
    }

    /// The part of an SVID's path behind the prefix; nothing for certificates of others.
    fn svid_path(&self, leaf: &Certificate) -> Result<Option<String>, PluginError> {
        let Mode::Spiffe { prefix } = &self.mode else { return Ok(None) };
        let denied = PluginError::permission_denied;
        let uri = leaf.uri_sans().iter().find_map(|uri| uri.strip_prefix("spiffe://"));
        let uri = uri.ok_or_else(|| denied("valid SVID x509 cert not found"))?;
        let path = uri.find('/').map_or("", |at| &uri[at..]);
        let rest = path.strip_prefix(prefix).ok_or_else(|| denied("x509 cert doesnt match SVID prefix"))?;
        Ok(Some(rest.to_owned()))
    }
}

#[async_trait]
impl ServerPlugin for Server {
    async fn attest(
        &self,
        evidence: Evidence,
        agent: &mut dyn ChallengeStream,
    ) -> Result<AgentAttributes, PluginError> {
        let chain = self.read_chain(&evidence.payload)?;
        let leaf = &chain[0];
        let paths = verified_paths(&chain, &self.authorities()?, self.host.clock().now())
            .map_err(|error| PluginError::permission_denied(format!("certificate verification failed: {error}")))?;
        self.check_client_ip(leaf, evidence.client_ip)?;

        let (key, algorithm) = signing_key(leaf)
            .map_err(|error| PluginError::internal(format!("unable to generate challenge: {error}")))?;
        let of_server = random().map_err(PluginError::internal)?;
        let response = agent.ask(wire::write(&Challenge::new(algorithm, of_server))?).await?;
        let failed = |why: &dyn std::fmt::Display| {
            PluginError::permission_denied(format!("challenge response verification failed: {why}"))
        };
        let response: Response = wire::read("unable to unmarshal challenge response", &response)?;
        let (of_agent, proof) = response.into_parts(algorithm).map_err(|missing| failed(&missing))?;
        possession::verify(&key, &wire::message(&of_server, &of_agent), &proof).map_err(|error| failed(&error))?;

        let svid_path = self.svid_path(leaf)?;
        let node = Node::new(leaf, &paths, &self.trust_domain, svid_path.as_deref());
        Ok(AgentAttributes {
            spiffe_id: node.agent_id(&self.template)?,
            selector_values: node.selectors(),
            can_reattest: true,
        })
    }
}

/// The key that is to sign, if the certificate is for signing.
fn signing_key(leaf: &Certificate) -> Result<(PublicKey, Algorithm), String> {
    if !leaf.key_usage().is_some_and(|usage| usage.contains(KeyUsage::DIGITAL_SIGNATURE)) {
        return Err("certificate not intended for digital signature use".to_owned());
    }
    let key = leaf.public_key().map_err(|error| error.to_string())?;
    let algorithm = Algorithm::of(key.kind())?;
    Ok((key, algorithm))
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| unread(path, &error))?;
    parse_pem(&text).map_err(|error| error.to_string())
}
