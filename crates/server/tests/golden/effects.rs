//! What calls that are not built yet, or that are refused on purpose, would have done: done behind the server's back, so
//! that the records after them find what they expect.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::Value;
use steeple_datastore::bundles::{AppendBundle, DeleteBundle, DeleteMode, SetBundle};
use steeple_datastore::entries::{EntryMask, UpdateEntry};
use steeple_datastore::join_tokens::{ConsumeJoinToken, CreateJoinToken, JoinToken};
use steeple_datastore::nodes::{AttestNode, UpdateNode};
use steeple_datastore::{AdditionalAttributes, Bundle, Entry, Mutation, Selector};
use steeple_proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest, PublishJwtAuthorityRequest,
    batch_delete_federated_bundle_request::Mode,
};
use steeple_proto::spire::api::server::entry::v1::BatchUpdateEntryRequest;
use steeple_proto::spire::api::types;
use steeple_proto::spire::common;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;

use crate::record::Record;
use crate::running::Running;

/// Lets so many seconds pass for the token that an agent is about to show.
pub(crate) async fn let_pass(running: &Running, request: &Value, seconds: f64) {
    let Some(payload) = request["params"]["data"]["payload"].as_str() else { return };
    let token = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
    let row = running.store.write(ConsumeJoinToken { token }).await.unwrap();
    let row = JoinToken { expires_at: row.expires_at - seconds as i64, ..row };
    write(running, CreateJoinToken { token: row, entry: None }).await;
}

/// Does what a record should have done, given its request as bytes.
pub(crate) async fn of(running: &Running, record: &Record, request: &[u8]) {
    // Of a batch, the items that went well.
    let went_well = |i: usize| record.responses[0]["results"][i]["status"].get("code").is_none();
    match record.method.rsplit('/').next().unwrap() {
        "AttestAgent" if record.code == "OK" => {
            let agent = &record.responses[0]["result"]["svid"]["id"];
            attest(running, agent, "join_token", Vec::new(), false).await;
        }
        "BatchUpdateEntry" => {
            let BatchUpdateEntryRequest { entries, input_mask, output_mask: _ } = decoded(request);
            for (_, entry) in entries.into_iter().enumerate().filter(|(i, _)| went_well(*i)) {
                write(running, UpdateEntry { entry: stored_entry(entry), mask: entry_mask(input_mask) }).await;
            }
        }
        "BatchSetFederatedBundle" | "BatchCreateFederatedBundle" => {
            // The two requests have the same form.
            let BatchSetFederatedBundleRequest { bundle, output_mask: _ } = decoded(request);
            for (_, bundle) in bundle.into_iter().enumerate().filter(|(i, _)| went_well(*i)) {
                write(running, SetBundle(stored_bundle(bundle))).await;
            }
        }
        "BatchDeleteFederatedBundle" if record.code == "OK" => {
            let request: BatchDeleteFederatedBundleRequest = decoded(request);
            let mode = match request.mode() {
                Mode::Restrict => DeleteMode::Restrict,
                Mode::Delete => DeleteMode::Delete,
                Mode::Dissociate => DeleteMode::Dissociate,
            };
            for (_, name) in request.trust_domains.into_iter().enumerate().filter(|(i, _)| went_well(*i)) {
                write(running, DeleteBundle { trust_domain: trust_domain_id(&name), mode }).await;
            }
        }
        "AppendBundle" if record.code == "OK" => {
            let AppendBundleRequest { x509_authorities, jwt_authorities, .. } = decoded(request);
            let more = types::Bundle { x509_authorities, jwt_authorities, ..own_bundle() };
            write(running, AppendBundle(stored_bundle(more))).await;
        }
        "PublishJWTAuthority" if record.code == "OK" => {
            let PublishJwtAuthorityRequest { jwt_authority } = decoded(request);
            let more = types::Bundle { jwt_authorities: jwt_authority.into_iter().collect(), ..own_bundle() };
            write(running, AppendBundle(stored_bundle(more))).await;
        }
        _ => {}
    }
}

