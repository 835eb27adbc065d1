//! Databases that the reference wrote are opened as they are, and say what the reference said about them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use steeple_datastore::bundles::CreateBundle;
use steeple_datastore::entries::{CreateEntry, DeleteEntry, EntryFilter, EntryMask, UpdateEntry};
use steeple_datastore::federation::BundleEndpointProfile;
use steeple_datastore::journals::CaJournal;
use steeple_datastore::nodes::{ActivateNodeSerial, AttestNode, NodeFilter, UpdateNode};
use steeple_datastore::{AdditionalAttributes, Entry, Node, Page, Selector};

use crate::opened::Opened;
use crate::unopened::{Place, data, fixture};

fn manifest(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(data(&format!("{name}.json"))).unwrap()).unwrap()
}

fn id(text: &str) -> Value {
    let (trust_domain, path) = text.strip_prefix("spiffe://").unwrap().split_once('/').unwrap();
    json!({"trust_domain": trust_domain, "path": format!("/{path}")})
}

fn selector(selector: &Selector) -> Value {
    json!({"type": selector.kind, "value": selector.value})
}

/// As the reference's command line prints it.
fn entry_json(entry: &Entry) -> Value {
    let Entry {
        entry_id,
        spiffe_id,
        parent_id,
        selectors,
        federates_with,
        x509_svid_ttl,
        jwt_svid_ttl,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        hint,
        additional_attributes,
        created_at,
    } = entry;
    let mut json = json!({
        "id": entry_id,
        "spiffe_id": id(spiffe_id),
        "parent_id": id(parent_id),
        "selectors": selectors.iter().map(selector).collect::<Vec<_>>(),
        "federates_with": federates_with.iter().filter_map(|td| td.strip_prefix("spiffe://")).collect::<Vec<_>>(),
        "x509_svid_ttl": x509_svid_ttl,
        "jwt_svid_ttl": jwt_svid_ttl,
        "admin": admin,
        "downstream": downstream,
        "expires_at": expires_at.to_string(),
        "dns_names": dns_names,
        "revision_number": revision_number.to_string(),
        "store_svid": store_svid,
        "hint": hint,
        "created_at": created_at.to_string(),
    });
    if let Some(AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }) = additional_attributes {
        json["additional_attributes"] = json!({
            "disable_x509_svid_prefetch": disable_x509_svid_prefetch,
            "jwt_svid_include_jti": jwt_svid_include_jti,
        });
    }
    json
}

fn agent_json(node: &Node) -> Value {
    let Node {
        spiffe_id,
        attestation_type,
        serial,
        expires_at,
        new_serial,
        new_expires_at,
        can_reattest,
        agent_version,
        selectors,
    } = node;
    assert_eq!((new_serial.as_str(), *new_expires_at), ("", None));
    json!({
        "id": id(spiffe_id),
        "attestation_type": attestation_type,
        "banned": node.is_banned(),
        "x509svid_serial_number": serial,
        "x509svid_expires_at": expires_at.to_string(),
        "can_reattest": can_reattest,
        "agent_version": agent_version,
        "selectors": selectors.iter().map(selector).collect::<Vec<_>>(),
    })
}

/// By what makes each unique, because the order of the manifest's lists is not fixed. Selectors and trust domains are
/// sets in the answer of the reference's command line.
fn by_id(items: &[Value]) -> BTreeMap<String, Value> {
    items
        .iter()
        .map(|item| {
            let mut item = item.clone();
            for set in ["selectors", "federates_with"] {
                if let Some(Value::Array(set)) = item.get_mut(set) {
                    set.sort_by_key(Value::to_string);
                }
            }
            (item["id"].to_string(), item)
        })
        .collect()
}

pub(crate) async fn entries_and_agents_are_those_the_reference_listed(new: Opened) {
    for name in new.left_behind() {
        let manifest = manifest(name);
        let store = fixture(name, |_| {}).await;
        let entries = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows;
        let ours = by_id(&entries.iter().map(entry_json).collect::<Vec<_>>());
        let theirs = by_id(manifest["entries"].as_array().unwrap());
        assert_eq!(ours.len(), theirs.len());
        for (id, entry) in &theirs {
            assert_eq!(&ours[id], entry, "{name} {id}");
        }
        let nodes = store.list_nodes(&NodeFilter::default(), &Page::default(), true).await.unwrap().rows;
        let ours = by_id(&nodes.iter().map(agent_json).collect::<Vec<_>>());
        let agents = by_id(manifest["agents"].as_array().unwrap());
        assert_eq!(ours, agents, "{name}");
        println!(
            "{name}: {} of {} entries equal, {} of {} agents equal",
            theirs.len(),
            entries.len(),
            agents.len(),
            nodes.len()
        );

        let counts = json!({
            "entries": store.count_entries(&EntryFilter::default()).await.unwrap(),
            "agents": store.count_nodes(&NodeFilter::default()).await.unwrap(),
            "bundles": store.count_bundles().await.unwrap(),
        });
        assert_eq!(counts, manifest["counts"]);
        // Told of files alone.
        for (table, count) in manifest["tables"].as_object().into_iter().flatten() {
            assert_eq!(store.sql(&format!("SELECT COUNT(*) FROM {table}")).await, [[count.to_string()]], "{table}");
        }
    }
}

