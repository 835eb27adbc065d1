//! What changes while the server runs holds from the next call on.

use futures::FutureExt;
use steeple_proto::spire::api::server::agent::v1::ListAgentsRequest;
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_transport::rpc::Limits;
use tonic::Code;

use super::*;
use crate::authpolicy::{Rules, Table};
use crate::limits;

#[tokio::test]
async fn whoever_is_named_an_administrator_is_one_until_the_name_is_gone() {
    let api = Api::new().await;
    let agent = api.agent("t-1").await;
    let list = async || AgentClient::new(api.showing(&agent)).list_agents(ListAgentsRequest::default()).await;
    assert_eq!(list().await.unwrap_err().code(), Code::PermissionDenied);
    api.settings.admin_ids.send_replace([agent.spiffe_id().unwrap()].into());
    assert_eq!(list().await.unwrap().into_inner().agents.len(), 1);
    api.settings.admin_ids.send_replace([].into());
    assert_eq!(list().await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn another_policy_holds_from_the_next_call_on() {
    let api = Api::new().await;
    let fetch = async || BundleClient::new(api.anonymous()).get_bundle(GetBundleRequest::default()).await;
    fetch().await.unwrap();
    api.settings.policy.send_replace(Arc::new(Rules::Table(Table::closed())));
    assert_eq!(fetch().await.unwrap_err().code(), Code::PermissionDenied);
    api.settings.policy.send_replace(Arc::new(Rules::standard()));
    fetch().await.unwrap();
}

#[tokio::test]
async fn attestations_of_one_address_come_one_a_second_once_they_are_limited() {
    let api = Api::new().await;
    for token in ["t-1", "t-2", "t-3", "t-4"] {
        api.token(token, 60).await;
    }
    api.attest("t-1").await.unwrap();
    api.attest("t-2").await.unwrap();
    let on = RateLimits { attestation: true, signing: true };
    api.settings.limits.send_replace(Limits::new(limits::rates(on), &api.manual.clock()));
    api.attest("t-3").await.unwrap();
    let mut fourth = Box::pin(api.attest("t-4"));
    assert!(fourth.as_mut().now_or_never().is_none());
    api.manual.advance(std::time::Duration::from_secs(1));
    fourth.await.unwrap();
}
