//! One suite for every node attestor that is built in: its two halves, one against the other.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use steeple_catalog::node_attestor::{
    AgentAttributes, AgentPlugin, AttestationStream, ChallengeStream, Evidence, ServerNodeAttestor, ServerPlugin,
};
use steeple_catalog::{Configuration, Host, PluginError};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::parse_pem;
use steeple_testkit::ManualClock;
use tokio::sync::mpsc;
use tonic::Code;
use zeroize::Zeroizing;

use super::join_token;
use crate::{AGENT, SERVER};

/// Certificates and keys of nodes: `x509pop/testdata`.
pub(super) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node_attestor/x509pop/testdata").join(name)
}

/// A moment at which those certificates are valid.
pub(super) fn clock() -> ManualClock {
    let ca = parse_pem(&std::fs::read_to_string(testdata("silent.pem")).unwrap()).unwrap();
    ManualClock::new(ca[0].not_before())
}

pub(super) fn configuration(text: &str, host: &Host) -> Configuration {
    let data = if text.is_empty() { PluginData::None } else { PluginData::Fixed(hcl::parse(text).unwrap()) };
    Configuration { trust_domain: TrustDomain::parse("example.org").unwrap(), data, host: host.clone() }
}

/// One line between two halves: the agent's end, and the server's.
pub(super) struct AgentEnd {
    to_server: mpsc::Sender<Vec<u8>>,
    from_server: mpsc::Receiver<Vec<u8>>,
}

pub(super) struct ServerEnd {
    from_agent: mpsc::Receiver<Vec<u8>>,
    to_agent: mpsc::Sender<Vec<u8>>,
    /// What has been asked and answered.
    heard: Vec<(Vec<u8>, Vec<u8>)>,
}

#[async_trait]
impl AttestationStream for AgentEnd {
    async fn send_payload(&mut self, payload: Vec<u8>) -> Result<(), PluginError> {
        self.to_server.send(payload).await.map_err(PluginError::internal)
    }

    async fn challenge(&mut self) -> Result<Option<Vec<u8>>, PluginError> {
        Ok(self.from_server.recv().await)
    }

    async fn respond(&mut self, response: Vec<u8>) -> Result<(), PluginError> {
        self.to_server.send(response).await.map_err(PluginError::internal)
    }
}

#[async_trait]
impl ChallengeStream for ServerEnd {
    async fn ask(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        let gone = |_| PluginError::internal("the agent has gone");
        self.to_agent.send(challenge.clone()).await.map_err(gone)?;
        let answer = self.from_agent.recv().await.ok_or_else(|| PluginError::internal("the agent has gone"))?;
        self.heard.push((challenge, answer.clone()));
        Ok(answer)
    }
}

/// What comes of an attestation, and what went over the line.
pub(super) struct Attested {
    pub(super) server: Result<AgentAttributes, PluginError>,
    pub(super) agent: Result<(), PluginError>,
    payload: Vec<u8>,
    heard: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(super) async fn attest(agent: &dyn AgentPlugin, server: &ServerNodeAttestor, ip: Option<IpAddr>) -> Attested {
    let (to_server, from_agent) = mpsc::channel(4);
    let (to_agent, from_server) = mpsc::channel(4);
    let mut near = AgentEnd { to_server, from_server };
    let mut far = ServerEnd { from_agent, to_agent, heard: Vec::new() };
    let aiding = async move { agent.aid_attestation(&mut near).await };
    let attesting = async move {
        let payload = far.from_agent.recv().await.unwrap_or_default();
        let evidence = Evidence { payload: payload.clone(), client_ip: ip, untrusted_host: None };
        (server.attest(evidence, &mut far).await, payload, far.heard)
    };
    let (agent, (server, payload, heard)) = tokio::join!(aiding, attesting);
    Attested { server, agent, payload, heard }
}

/// Answers with what it has.
struct Replay(std::vec::IntoIter<Vec<u8>>);

#[async_trait]
impl ChallengeStream for Replay {
    async fn ask(&mut self, _: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        Ok(self.0.next().unwrap_or_default())
    }
}

/// Sends one challenge to an agent's half, and takes whatever it says.
struct Challenges(std::vec::IntoIter<Vec<u8>>);

#[async_trait]
impl AttestationStream for Challenges {
    async fn send_payload(&mut self, payload: Vec<u8>) -> Result<(), PluginError> {
        assert!(!payload.is_empty());
        Ok(())
    }

    async fn challenge(&mut self) -> Result<Option<Vec<u8>>, PluginError> {
        Ok(self.0.next())
    }

