//! What the audit log says of calls: the reference's recorded lines have these fields and values.

use steeple_proto::spire::api::server::agent::v1::{ListAgentsRequest, list_agents_request};
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{BatchDeleteEntryRequest, ListEntriesRequest, list_entries_request};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{BatchNewX509svidRequest, MintJwtsvidRequest, NewX509svidParams};
use steeple_proto::spire::api::types;
use steeple_testkit::record::Logged;

use super::*;

/// The fields of each record, apart from those that every line has.
fn records(logged: &Logged, method: &str) -> Vec<Vec<String>> {
    const EVERY: &[&str] = &[
        "authorized_as",
        "authorized_via",
        "caller_addr",
        "caller_id",
        "level",
        "message",
        "method",
        "pid",
        "request_id",
        "service",
        "type",
    ];
    let lines = logged.with("API accessed").into_iter().filter(|line| line["method"] == method);
    lines
        .map(|line| {
            assert_eq!(line["type"], "audit");
            let own = line.into_iter().filter(|(name, _)| !EVERY.contains(&name.as_str()));
            own.map(|(name, value)| format!("{name}={value}")).collect()
        })
        .collect()
}

#[tokio::test]
async fn each_item_of_a_batch_is_told_with_what_became_of_it() {
    let logged = Logged::new();
    let api = Api::audited().await;
    let agent = api.agent("t-1").await;
    api.entry("e", &agent).await;
    api.indexed(&agent, 1).await;
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = |entry_id: &str| NewX509svidParams { entry_id: entry_id.to_owned(), csr: csr_of(&key) };
    let request = BatchNewX509svidRequest { params: vec![params("e"), params("none")] };
    SvidClient::new(api.showing(&agent)).batch_new_x509svid(request).await.unwrap();
    let told = records(&logged, "BatchNewX509SVID");
    assert_eq!(told.len(), 2);
    assert!(told[0].contains(&"entry_id=e".to_owned()) && told[0].contains(&"status=success".to_owned()), "{told:?}");
    assert!(told[0].iter().any(|field| field.starts_with("expires_at=")), "{told:?}");
    assert!(told[0].contains(&"spiffe_id=spiffe://example.org/e".to_owned()), "{told:?}");
    assert!(told[1].contains(&"status_code=NotFound".to_owned()), "{told:?}");

    let request = BatchDeleteEntryRequest { ids: vec!["e".to_owned(), "none".to_owned()] };
    EntryClient::new(api.local()).batch_delete_entry(request).await.unwrap();
    assert_eq!(
        records(&logged, "BatchDeleteEntry"),
        [
            vec!["entry_id=e", "status=success"],
            vec!["entry_id=none", "status=error", "status_code=NotFound", "status_message=entry not found"],
        ]
    );
}

#[tokio::test]
async fn filters_are_told_as_they_were_sent() {
    let logged = Logged::new();
    let api = Api::audited().await;
    let selectors = types::SelectorMatch {
        selectors: vec![types::Selector { r#type: "unix".to_owned(), value: "uid:0".to_owned() }],
        r#match: types::selector_match::MatchBehavior::MatchSuperset.into(),
    };
    let filter = list_agents_request::Filter {
        by_can_reattest: Some(true),
        by_selector_match: Some(selectors.clone()),
        ..list_agents_request::Filter::default()
    };
    let request = ListAgentsRequest { filter: Some(filter), ..ListAgentsRequest::default() };
    AgentClient::new(api.local()).list_agents(request).await.unwrap();
    assert_eq!(
        records(&logged, "ListAgents"),
        [["by_can_reattest=true", "by_selector_match=MATCH_SUPERSET", "by_selectors=unix:uid:0", "status=success"]]
    );

    let filter =
        list_entries_request::Filter { by_selectors: Some(selectors), ..list_entries_request::Filter::default() };
    for filter in [None, Some(filter)] {
        let request = ListEntriesRequest { filter, ..ListEntriesRequest::default() };
        EntryClient::new(api.local()).list_entries(request).await.unwrap();
    }
    assert_eq!(
        records(&logged, "ListEntries"),
        [
            vec!["downstream=false", "status=success"],
            vec!["by_selector_match=MATCH_SUPERSET", "by_selectors=unix:uid:0", "downstream=false", "status=success"],
        ]
    );
}

#[tokio::test]
async fn a_call_that_is_refused_is_told_with_what_was_asked() {
    let logged = Logged::new();
    let api = Api::audited().await;
    let id = Some(types::Spiffeid { trust_domain: "example.org".to_owned(), path: "/minted".to_owned() });
    let request = MintJwtsvidRequest { id, audience: Vec::new(), ttl: 7 };
    SvidClient::new(api.local()).mint_jwtsvid(request).await.unwrap_err();
    let told = records(&logged, "MintJWTSVID").remove(0);
    for field in ["spiffe_id=spiffe://example.org/minted", "status=error", "status_code=InvalidArgument", "ttl=7"] {
        assert!(told.contains(&field.to_owned()), "{told:?}");
    }
}
