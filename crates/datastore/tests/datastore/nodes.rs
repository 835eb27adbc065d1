use steeple_datastore::nodes::{
    ActivateNodeSerial, AttestNode, CreateNode, DeleteNode, NodeFilter, PruneNodes, PutBackNodes, RenewNode,
    SetNodeSelectors, UpdateNode,
};
use steeple_datastore::{Entry, Error, Node};

use crate::opened::{Opened, entry, selectors};

const ID: &str = "spiffe://td/spire/agent/join_token/t";

fn attest(spiffe_id: &str, serial: &str) -> AttestNode {
    AttestNode {
        spiffe_id: spiffe_id.into(),
        attestation_type: "join_token".into(),
        serial: serial.into(),
        expires_at: 2_108_605_442,
        can_reattest: false,
        selectors: selectors(&["b:1", "a:1", "b:1"]),
    }
}

pub(crate) async fn attests_a_new_node_and_a_known_one(store: Opened) {
    let node = store.write(attest(ID, "11")).await.unwrap();
    let expected = Node {
        spiffe_id: ID.into(),
        attestation_type: "join_token".into(),
        serial: Some("11".into()),
        expires_at: 2_108_605_442,
        selectors: selectors(&["a:1", "b:1"]),
        ..Node::default()
    };
    assert_eq!(node, expected);
    assert_eq!(store.node_events().await, [ID, ID]);
    let columns = "SELECT new_serial_number, new_expires_at, agent_version FROM attested_node_entries";
    assert_eq!(store.sql(columns).await, [["", "NULL", ""]]);

    let renewed = UpdateNode {
        spiffe_id: ID.into(),
        new_serial: Some("12".into()),
        new_expires_at: Some(Some(2_108_605_500)),
        agent_version: Some("1.15.3".into()),
        ..UpdateNode::default()
    };
    store.write(renewed).await.unwrap();
    let again = AttestNode {
        attestation_type: "x509pop".into(),
        can_reattest: true,
        selectors: selectors(&["c:1"]),
        ..attest(ID, "13")
    };
    let node = store.write(again).await.unwrap();
    let expected = Node {
        serial: Some("13".into()),
        can_reattest: true,
        agent_version: "1.15.3".into(),
        selectors: selectors(&["c:1"]),
        ..expected
    };
    assert_eq!(node, expected, "type and version stay, the next SVID goes");
    assert_eq!(store.fetch_node(ID).await.unwrap(), Some(expected));
    assert_eq!(store.node_events().await, [ID; 5]);
    assert_eq!(store.sql(columns).await, [["", "NULL", "1.15.3"]]);
}

pub(crate) async fn refuses_to_attest_a_banned_node(store: Opened) {
    store.write(attest(ID, "11")).await.unwrap();
    let ban = || UpdateNode {
        spiffe_id: ID.into(),
        serial: Some(String::new()),
        new_serial: Some(String::new()),
        ..UpdateNode::default()
    };
    let banned = store.write(ban()).await.unwrap();
    assert!(banned.is_banned());
    store.write(ban()).await.unwrap();
    assert!(matches!(store.write(attest(ID, "12")).await, Err(Error::Banned)));
    assert_eq!(store.fetch_node(ID).await.unwrap(), Some(banned));
    store.write(DeleteNode { spiffe_id: ID.into() }).await.unwrap();
    store.write(attest(ID, "12")).await.unwrap();
}

pub(crate) async fn updates_only_the_columns_given(store: Opened) {
    let node = Node {
        spiffe_id: ID.into(),
        attestation_type: "x509pop".into(),
        serial: Some("1".into()),
        expires_at: 10,
        new_serial: "2".into(),
        new_expires_at: Some(20),
        can_reattest: true,
        agent_version: "1.14.0".into(),
        selectors: vec![],
    };
    store.write(CreateNode(node.clone())).await.unwrap();
    assert!(matches!(store.write(CreateNode(node.clone())).await, Err(Error::Constraint(_))));
    assert_eq!(store.fetch_node(ID).await.unwrap(), Some(node.clone()));

    let none = || UpdateNode { spiffe_id: ID.into(), ..UpdateNode::default() };
    let version = UpdateNode { agent_version: Some("1.15.3".into()), ..none() };
    let expected = Node { agent_version: "1.15.3".into(), ..node };
    assert_eq!(store.write(version).await.unwrap(), expected);
    let cleared = UpdateNode {
        expires_at: Some(30),
        new_serial: Some(String::new()),
        new_expires_at: Some(None),
        can_reattest: Some(false),
        ..none()
    };
    let expected =
        Node { expires_at: 30, new_serial: String::new(), new_expires_at: None, can_reattest: false, ..expected };
    assert_eq!(store.write(cleared).await.unwrap(), expected);
    let unknown = UpdateNode { spiffe_id: "spiffe://td/none".into(), ..UpdateNode::default() };
    assert!(matches!(store.write(unknown).await, Err(Error::NotFound)));
    assert_eq!(store.node_events().await, [ID; 3]);
}

