//! AttestAgent with a plugin, one message after the other.

use std::time::Duration;

use async_trait::async_trait;
use steeple_catalog::node_attestor::{AgentAttributes, ChallengeStream, Evidence, ServerPlugin};
use steeple_catalog::{PluginError, ServerNodeAttestor};
use steeple_proto::spire::api::server::agent::v1::AttestAgentResponse;
use steeple_proto::spire::api::types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::*;

/// One attestor, `test`.
pub(super) fn attestors() -> Arc<[ServerNodeAttestor]> {
    [ServerNodeAttestor::new("test", Arc::new(Asks))].into()
}

/// Does what the evidence says: asks so many times (`asks 2`), says that the agent is somebody (`is ID`), or refuses.
struct Asks;

#[async_trait]
impl ServerPlugin for Asks {
    async fn attest(
        &self,
        evidence: Evidence,
        agent: &mut dyn ChallengeStream,
    ) -> Result<AgentAttributes, PluginError> {
        let payload = String::from_utf8(evidence.payload).unwrap();
        let (verb, object) = payload.split_once(' ').unwrap_or((&payload, ""));
        let mut selector_values = vec![format!("ip:{}", evidence.client_ip.unwrap())];
        let spiffe_id = match verb {
            "asks" => {
                for n in 0..object.parse().unwrap() {
                    let answer = agent.ask(vec![n]).await?;
                    selector_values.push(format!("answer:{}", String::from_utf8_lossy(&answer)));
                }
                "spiffe://example.org/spire/agent/test/node"
            }
            "is" => object,
            _ => return Err(PluginError::permission_denied("not you")),
        };
        Ok(AgentAttributes { spiffe_id: spiffe_id.to_owned(), selector_values, can_reattest: true })
    }
}

/// An agent's end of the stream.
struct Agent {
    send: mpsc::Sender<AttestAgentRequest>,
    answers: Streaming<AttestAgentResponse>,
}

async fn open(api: &Api, kind: &str, payload: &str) -> Result<Agent, Status> {
    let (send, sent) = mpsc::channel(4);
    let data = Some(types::AttestationData { r#type: kind.to_owned(), payload: payload.into() });
    let csr = csr_of(&PrivateKey::generate(KeyType::EcP256).unwrap());
    let params = attest_agent_request::Params { data, params: Some(AgentX509svidParams { csr }) };
    send.send(AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) }).await.unwrap();
    let answers = AgentClient::new(api.anonymous()).attest_agent(ReceiverStream::new(sent)).await?;
    Ok(Agent { send, answers: answers.into_inner() })
}

impl Agent {
    async fn next(&mut self) -> Result<attest_agent_response::Step, Status> {
        Ok(self.answers.message().await?.expect("a message").step.expect("a step"))
    }

    async fn challenge(&mut self) -> Vec<u8> {
        match self.next().await.unwrap() {
            attest_agent_response::Step::Challenge(challenge) => challenge,
            step => panic!("{step:?}"),
        }
    }

    async fn answer(&self, answer: impl Into<Vec<u8>>) {
        let step = Some(attest_agent_request::Step::ChallengeResponse(answer.into()));
        self.send.send(AttestAgentRequest { step }).await.unwrap();
    }
}