/// An agent that attests by a plugin which is not built in yet, as it is listed afterwards.
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

fn decoded<T: Message + Default>(request: &[u8]) -> T {
    T::decode(request).unwrap()
}

fn id(id: &Value) -> String {
    format!("spiffe://{}{}", id["trust_domain"].as_str().unwrap(), id["path"].as_str().unwrap())
}

/// Of a name, or of any ID in it.
fn trust_domain_id(name: &str) -> String {
    TrustDomain::parse(name).unwrap().id().to_string()
}

fn own_bundle() -> types::Bundle {
    types::Bundle { trust_domain: "example.org".to_owned(), ..types::Bundle::default() }
}

fn stored_bundle(bundle: types::Bundle) -> Bundle {
    let root = |root: types::X509Certificate| common::Certificate { der_bytes: root.asn1, tainted_key: root.tainted };
    let key = |key: types::JwtKey| common::PublicKey {
        pkix_bytes: key.public_key,
        kid: key.key_id,
        not_after: key.expires_at,
        tainted_key: key.tainted,
    };
    Bundle {
        trust_domain_id: trust_domain_id(&bundle.trust_domain),
        root_cas: bundle.x509_authorities.into_iter().map(root).collect(),
        jwt_signing_keys: bundle.jwt_authorities.into_iter().map(key).collect(),
        refresh_hint: bundle.refresh_hint,
        sequence_number: bundle.sequence_number,
        wit_signing_keys: Vec::new(),
    }
}

fn stored_entry(entry: types::Entry) -> Entry {
    let id = |id: Option<types::Spiffeid>| {
        id.map_or_else(String::new, |id| format!("spiffe://{}{}", id.trust_domain, id.path))
    };
    Entry {
        entry_id: entry.id,
        spiffe_id: id(entry.spiffe_id),
        parent_id: id(entry.parent_id),
        selectors: entry.selectors.into_iter().map(|selector| Selector::new(selector.r#type, selector.value)).collect(),
        federates_with: entry.federates_with.iter().map(|name| trust_domain_id(name)).collect(),
        x509_svid_ttl: entry.x509_svid_ttl,
        jwt_svid_ttl: entry.jwt_svid_ttl,
        admin: entry.admin,
        downstream: entry.downstream,
        expires_at: entry.expires_at,
        dns_names: entry.dns_names,
        revision_number: 0,
        store_svid: entry.store_svid,
        hint: entry.hint,
        additional_attributes: entry.additional_attributes.map(|attributes| AdditionalAttributes {
            disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
            jwt_svid_include_jti: attributes.jwt_svid_include_jti,
        }),
        created_at: 0,
    }
}

/// Without a mask, everything.
fn entry_mask(mask: Option<types::EntryMask>) -> EntryMask {
    let all = |mask: Option<types::EntryMask>, get: fn(types::EntryMask) -> bool| mask.is_none_or(get);
    EntryMask {
        spiffe_id: all(mask, |mask| mask.spiffe_id),
        parent_id: all(mask, |mask| mask.parent_id),
        selectors: all(mask, |mask| mask.selectors),
        federates_with: all(mask, |mask| mask.federates_with),
        x509_svid_ttl: all(mask, |mask| mask.x509_svid_ttl),
        jwt_svid_ttl: all(mask, |mask| mask.jwt_svid_ttl),
        admin: all(mask, |mask| mask.admin),
        downstream: all(mask, |mask| mask.downstream),
        expires_at: all(mask, |mask| mask.expires_at),
        dns_names: all(mask, |mask| mask.dns_names),
        store_svid: all(mask, |mask| mask.store_svid),
        hint: all(mask, |mask| mask.hint),
        additional_attributes: all(mask, |mask| mask.additional_attributes),
    }
}
