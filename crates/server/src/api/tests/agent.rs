use std::time::Duration;

use steeple_proto::spire::api::server::agent::v1::{
    BanAgentRequest, DeleteAgentRequest, PostStatusRequest, RenewAgentRequest,
};
use steeple_proto::spire::api::types::Spiffeid;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_testkit::database::Place;
use steeple_transport::status::{denial_reason, retry_delay};
use tonic::Code;

use super::lost::server;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn calls(api: &Api, certificate: &Certificate) -> Result<(), Option<Reason>> {
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

/// What a used token answers.
fn is_used_up(answer: Result<Certificate, Status>) {
    let status = answer.unwrap_err();
    let text = "failed to attest: join token does not exist or has already been used";
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
}

/// Waits until the index knows that an agent uses this SVID.
async fn indexed(api: &Api, agent: &Certificate) {
    let (id, serial) = (agent.spiffe_id().unwrap(), agent.serial_decimal());
    let mut changes = api.index.changes_of(id.as_str());
    while api.index.agent(id.as_str()).is_none_or(|known| known.serial != serial) {
        changes.changed().await.unwrap();
    }
}

/// An agent's key, and what it asks for a certificate with.
fn request() -> Vec<u8> {
    csr_of(&PrivateKey::generate(KeyType::EcP256).unwrap())
}

#[tokio::test]
async fn a_used_token_answers_the_key_that_used_it_until_the_agent_calls() {
    let api = Api::new().await;
    api.token("one", 60).await;
    let csr = request();
    let lost = api.attest_with("one", csr.clone()).await.unwrap();
    is_used_up(api.attest("one").await);
    api.manual.advance(SECOND * 60);
    let agent = api.attest_with("one", csr.clone()).await.unwrap();
    assert_eq!(agent.spiffe_id().unwrap(), lost.spiffe_id().unwrap());
    assert_eq!(agent.spki_der(), lost.spki_der());
    assert_ne!(agent.serial_decimal(), lost.serial_decimal());
    assert_eq!(calls(&api, &agent).await, Ok(()));
    is_used_up(api.attest_with("one", csr).await);
    assert_eq!(calls(&api, &agent).await, Ok(()));
    indexed(&api, &agent).await;
    assert_eq!(calls(&api, &lost).await, Err(Some(Reason::AgentNotActive)));
}

#[tokio::test]
async fn an_answer_that_was_only_late_is_good_and_the_last_one() {
    let api = Api::new().await;
    api.token("one", 60).await;
    let csr = request();
    let late = api.attest_with("one", csr.clone()).await.unwrap();
    let second = api.attest_with("one", csr.clone()).await.unwrap();
    assert_eq!(calls(&api, &late).await, Ok(()));
    is_used_up(api.attest_with("one", csr).await);
    assert_eq!(calls(&api, &late).await, Ok(()));
    assert_eq!(calls(&api, &second).await, Ok(()));
    indexed(&api, &second).await;
    assert_eq!(calls(&api, &late).await, Err(Some(Reason::AgentNotActive)));
}

#[tokio::test]
async fn a_used_token_answers_nobody_any_more_when_it_has_expired() {
    let api = Api::new().await;
    api.token("one", 60).await;
    let csr = request();
    let agent = api.attest_with("one", csr.clone()).await.unwrap();
    api.manual.advance(SECOND * 61);
    is_used_up(api.attest_with("one", csr).await);
    // The answer may have come late.
    assert_eq!(calls(&api, &agent).await, Ok(()));
}

/// A token whose agent is also known as `/node`.
fn alias() -> CreateJoinTokenRequest {
    let agent_id = Some(Spiffeid { trust_domain: "example.org".into(), path: "/node".into() });
    CreateJoinTokenRequest { token: "one".into(), ttl: 60, agent_id }
}

/// Has a table take no rows any more, because its numbers are used up. To SQLite that is as a disk that is full.
async fn fill(place: &Place, table: &str) {
    place.sql(&format!("INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', {})", i64::MAX)).await;
}

async fn empty(place: &Place, table: &str) {
    place.sql(&format!("DELETE FROM sqlite_sequence WHERE name = '{table}'")).await;
}

/// That a call is to be made again later.
fn is_put_off(answer: Result<impl Sized, Status>, message: &str) {
    let status = answer.err().expect("it is done");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(retry_delay(&status).is_some(), "{status:?}");
    assert!(status.message().starts_with(message), "{status:?}");
}

#[tokio::test]
async fn a_token_whose_entry_the_database_cannot_take_now_is_put_off_and_not_there() {
    let (api, place) = server().await;
    let mut admin = AgentClient::new(api.local());
    fill(&place, "registered_entries").await;
    let put_off = admin.create_join_token(alias()).await;
    is_put_off(put_off, "failed to create join token registration entry: ");
    is_used_up(api.attest("one").await);

    empty(&place, "registered_entries").await;
    admin.create_join_token(alias()).await.unwrap();
    let agent = api.attest("one").await.unwrap();
    let entries = place.sql("SELECT spiffe_id, parent_id FROM registered_entries").await;
    assert_eq!(entries, [["spiffe://example.org/node", agent.spiffe_id().unwrap().as_str()]]);
}

#[tokio::test]
async fn an_attestation_that_the_database_cannot_take_now_is_put_off_and_the_token_is_good_for_the_same_key() {
    let (api, place) = server().await;
    AgentClient::new(api.local()).create_join_token(alias()).await.unwrap();
    fill(&place, "attested_node_entries").await;
    let csr = request();
    is_put_off(api.attest_with("one", csr.clone()).await, "failed to create attested agent: ");

    empty(&place, "attested_node_entries").await;
    let agent = api.attest_with("one", csr).await.unwrap();
    assert_eq!(calls(&api, &agent).await, Ok(()));
    // Known by its other name, too.
    api.create(Entry { parent_id: "spiffe://example.org/node".into(), ..entry("of-node", &agent) }).await;
    api.indexed(&agent, 2).await;
}

#[tokio::test]
async fn an_agent_that_is_banned_or_evicted_does_not_come_back_by_its_used_token() {
    let api = Api::new().await;
    for (token, banned) in [("one", true), ("two", false)] {
        api.token(token, 60).await;
        let csr = request();
        let agent = api.attest_with(token, csr.clone()).await.unwrap();
        let path = format!("/spire/agent/join_token/{token}");
        let id = Some(Spiffeid { trust_domain: "example.org".into(), path });
        let mut admin = AgentClient::new(api.local());
        let reason = if banned {
            admin.ban_agent(BanAgentRequest { id }).await.unwrap();
            Reason::AgentBanned
        } else {
            admin.delete_agent(DeleteAgentRequest { id }).await.unwrap();
            Reason::AgentNotAttested
        };
        is_used_up(api.attest_with(token, csr).await);
        assert_eq!(calls(&api, &agent).await, Err(Some(reason)));
    }
}

#[tokio::test]
async fn an_attempt_with_a_token_that_had_expired_is_not_answered_later() {
    let api = Api::new().await;
    api.token("one", 60).await;
    api.manual.advance(SECOND * 61);
    let csr = request();
    let status = api.attest_with("one", csr.clone()).await.unwrap_err();
    assert_eq!(status.message(), "join token expired");
    is_used_up(api.attest_with("one", csr).await);
}

#[tokio::test]
async fn a_renewal_whose_answer_is_lost_leaves_the_svid_in_use_and_can_be_made_again() {
    let api = Api::new().await;
    let first = api.agent("one").await;
    let renew = async || {
        let request = RenewAgentRequest { params: Some(AgentX509svidParams { csr: request() }) };
        let renewed = AgentClient::new(api.showing(&first)).renew_agent(request).await.unwrap().into_inner();
        Certificate::from_der(&renewed.svid.unwrap().cert_chain[0]).unwrap()
    };
    let lost = renew().await;
    assert_eq!(calls(&api, &first).await, Ok(()));
    let second = renew().await;
    assert_eq!(calls(&api, &first).await, Ok(()));
    assert_eq!(calls(&api, &second).await, Ok(()));
    assert_eq!(calls(&api, &lost).await, Err(Some(Reason::AgentNotActive)));
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
    let api = Api::without_rotation().await;
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