fn refusal(refused: Result<impl Sized, Status>) -> (Code, String) {
    let status = refused.err().expect("it is refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn challenges_are_relayed_until_the_plugin_is_content() {
    let api = Api::new().await;
    let mut agent = open(&api, "test", "asks 2").await.unwrap();
    assert_eq!(agent.challenge().await, [0]);
    agent.answer("b").await;
    assert_eq!(agent.challenge().await, [1]);
    agent.answer("a").await;
    let attest_agent_response::Step::Result(result) = agent.next().await.unwrap() else { panic!("no result") };
    assert!(result.reattestable);
    let id = result.svid.unwrap().id.unwrap();
    assert_eq!(id.path, "/spire/agent/test/node");
    assert!(agent.answers.message().await.unwrap().is_none(), "the stream ends well");

    let node = api.store.fetch_node("spiffe://example.org/spire/agent/test/node").await.unwrap().unwrap();
    assert!(node.can_reattest);
    let values: Vec<_> = node.selectors.into_iter().map(|selector| (selector.kind, selector.value)).collect();
    let value = |value: &str| ("test".to_owned(), value.to_owned());
    assert_eq!(values, [value("answer:a"), value("answer:b"), value("ip:127.0.0.1")]);
}

#[tokio::test]
async fn a_node_that_attests_again_gets_another_svid_for_the_same_row() {
    let api = Api::new().await;
    let mut serials = Vec::new();
    for _ in 0..2 {
        let mut agent = open(&api, "test", "asks 0").await.unwrap();
        agent.next().await.unwrap();
        let node = api.store.fetch_node("spiffe://example.org/spire/agent/test/node").await.unwrap().unwrap();
        serials.push(node.serial);
    }
    assert_ne!(serials[0], serials[1]);
}

#[tokio::test]
async fn what_a_plugin_says_is_what_the_agent_hears() {
    let api = Api::new().await;
    let refused = |payload: &'static str| async { refusal(open(&api, "test", payload).await) };
    assert_eq!(refused("refuse").await, (Code::PermissionDenied, "nodeattestor(test): not you".to_owned()));
    let text = "nodeattestor(test): plugin response missing agent ID".to_owned();
    assert_eq!(refused("is ").await, (Code::Internal, text));
    let (code, text) = refused("is nobody").await;
    assert_eq!(code, Code::Internal);
    assert!(text.starts_with("invalid agent ID: "), "{text}");
    let (code, text) = refused("is spiffe://other.org/spire/agent/test/a").await;
    assert_eq!(code, Code::Internal);
    assert!(text.contains("is not a member of trust domain \"example.org\""), "{text}");
    let text = "agent ID cannot collide with the server ID".to_owned();
    assert_eq!(refused("is spiffe://example.org/spire/server").await, (Code::Internal, text));
    let text = "error getting node attestor: could not find node attestor type \"other\"".to_owned();
    assert_eq!(refusal(open(&api, "other", "x").await), (Code::FailedPrecondition, text));
}

#[tokio::test]
async fn a_plugin_that_asks_on_and_on_is_stopped() {
    let api = Api::new().await;
    let mut agent = open(&api, "test", "asks 100").await.unwrap();
    for n in 0..8 {
        assert_eq!(agent.challenge().await, [n]);
        agent.answer("a").await;
    }
    let text = "nodeattestor(test): more than 8 challenges in one attestation".to_owned();
    assert_eq!(refusal(agent.next().await), (Code::Internal, text));
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_none_is_refused() {
    let api = Api::new().await;
    let mut agent = open(&api, "test", "asks 1").await.unwrap();
    agent.challenge().await;
    agent.answer(vec![b'a'; (128 << 10) + 1]).await;
    let text = "nodeattestor(test): challenge response is too long (131073 > 131072 bytes)".to_owned();
    assert_eq!(refusal(agent.next().await), (Code::InvalidArgument, text));

    let mut agent = open(&api, "test", "asks 1").await.unwrap();
    agent.challenge().await;
    let Agent { send, mut answers } = agent;
    drop(send);
    let text = "nodeattestor(test): failed to receive request from stream: EOF".to_owned();
    assert_eq!(refusal(answers.message().await), (Code::InvalidArgument, text));
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_given_up_and_costs_nothing() {
    let api = Api::new().await;
    let mut agent = open(&api, "test", "asks 1").await.unwrap();
    agent.challenge().await;
    api.manual.wake(Duration::from_secs(60)..=Duration::from_secs(60)).await;
    assert_eq!(refusal(agent.next().await), (Code::DeadlineExceeded, "attestation took too long".to_owned()));
    assert!(api.store.fetch_node("spiffe://example.org/spire/agent/test/node").await.unwrap().is_none());
}

#[tokio::test]
async fn a_banned_agent_that_can_attest_again_does_not() {
    let api = Api::new().await;
    let mut agent = open(&api, "test", "asks 0").await.unwrap();
    agent.next().await.unwrap();
    let id = Some(types::Spiffeid { trust_domain: "example.org".into(), path: "/spire/agent/test/node".into() });
    let ban = steeple_proto::spire::api::server::agent::v1::BanAgentRequest { id };
    AgentClient::new(api.local()).ban_agent(ban).await.unwrap();
    let text = "failed to attest: agent is banned".to_owned();
    assert_eq!(refusal(open(&api, "test", "asks 0").await), (Code::PermissionDenied, text));
}
