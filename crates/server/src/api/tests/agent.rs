use std::time::Duration;

use steeple_proto::spire::api::server::agent::v1::{PostStatusRequest, RenewAgentRequest};
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_transport::status::denial_reason;
use tonic::Code;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

async fn calls(api: &Api, certificate: &Certificate) -> Result<(), Option<Reason>> {
    let mut client = AgentClient::new(api.showing(certificate));
    let called = client.post_status(PostStatusRequest::default()).await;
    called.map(drop).map_err(|status| denial_reason(&status))
}

#[tokio::test]
async fn a_join_token_is_good_until_its_last_second() {
    let api = Api::new().await;
    api.token("one", 60).await;
    api.token("two", 60).await;
    api.manual.advance(SECOND * 60);
    api.attest("one").await.unwrap();
    api.manual.advance(SECOND);
    let status = api.attest("two").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "join token expired"));
}

#[tokio::test]
async fn an_agent_that_sends_nothing_is_given_up() {
    let api = Api::new().await;
    let mut client = AgentClient::new(api.anonymous());
    let silent = tokio::spawn(async move { client.attest_agent(tokio_stream::pending()).await });
    api.manual.wake(SECOND * 30..=SECOND * 30).await;
    let status = silent.await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "failed to receive request from stream: none came in time")
    );
}

#[tokio::test]
async fn an_svid_lasts_as_long_as_agents_last_and_is_refused_then() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    assert_eq!(agent.not_after(), api.manual.now() + HOUR);
    api.manual.advance(HOUR);
    assert_eq!(calls(&api, &agent).await, Ok(()));
    api.manual.advance(SECOND);
    assert_eq!(calls(&api, &agent).await, Err(Some(Reason::AgentExpired)));
}

#[tokio::test]
async fn no_svid_outlives_its_authority() {
    let api = Api::new().await;
    api.manual.advance(DAY - HOUR / 2);
    let agent = api.agent("one").await;
    assert_eq!(agent.not_after(), api.manual.now() + HOUR / 2);
}

#[tokio::test]
async fn an_old_svid_is_good_until_the_renewed_one_is_seen() {
    let api = Api::new().await;
    let first = api.agent("one").await;
    api.manual.advance(HOUR / 2);
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let request = RenewAgentRequest { params: Some(AgentX509svidParams { csr: csr_of(&key) }) };
    let renewed = AgentClient::new(api.showing(&first)).renew_agent(request).await.unwrap().into_inner();
    let second = Certificate::from_der(&renewed.svid.unwrap().cert_chain[0]).unwrap();
    assert_eq!(second.public_key().unwrap(), *key.public_key());
    assert_eq!(second.not_after(), api.manual.now() + HOUR);
    assert_eq!(calls(&api, &first).await, Ok(()));
    assert_eq!(calls(&api, &second).await, Ok(()));
    let node = api.store.fetch_node(first.spiffe_id().unwrap().as_str()).await.unwrap().unwrap();
    assert_eq!(node.serial, Some(second.serial_decimal()));
}