pub(crate) async fn activates_the_next_serial_only_if_it_is_still_the_next(store: Opened) {
    store.write(attest(ID, "1")).await.unwrap();
    let next = UpdateNode {
        spiffe_id: ID.into(),
        new_serial: Some("2".into()),
        new_expires_at: Some(Some(99)),
        ..UpdateNode::default()
    };
    store.write(next.clone()).await.unwrap();
    let activate = |serial: &str| store.write(ActivateNodeSerial { spiffe_id: ID.into(), serial: serial.into() });

    assert_eq!(activate("3").await.unwrap().serial.unwrap(), "1", "not the next one");
    assert_eq!(activate("").await.unwrap().serial.unwrap(), "1");
    let node = activate("2").await.unwrap();
    assert_eq!((node.serial.as_deref(), node.expires_at), (Some("2"), 99));
    assert_eq!((node.new_serial.as_str(), node.new_expires_at), ("", None));
    assert_eq!(activate("2").await.unwrap(), node, "in use already");
    assert_eq!(activate("").await.unwrap(), node);
    assert_eq!(store.node_events().await.len(), 4, "two for attesting, one each for the next and the switch");

    store.write(UpdateNode { serial: Some(String::new()), ..next }).await.unwrap();
    assert!(activate("2").await.unwrap().is_banned(), "a ban stays");
    let unknown = ActivateNodeSerial { spiffe_id: "spiffe://td/none".into(), serial: "1".into() };
    assert!(matches!(store.write(unknown).await, Err(Error::NotFound)));
}

pub(crate) async fn a_renewal_that_is_written_late_does_not_take_the_place_of_a_later_one(store: Opened) {
    store.write(attest(ID, "1")).await.unwrap();
    let renew = |known: &str, serial: &str| {
        let (spiffe_id, known, serial) = (ID.to_owned(), known.to_owned(), serial.to_owned());
        store.write(RenewNode { spiffe_id, known, serial, expires_at: 99 })
    };
    let node = renew("", "3").await.unwrap();
    assert_eq!((node.serial.as_deref(), node.new_serial.as_str(), node.new_expires_at), (Some("1"), "3", Some(99)));
    // The one before it, which knew of none either.
    assert_eq!(renew("", "2").await.unwrap(), node);
    assert_eq!(renew("3", "4").await.unwrap().new_serial, "4", "an agent that has lost its answer asks again");
    assert_eq!(store.node_events().await.len(), 4, "two for attesting, one for each that was given");

    store.sql("UPDATE attested_node_entries SET new_serial_number = NULL").await;
    assert_eq!(renew("", "5").await.unwrap().new_serial, "5");
    let unknown =
        RenewNode { spiffe_id: "spiffe://td/none".into(), known: String::new(), serial: "1".into(), expires_at: 1 };
    assert!(matches!(store.write(unknown).await, Err(Error::NotFound)));
}

pub(crate) async fn deleting_a_join_token_node_takes_its_alias_entries(store: Opened) {
    store.write(attest(ID, "1")).await.unwrap();
    let below = |id: &str, facts: &[&str]| Entry { parent_id: ID.into(), selectors: selectors(facts), ..entry(id) };
    let own = format!("spiffe_id:{ID}");
    store.create(below("alias", &[&own])).await;
    store.create(below("two-selectors", &[&own, "unix:uid:1"])).await;
    store.create(below("workload", &["unix:uid:1"])).await;
    store.create(below("other-id", &["spiffe_id:spiffe://td/other"])).await;
    store.create(Entry { selectors: selectors(&[&own]), ..entry("other-parent") }).await;

    let deleted = store.write(DeleteNode { spiffe_id: ID.into() }).await.unwrap();
    assert_eq!(deleted.selectors, selectors(&["a:1", "b:1"]));
    let left = store.sql("SELECT entry_id FROM registered_entries ORDER BY id").await.concat();
    assert_eq!(left, ["two-selectors", "workload", "other-id", "other-parent"]);
    assert_eq!(store.sql("SELECT COUNT(*) FROM node_resolver_map_entries").await, [["0"]]);
    assert_eq!(store.entry_events().await.last().unwrap(), "alias");
    assert!(matches!(store.write(DeleteNode { spiffe_id: ID.into() }).await, Err(Error::NotFound)));

    // Other attestors' nodes keep theirs.
    let id = "spiffe://td/spire/agent/x509pop/1";
    store.write(AttestNode { attestation_type: "x509pop".into(), ..attest(id, "1") }).await.unwrap();
    let facts = selectors(&[&format!("spiffe_id:{id}")]);
    store.create(Entry { parent_id: id.into(), selectors: facts, ..entry("kept") }).await;
    store.write(DeleteNode { spiffe_id: id.into() }).await.unwrap();
    assert!(store.fetch_entry("kept").await.unwrap().is_some());
}