pub(crate) async fn bundles_relationships_tokens_and_the_journal_are_those_the_reference_had(new: Opened) {
    for name in new.left_behind() {
        let manifest = manifest(name);
        let store = fixture(name, |_| {}).await;
        let own = store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
        assert_eq!(own.sequence_number.to_string(), manifest["bundle_sequence_number"]);
        let tainted: Vec<_> = own.root_cas.iter().map(|ca| json!(ca.tainted_key)).collect();
        let theirs: Vec<_> =
            manifest["x509_authorities"].as_array().unwrap().iter().map(|ca| ca["tainted"].clone()).collect();
        assert_eq!(tainted, theirs);
        let keys: Vec<_> = own
            .jwt_signing_keys
            .iter()
            .map(|key| json!({"key_id": key.kid, "expires_at": key.not_after.to_string(), "tainted": key.tainted_key}))
            .collect();
        assert_eq!(&keys, manifest["jwt_authorities"].as_array().unwrap());

        let bundles = store.list_bundles(&Page::default()).await.unwrap().rows;
        for theirs in manifest["federated_bundles"].as_array().unwrap() {
            let trust_domain = format!("spiffe://{}", theirs["trust_domain"].as_str().unwrap());
            let ours = bundles.iter().find(|bundle| bundle.trust_domain_id == trust_domain).unwrap();
            assert_eq!(theirs["refresh_hint"], ours.refresh_hint.to_string());
            assert_eq!(theirs["sequence_number"], ours.sequence_number.to_string());
            assert_eq!(theirs["x509"].as_array().unwrap().len(), ours.root_cas.len());
        }

        let relationships = store.list_federation_relationships(&Page::default()).await.unwrap().rows;
        let ours: Vec<_> = relationships
            .iter()
            .map(|it| {
                let mut json = json!({
                    "trust_domain": it.trust_domain, "bundle_endpoint_url": it.bundle_endpoint_url,
                });
                match &it.bundle_endpoint_profile {
                    BundleEndpointProfile::HttpsWeb => json["https_web"] = json!({}),
                    BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id } => {
                        json["https_spiffe"] = json!({"endpoint_spiffe_id": endpoint_spiffe_id});
                    }
                }
                json
            })
            .collect();
        assert_eq!(&ours, manifest["federation_relationships"].as_array().unwrap());
        let with_bundle = relationships.iter().filter(|it| it.bundle.is_some()).count();
        assert_eq!(with_bundle, 2, "nobundle.test has none");

        for token in manifest["join_tokens"].as_array().unwrap() {
            assert!(store.fetch_join_token(token.as_str().unwrap()).await.unwrap().is_some());
        }
        let active = manifest["authority_state"]["x509"]["active"]["authority_id"].as_str().unwrap();
        let CaJournal { id, data, active_x509_authority_id } = store.fetch_ca_journal(active).await.unwrap().unwrap();
        assert_eq!((id, active_x509_authority_id.as_str()), (1, active));
        let journal: steeple_proto::journal::Entries = prost::Message::decode(data.as_slice()).unwrap();
        assert_eq!((journal.x509_c_as.len(), journal.jwt_keys.len()), (3, 3));
    }
}

/// Does what was done to the fixture's server and compares the rows that were left.
pub(crate) async fn the_same_operations_leave_the_same_events(new: Opened) {
    for name in new.left_behind() {
        let (reference, store) = (fixture(name, |_| {}).await, new.empty_twin().await.open().await);
        repeat(&reference, &store).await;
        for columns in [
            "SELECT id, entry_id FROM registered_entries_events ORDER BY id",
            "SELECT id, spiffe_id FROM attested_node_entries_events ORDER BY id",
            "SELECT spiffe_id, new_serial_number, new_expires_at, agent_version, serial_number = '', can_reattest \
             FROM attested_node_entries ORDER BY id",
            "SELECT entry_id, type, value FROM selectors s JOIN registered_entries e \
             ON e.id = registered_entry_id ORDER BY entry_id, s.id",
        ] {
            let theirs = reference.sql(columns).await;
            assert_eq!(store.sql(columns).await, theirs, "{name}");
            println!("{name}: {} of {} rows equal: {columns}", theirs.len(), theirs.len());
        }
    }
}