    async fn respond(&mut self, _: Vec<u8>) -> Result<(), PluginError> {
        Ok(())
    }
}

/// A built-in with a configuration that works.
struct Pair {
    name: &'static str,
    agent: Arc<dyn AgentPlugin>,
    server: ServerNodeAttestor,
    /// The server knows the evidence without the plugin.
    by_the_server: bool,
}

fn pairs() -> Vec<Pair> {
    let host = Host::new(clock().clock());
    let path = |name: &str| testdata(name).display().to_string();
    let names = |server: &'static [_]| -> Vec<&'static str> {
        server.iter().map(|built_in: &steeple_catalog::load::BuiltIn<dyn ServerPlugin>| built_in.name).collect()
    };
    let agents: Vec<_> = AGENT.node_attestors.iter().map(|built_in| built_in.name).collect();
    assert_eq!(names(SERVER.node_attestors), agents, "each attestor needs both halves");
    let pair = |name: &'static str| {
        let (of_server, of_agent) = match name {
            "x509pop" => (
                format!("ca_bundle_path = {:?}", path("ca.pem")),
                format!(
                    "private_key_path = {:?}\ncertificate_path = {:?}\nintermediates_path = {:?}",
                    path("node1.key"),
                    path("node1.pem"),
                    path("intermediate.pem")
                ),
            ),
            _ => Default::default(),
        };
        let server = SERVER.node_attestors.iter().find(|built_in| built_in.name == name).unwrap();
        let agent = AGENT.node_attestors.iter().find(|built_in| built_in.name == name).unwrap();
        let server = (server.build)(&configuration(&of_server, &host)).unwrap();
        let agent = match name {
            "join_token" => join_token::with_token(Zeroizing::new("t-1".to_owned())),
            _ => (agent.build)(&configuration(&of_agent, &host)).unwrap(),
        };
        Pair { name, agent, server: ServerNodeAttestor::new(name, server), by_the_server: name == "join_token" }
    };
    agents.into_iter().map(pair).collect()
}

#[tokio::test]
async fn an_agent_that_proves_itself_gets_the_same_id_each_time() {
    for Pair { name, agent, server, by_the_server } in pairs() {
        let first = attest(&*agent, &server, None).await;
        first.agent.unwrap();
        if by_the_server {
            let error = first.server.unwrap_err();
            let text = "nodeattestor(join_token): join token attestation is currently implemented within the server";
            assert_eq!((error.code, &*error.message), (Code::Unimplemented, text));
            continue;
        }
        let attributes = first.server.unwrap();
        let below = format!("spiffe://example.org/spire/agent/{name}/");
        assert!(attributes.spiffe_id.starts_with(&below), "{attributes:?}");
        if attributes.can_reattest {
            assert_eq!(attest(&*agent, &server, None).await.server.unwrap(), attributes, "{name}");
        }
    }
}

#[tokio::test]
async fn what_one_attestation_has_heard_is_no_proof_in_another() {
    for Pair { name, agent, server, by_the_server } in pairs() {
        let Attested { payload, heard, .. } = attest(&*agent, &server, None).await;
        assert_eq!(heard.is_empty(), by_the_server, "{name}: nothing is asked, so evidence could be shown again");
        let answers: Vec<_> = heard.into_iter().map(|(_, answer)| answer).collect();
        for answers in [answers, vec![b"{}".to_vec()], vec![b"garbage".to_vec()], Vec::new()] {
            let evidence = Evidence { payload: payload.clone(), client_ip: None, untrusted_host: None };
            let error = server.attest(evidence, &mut Replay(answers.into_iter())).await.unwrap_err();
            let expected = match by_the_server {
                true => vec![Code::Unimplemented],
                false => vec![Code::PermissionDenied, Code::InvalidArgument],
            };
            assert!(expected.contains(&error.code), "{name}: {error:?}");
        }
    }
}

#[tokio::test]
async fn evidence_that_makes_no_sense_is_the_agents_mistake() {
    for Pair { name, server, by_the_server, .. } in pairs() {
        for payload in ["", "garbage", "{}", "null", "[]", "{\"certificates\":[\"AAAA\"]}"] {
            let evidence = Evidence { payload: payload.into(), client_ip: None, untrusted_host: None };
            let error = server.attest(evidence, &mut Replay(Vec::new().into_iter())).await.unwrap_err();
            let expected =
                if by_the_server && !payload.is_empty() { Code::Unimplemented } else { Code::InvalidArgument };
            assert_eq!(error.code, expected, "{name}: {payload}: {error:?}");
            assert!(error.message.starts_with(&format!("nodeattestor({name}): ")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_challenge_that_makes_no_sense_is_not_answered() {
    for Pair { name, agent, .. } in pairs() {
        for challenge in ["", "garbage", "{}", "null"] {
            let mut server = Challenges(vec![challenge.into()].into_iter());
            assert!(agent.aid_attestation(&mut server).await.is_err(), "{name}: {challenge}");
        }
        // A server that is satisfied without asking is none of the agent's concern.
        agent.aid_attestation(&mut Challenges(Vec::new().into_iter())).await.unwrap();
    }
}