pub(crate) async fn prunes_expired_nodes_but_never_banned_ones(store: Opened) {
    for (name, expires_at, can_reattest) in
        [("old", 1_000, true), ("older", 900, true), ("tofu", 900, false), ("banned", 900, true), ("new", 2_000, true)]
    {
        let node = AttestNode { expires_at, can_reattest, ..attest(&format!("spiffe://td/{name}"), "1") };
        store.write(node).await.unwrap();
    }
    let ban =
        UpdateNode { spiffe_id: "spiffe://td/banned".into(), serial: Some(String::new()), ..UpdateNode::default() };
    store.write(ban).await.unwrap();
    let prune = |include_non_reattestable, limit| PruneNodes { expires_before: 1_500, include_non_reattestable, limit };
    assert_eq!(store.write(prune(false, 1)).await.unwrap(), ["spiffe://td/older"]);
    assert_eq!(store.write(prune(false, 10)).await.unwrap(), ["spiffe://td/old"]);
    assert_eq!(store.write(prune(true, 10)).await.unwrap(), ["spiffe://td/tofu"]);
    assert_eq!(store.count_nodes(&NodeFilter::default()).await.unwrap(), 2);
    assert_eq!(store.sql("SELECT COUNT(DISTINCT spiffe_id) FROM node_resolver_map_entries").await, [["2"]]);
    assert_eq!(store.node_events().await.last().unwrap(), "spiffe://td/tofu");
}

pub(crate) async fn keeps_a_missing_serial_apart_from_an_empty_one(store: Opened) {
    for (name, serial) in [("null", None), ("empty", Some("")), ("good", Some("1"))] {
        let serial = serial.map(str::to_owned);
        store.write(CreateNode(Node { spiffe_id: name.into(), serial, ..Node::default() })).await.unwrap();
    }
    assert_eq!(store.fetch_node("null").await.unwrap().unwrap().serial, None);
    assert!(store.fetch_node("null").await.unwrap().unwrap().is_banned());
    for (banned, count) in [(true, 1), (false, 1)] {
        let filter = NodeFilter { by_banned: Some(banned), ..NodeFilter::default() };
        assert_eq!(store.count_nodes(&filter).await.unwrap(), count);
    }
    store.write(SetNodeSelectors { spiffe_id: "nobody".into(), selectors: selectors(&["a:1"]) }).await.unwrap();
    assert_eq!(store.fetch_node("nobody").await.unwrap(), None, "selectors may come before the node");
    assert_eq!(store.node_events().await.last().unwrap(), "nobody");
}

pub(crate) async fn puts_back_what_was_lost_of_nodes_and_nothing_that_was_decided_since(store: Opened) {
    let id = |name: &str| format!("spiffe://td/spire/agent/{name}");
    for name in ["older", "renewed", "banned", "deleted"] {
        store.write(AttestNode { selectors: selectors(&["kept:1"]), ..attest(&id(name), "11") }).await.unwrap();
    }
    let next = |name: &str, serial: &str, end: i64| UpdateNode {
        spiffe_id: id(name),
        new_serial: Some(serial.into()),
        new_expires_at: Some(Some(end)),
        ..UpdateNode::default()
    };
    store.write(next("older", "12", 2_108_605_443)).await.unwrap();
    store.write(next("renewed", "14", 2_108_605_500)).await.unwrap();
    let empty = Some(String::new());
    let ban = UpdateNode { serial: empty.clone(), new_serial: empty, ..next("banned", "", 0) };
    store.write(ban).await.unwrap();
    store.write(DeleteNode { spiffe_id: id("deleted") }).await.unwrap();
    let (renewed, banned) = (store.fetch_node(&id("renewed")).await.unwrap(), store.fetch_node(&id("banned")).await);
    let events = store.node_events().await.len();

    let known = |name: &str| Node {
        spiffe_id: id(name),
        attestation_type: "x509pop".into(),
        serial: Some("12".into()),
        expires_at: 2_108_605_450,
        new_serial: "13".into(),
        new_expires_at: Some(2_108_605_500),
        can_reattest: true,
        agent_version: "1.15.3".into(),
        selectors: selectors(&["b:1", "a:1"]),
    };
    let nodes: Vec<_> = ["older", "renewed", "banned", "deleted", "gone"].into_iter().map(known).collect();
    let written = store.write(PutBackNodes { nodes: nodes.clone() }).await.unwrap();
    assert_eq!(written, [id("older"), id("gone")]);
    let older = Node {
        attestation_type: "join_token".into(),
        can_reattest: false,
        agent_version: String::new(),
        selectors: selectors(&["kept:1"]),
        ..known("older")
    };
    assert_eq!(store.fetch_node(&id("older")).await.unwrap(), Some(older));
    let gone = Node { selectors: selectors(&["a:1", "b:1"]), ..known("gone") };
    assert_eq!(store.fetch_node(&id("gone")).await.unwrap(), Some(gone));
    assert_eq!(store.fetch_node(&id("renewed")).await.unwrap(), renewed);
    assert_eq!(store.fetch_node(&id("banned")).await.unwrap(), banned.unwrap());
    assert_eq!(store.fetch_node(&id("deleted")).await.unwrap(), None);
    assert_eq!(store.node_events().await[events..], [id("older"), id("gone"), id("gone")]);
    // Another server that has noticed the same.
    assert!(store.write(PutBackNodes { nodes }).await.unwrap().is_empty());
}
