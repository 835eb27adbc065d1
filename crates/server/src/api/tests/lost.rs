//! The database moves back, and has lost what agents were given since.

use std::time::Duration;

use steeple_datastore::nodes::DeleteNode;
use steeple_datastore::{Node, Options};
use steeple_proto::spire::api::server::agent::v1::{BanAgentRequest, RenewAgentRequest};
use steeple_proto::spire::api::types::Spiffeid;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_testkit::database::Place;

use super::agent::calls;
use super::*;

/// A server whose database can be exchanged, or meddled with.
pub(super) async fn server() -> (Api, Place) {
    let (manual, dir) = (manual(), tempfile::tempdir().unwrap());
    let place = Place::exchangeable_file(dir.path());
    let Place::File(path) = &place else { panic!("no file") };
    let store = DataStore::open(Options::sqlite(path), manual.clock()).await.unwrap();
    (Api::on(store, dir, manual, false, true).await, place)
}

async fn renew(api: &Api, agent: &Certificate) -> Certificate {
    let csr = csr_of(&PrivateKey::generate(KeyType::EcP256).unwrap());
    let request = RenewAgentRequest { params: Some(AgentX509svidParams { csr }) };
    let renewed = AgentClient::new(api.showing(agent)).renew_agent(request).await.unwrap().into_inner();
    Certificate::from_der(&renewed.svid.unwrap().cert_chain[0]).unwrap()
}

fn id(agent: &Certificate) -> String {
    agent.spiffe_id().unwrap().to_string()
}

async fn stored(api: &Api, agent: &Certificate) -> Option<Node> {
    api.store.fetch_node(&id(agent)).await.unwrap()
}

/// Waits until the index says this of an agent.
async fn known(api: &Api, agent: &Certificate, is_so: impl Fn(Option<&str>) -> bool) {
    let id = id(agent);
    let mut changes = api.index.changes_of(&id);
    while !is_so(api.index.agent(&id).map(|known| known.serial.clone()).as_deref()) {
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn agents_go_on_with_what_the_database_has_lost_but_for_those_that_were_evicted_since() {
    let (api, place) = server().await;
    let (renewed, waiting, evicted) =
        (api.agent("renewed").await, api.agent("waiting").await, api.agent("evicted").await);
    let banned = api.agent("banned").await;
    let before = [&renewed, &waiting, &evicted, &banned];
    for agent in before {
        assert_eq!(calls(&api, agent).await, Ok(()));
    }
    let copy = place.copied().await;

    let over = api.agent("over").await;
    api.manual.advance(HOUR / 2);
    let attested = api.agent("attested").await;
    let [seen, unseen, evicted] =
        [renew(&api, &renewed).await, renew(&api, &waiting).await, renew(&api, &evicted).await];
    for agent in [&over, &attested, &seen, &evicted] {
        assert_eq!(calls(&api, agent).await, Ok(()), "{}", id(agent));
        known(&api, agent, |serial| serial == Some(&agent.serial_decimal())).await;
    }
    let banned_id = Spiffeid { trust_domain: "example.org".into(), path: banned.spiffe_id().unwrap().path().into() };
    AgentClient::new(api.local()).ban_agent(BanAgentRequest { id: Some(banned_id) }).await.unwrap();
    known(&api, &banned, |serial| serial == Some("")).await;
    api.manual.advance(HOUR * 2 / 3);

    place.replace_by(&copy).await;
    // Who writes finds the other file at once, and the feed is told.
    api.store.write(DeleteNode { spiffe_id: id(&evicted) }).await.unwrap();
    known(&api, &evicted, |serial| serial.is_none()).await;

    // The comparison may end later than the feed hears of the eviction; at its end it knows what is gone.
    let end = steeple_runtime::clock::unix_seconds(seen.not_after());
    let expected = Some((Some(seen.serial_decimal()), end));
    let written_back = async {
        while stored(&api, &seen).await.map(|node| (node.serial, node.expires_at)) != expected
            || stored(&api, &attested).await.is_none()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written_back).await.expect("the SVID is not written back");
    assert_eq!(stored(&api, &waiting).await.unwrap().new_serial, unseen.serial_decimal());
    let whole = stored(&api, &attested).await.unwrap();
    assert_eq!((whole.attestation_type.as_str(), whole.can_reattest), ("join_token", false));
    assert_eq!(stored(&api, &over).await, None, "it was over anyway");
    assert!(!stored(&api, &banned).await.unwrap().is_banned(), "a ban that is lost is lost");
    for agent in [&seen, &unseen, &attested] {
        assert_eq!(calls(&api, agent).await, Ok(()), "{}", id(agent));
    }
    assert_eq!(calls(&api, &evicted).await, Err(Some(Reason::AgentNotAttested)));
    let again = renew(&api, &attested).await;
    assert_eq!(calls(&api, &again).await, Ok(()));
}
