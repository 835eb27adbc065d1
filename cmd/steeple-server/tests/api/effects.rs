//! What calls that are refused on purpose, and agents, would have done: done behind the server's back, so
//! that the records after them find what they expect.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::Value;
use steeple_datastore::bundles::AppendBundle;
use steeple_datastore::join_tokens::{ConsumeJoinToken, CreateJoinToken, JoinToken};
use steeple_datastore::nodes::{AttestNode, UpdateNode};
use steeple_datastore::{Bundle, Mutation, Selector};
use steeple_proto::spire::api::server::bundle::v1::AppendBundleRequest;
use steeple_proto::spire::common;
use steeple_runtime::Clock;
use steeple_testkit::calls::Record;

use crate::running::Running;

/// Lets so many seconds pass for the token that an agent is about to show.
pub(crate) async fn let_pass(running: &Running, request: &Value, seconds: f64) {
    let Some(payload) = request["params"]["data"]["payload"].as_str() else { return };
    let token = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
    let row = running.store.write(ConsumeJoinToken { token, digest: None }).await.unwrap().token;
    let row = JoinToken { expires_at: row.expires_at - seconds as i64, ..row };
    write(running, CreateJoinToken { token: row, entry: None }).await;
}

/// Does what a record should have done, given its request as bytes.
pub(crate) async fn of(running: &Running, record: &Record, request: &[u8]) {
    match record.method.rsplit('/').next().unwrap() {
        "AttestAgent" if record.code == "OK" => {
            let agent = &record.responses[0]["result"]["svid"]["id"];
            attest(running, agent, "join_token", Vec::new(), false).await;
        }
        "AppendBundle" if record.code == "OK" => {
            let AppendBundleRequest { x509_authorities, .. } = AppendBundleRequest::decode(request).unwrap();
            let root_cas = x509_authorities
                .into_iter()
                .map(|root| common::Certificate { der_bytes: root.asn1, tainted_key: root.tainted })
                .collect();
            let more = Bundle { trust_domain_id: "spiffe://example.org".into(), root_cas, ..Bundle::default() };
            write(running, AppendBundle(more)).await;
        }
        _ => {}
    }
}

/// An agent that has attested, as it is listed afterwards.
pub(crate) async fn attest_as_listed(running: &Running, agent: &Value) {
    let selectors = agent["selectors"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let selectors = selectors.map(|selector| Selector::new(text(&selector["type"]), text(&selector["value"])));
    attest(running, &agent["id"], &text(&agent["attestation_type"]), selectors.collect(), true).await;
    let update = UpdateNode {
        spiffe_id: id(&agent["id"]),
        agent_version: Some(text(&agent["agent_version"])),
        ..UpdateNode::default()
    };
    write(running, update).await;
}

async fn attest(running: &Running, agent: &Value, kind: &str, selectors: Vec<Selector>, can_reattest: bool) {
    let node = AttestNode {
        spiffe_id: id(agent),
        attestation_type: kind.to_owned(),
        serial: "1".repeat(38),
        expires_at: Clock::system().unix_seconds() + 3600,
        can_reattest,
        selectors,
    };
    write(running, node).await;
}

async fn write<M: Mutation>(running: &Running, mutation: M) {
    if let Err(error) = running.store.write(mutation).await {
        panic!("behind the server's back: {error}");
    }
}

fn id(id: &Value) -> String {
    format!("spiffe://{}{}", id["trust_domain"].as_str().unwrap(), id["path"].as_str().unwrap())
}