async fn repeat(reference: &Opened, store: &Opened) {
    let prefix = "spiffe://example.org/spire/agent/";
    let node1 = format!("{prefix}join_token/fixture-node1");
    let node3 = format!("{prefix}join_token/fixture-node3");
    let x509pop = NodeFilter { by_attestation_type: Some("x509pop".into()), ..NodeFilter::default() };
    let node2 = reference.list_nodes(&x509pop, &Page::default(), false).await.unwrap().rows.swap_remove(0).spiffe_id;
    for bundle in reference.list_bundles(&Page::default()).await.unwrap().rows {
        store.write(CreateBundle(bundle)).await.unwrap();
    }

    let entries = reference.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows;
    let alias_of_token = entries.iter().find(|entry| entry.spiffe_id.ends_with("/alias/from-token")).unwrap();
    let others = entries.iter().filter(|entry| *entry != alias_of_token);
    for (i, entry) in others.enumerate() {
        if i == 1 {
            agents(store, &node1, &node2, &node3).await;
        }
        store.create(entry.clone()).await;
    }
    for _ in 0..2 {
        let entry = entries.iter().find(|entry| entry.entry_id == "fix-01").unwrap().clone();
        store.write(UpdateEntry { entry, mask: EntryMask::ALL }).await.unwrap();
    }
    store.create(crate::opened::entry("fix-deleted")).await;
    store.write(DeleteEntry { entry_id: "fix-deleted".into() }).await.unwrap();
    store.write(CreateEntry { entry: alias_of_token.clone() }).await.unwrap();

    // Attested again, renewed, and used. Agents are on their own: which one came first differs.
    let is_first = reference.node_events().await[10] == node2;
    if is_first {
        store.write(attest(&node2)).await.unwrap();
    }
    let renewed = UpdateNode {
        spiffe_id: node1.clone(),
        new_serial: Some("12".into()),
        new_expires_at: Some(Some(99)),
        ..UpdateNode::default()
    };
    store.write(renewed).await.unwrap();
    store.write(ActivateNodeSerial { spiffe_id: node1, serial: "12".into() }).await.unwrap();
    if !is_first {
        store.write(attest(&node2)).await.unwrap();
    }
}

async fn agents(store: &Opened, node1: &str, node2: &str, node3: &str) {
    for node in [node1, node2, node3] {
        store.write(attest(node)).await.unwrap();
        let status =
            UpdateNode { spiffe_id: node.into(), agent_version: Some("1.15.3".into()), ..UpdateNode::default() };
        store.write(status).await.unwrap();
    }
    let ban = UpdateNode {
        spiffe_id: node3.into(),
        serial: Some(String::new()),
        new_serial: Some(String::new()),
        ..UpdateNode::default()
    };
    store.write(ban).await.unwrap();
}

fn attest(spiffe_id: &str) -> AttestNode {
    let attestation_type = if spiffe_id.contains("join_token") { "join_token" } else { "x509pop" };
    AttestNode {
        spiffe_id: spiffe_id.into(),
        attestation_type: attestation_type.into(),
        serial: "1".into(),
        expires_at: 2_108_605_442,
        can_reattest: attestation_type == "x509pop",
        selectors: vec![],
    }
}

pub(crate) async fn what_we_write_reads_like_what_the_reference_wrote(new: Opened) {
    for name in new.left_behind() {
        let (reference, store) = (fixture(name, |_| {}).await, new.empty_twin().await.open().await);
        for bundle in reference.list_bundles(&Page::default()).await.unwrap().rows {
            store.write(CreateBundle(bundle)).await.unwrap();
        }
        let entries = reference.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows;
        for entry in &entries {
            store.create(entry.clone()).await;
        }
        // A file's columns have no types, its values have.
        let (types, type_of_data) = match &store.place {
            Place::File(_) => {
                let types = ", typeof(additional_attributes), typeof(admin), typeof(created_at), typeof(expiry)";
                (types, ", typeof(data)")
            }
            Place::Postgres(_) | Place::MySql(_) => ("", ""),
        };
        let columns = format!(
            "SELECT entry_id, spiffe_id, parent_id, ttl, admin, downstream, expiry, store_svid, hint, jwt_svid_ttl, {}{types} \
             FROM registered_entries ORDER BY id",
            store.hex("additional_attributes")
        );
        assert_eq!(store.sql(&columns).await, reference.sql(&columns).await, "{name}");
        let columns = format!("SELECT trust_domain, {}{type_of_data} FROM bundles ORDER BY id", store.hex("data"));
        assert_eq!(store.sql(&columns).await, reference.sql(&columns).await, "{name}");
        println!("{name}: rows of {} of {} entries equal", entries.len(), entries.len());
    }
}
