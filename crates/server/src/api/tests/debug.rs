//! What the server tells of itself.

use std::time::Duration;

use steeple_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use steeple_proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse};

use super::*;

async fn info(api: &Api) -> GetInfoResponse {
    DebugClient::new(api.local()).get_info(GetInfoRequest {}).await.unwrap().into_inner()
}

#[tokio::test]
async fn counts_and_uptime_are_those_of_five_seconds_ago_at_most() {
    let api = Api::new().await;
    let counts = |info: &GetInfoResponse| (info.agents_count, info.entries_count, info.federated_bundles_count);
    let first = info(&api).await;
    assert_eq!((counts(&first), first.uptime), ((0, 0, 1), 0));
    let ids = first.svid_chain.iter().map(|cert| cert.id.clone().unwrap().path);
    assert_eq!(ids.collect::<Vec<_>>(), ["/spire/server", ""]);

    let agent = api.agent("one").await;
    api.entry("web", &agent).await;
    api.manual.advance(Duration::from_millis(4999));
    assert_eq!(info(&api).await, first);
    api.manual.advance(Duration::from_millis(1));
    let second = info(&api).await;
    assert_eq!((counts(&second), second.uptime), ((1, 1, 1), 5));
    assert_eq!(second.svid_chain, first.svid_chain);
}

#[tokio::test]
async fn a_clock_that_was_set_back_brings_fresh_counts() {
    let api = Api::new().await;
    info(&api).await;
    api.agent("one").await;
    api.manual.set(api.manual.now() - Duration::from_secs(1));
    assert_eq!(info(&api).await.agents_count, 1);
}
