use prost::Message;
use steeple_datastore::bundles::{
    AppendBundle, BundleMask, CreateBundle, DeleteBundle, DeleteMode, PruneBundle, RevokeJwtAuthority,
    RevokeX509Authority, SetBundle, TaintJwtAuthority, TaintX509Authority, UpdateBundle,
};
use steeple_datastore::{Bundle, Entry, Error};
use steeple_proto::spire::common::{Certificate, PublicKey};
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::Coded;

use crate::opened::{Opened, entry};
use crate::unopened::fixture;

const TD: &str = "spiffe://td";

fn root(der: &[u8]) -> Certificate {
    Certificate { der_bytes: der.into(), tainted_key: false }
}

fn key(kid: &str, not_after: i64) -> PublicKey {
    PublicKey { kid: kid.into(), not_after, ..PublicKey::default() }
}

fn bundle() -> Bundle {
    Bundle { trust_domain_id: TD.into(), ..Bundle::default() }
}

pub(crate) async fn appends_only_what_is_new(store: Opened) {
    let first = Bundle { root_cas: vec![root(b"1")], refresh_hint: 60, ..bundle() };
    assert_eq!(store.write(AppendBundle(first.clone())).await.unwrap(), first, "created with sequence number 0");
    assert_eq!(store.write(AppendBundle(first.clone())).await.unwrap(), first, "nothing new");

    let tainted = Certificate { tainted_key: true, ..root(b"1") };
    let more = Bundle {
        root_cas: vec![root(b"1"), root(b"2"), tainted.clone()],
        jwt_signing_keys: vec![key("k", 1)],
        wit_signing_keys: vec![key("w", 1)],
        sequence_number: 77,
        refresh_hint: 5,
        ..bundle()
    };
    let expected = Bundle {
        root_cas: vec![root(b"1"), root(b"2"), tainted],
        jwt_signing_keys: vec![key("k", 1)],
        wit_signing_keys: vec![key("w", 1)],
        sequence_number: 1,
        ..first
    };
    assert_eq!(store.write(AppendBundle(more)).await.unwrap(), expected);
    assert_eq!(store.fetch_bundle(TD).await.unwrap(), Some(expected.clone()));
    let column = store.sql(&format!("SELECT {} FROM bundles", store.hex("data"))).await;
    let hex: String = expected.encode_to_vec().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(column, [[hex]]);
    assert_eq!(store.fetch_bundle("spiffe://none").await.unwrap(), None);
}

pub(crate) async fn sets_creates_and_updates(store: Opened) {
    store.write(CreateBundle(bundle())).await.unwrap();
    let error = store.write(CreateBundle(bundle())).await.unwrap_err();
    assert_eq!(error.to_string(), store.taken("bundles.trust_domain", "uix_bundles_trust_domain", TD));
    assert_eq!(error.code(), "AlreadyExists");

    let set = Bundle { jwt_signing_keys: vec![key("k", 1)], sequence_number: 9, refresh_hint: 8, ..bundle() };
    store.write(SetBundle(set.clone())).await.unwrap();
    assert_eq!(store.fetch_bundle(TD).await.unwrap(), Some(set.clone()));
    let other = Bundle { trust_domain_id: "spiffe://other".into(), ..bundle() };
    store.write(SetBundle(other.clone())).await.unwrap();
    assert_eq!(store.count_bundles().await.unwrap(), 2);
    let listed = store.list_bundles(&steeple_datastore::Page { size: 1, token: "1".into() }).await.unwrap();
    let ids = store.sql("SELECT id FROM bundles ORDER BY id").await.concat();
    assert_eq!((listed.rows, listed.next_page_token.as_str()), (vec![other], ids[1].as_str()));

    let new = Bundle { root_cas: vec![root(b"1")], wit_signing_keys: vec![key("w", 1)], refresh_hint: 3, ..bundle() };
    let mask = BundleMask { root_cas: true, refresh_hint: true, ..BundleMask::default() };
    let updated = store.write(UpdateBundle { bundle: new.clone(), mask }).await.unwrap();
    assert_eq!(updated, Bundle { root_cas: vec![root(b"1")], refresh_hint: 3, ..set });
    let updated = store.write(UpdateBundle { bundle: new.clone(), mask: BundleMask::ALL }).await.unwrap();
    assert_eq!(updated, new);
    let unknown = Bundle { trust_domain_id: "spiffe://none".into(), ..new };
    assert!(matches!(store.write(UpdateBundle { bundle: unknown, mask: BundleMask::ALL }).await, Err(Error::NotFound)));
}

/// Two entries federate with the bundle, a third one does not.
async fn federated(store: &Opened) {
    store.write(CreateBundle(bundle())).await.unwrap();
    for id in ["a", "b"] {
        store.create(Entry { federates_with: vec![TD.into()], dns_names: vec!["x.test".into()], ..entry(id) }).await;
    }
    store.create(entry("c")).await;
}

fn delete(mode: DeleteMode) -> DeleteBundle {
    DeleteBundle { trust_domain: TD.into(), mode }
}

pub(crate) async fn refuses_to_delete_a_bundle_in_use(store: Opened) {
    federated(&store).await;
    let error = store.write(delete(DeleteMode::Restrict)).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: cannot delete bundle; federated with 2 registration entries");
    assert_eq!(error.code(), "FailedPrecondition");
    store.write(delete(DeleteMode::Dissociate)).await.unwrap();
    assert!(matches!(store.write(delete(DeleteMode::Restrict)).await, Err(Error::NotFound)));
    store.write(CreateBundle(bundle())).await.unwrap();
    store.write(delete(DeleteMode::Restrict)).await.unwrap();
}

pub(crate) async fn dissociates_entries_and_tells_of_them(store: Opened) {
    federated(&store).await;
    store.write(delete(DeleteMode::Dissociate)).await.unwrap();
    let entry = store.fetch_entry("a").await.unwrap().unwrap();
    assert_eq!((entry.federates_with.len(), entry.revision_number), (0, 0));
    assert_eq!(store.entry_events().await, ["a", "b", "c", "a", "b"]);
    assert_eq!(store.sql("SELECT COUNT(*) FROM federated_registration_entries").await, [["0"]]);
}

pub(crate) async fn deletes_entries_with_their_lists(store: Opened) {
    federated(&store).await;
    store.write(delete(DeleteMode::Delete)).await.unwrap();
    assert_eq!(store.sql("SELECT entry_id FROM registered_entries").await, [["c"]]);
    for (table, left) in [("selectors", "1"), ("dns_names", "0"), ("federated_registration_entries", "0")] {
        assert_eq!(store.sql(&format!("SELECT COUNT(*) FROM {table}")).await, [[left]], "{table}");
    }
    assert_eq!(store.entry_events().await, ["a", "b", "c", "a", "b"]);
}

pub(crate) async fn taints_and_revokes_x509_authorities(store: Opened) {
    // Real certificates, with the key IDs that the reference says they have.
    let reference = fixture("utc", |_| {}).await;
    let own = reference.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    let untainted = own.root_cas.iter().map(|ca| root(&ca.der_bytes)).collect();
    store.write(SetBundle(Bundle { root_cas: untainted, ..bundle() })).await.unwrap();
    let id = "1440aaa84b68574f27a3d8c33d9f3733fda8d10e";
    let taint = |id: &str| store.write(TaintX509Authority { trust_domain: TD.into(), subject_key_id: id.into() });
    let revoke = |id: &str| store.write(RevokeX509Authority { trust_domain: TD.into(), subject_key_id: id.into() });
    let text = |error: Error| format!("{}: {error}", error.code());

    let not_tainted = "InvalidArgument: it is not possible to revoke an untainted root CA";
    assert_eq!(text(revoke(id).await.unwrap_err()), not_tainted);
    taint(id).await.unwrap();
    assert_eq!(text(taint(id).await.unwrap_err()), "InvalidArgument: root CA is already tainted");
    let tainted = store.fetch_bundle(TD).await.unwrap().unwrap();
    assert_eq!(tainted.root_cas.iter().map(|ca| ca.tainted_key).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(tainted.sequence_number, 1);

    revoke(id).await.unwrap();
    let revoked = store.fetch_bundle(TD).await.unwrap().unwrap();
    assert_eq!((revoked.root_cas.len(), revoked.sequence_number), (2, 2));
    let gone = "NotFound: no root CA found with provided subject key ID";
    assert_eq!(text(revoke(id).await.unwrap_err()), gone);
    assert_eq!(text(taint(id).await.unwrap_err()), "NotFound: no ca found with provided subject key ID");
}

pub(crate) async fn taints_and_revokes_jwt_authorities(store: Opened) {
    store.write(SetBundle(Bundle { jwt_signing_keys: vec![key("a", 1), key("b", 2)], ..bundle() })).await.unwrap();
    let taint = |id: &str| store.write(TaintJwtAuthority { trust_domain: TD.into(), key_id: id.into() });
    let revoke = |id: &str| store.write(RevokeJwtAuthority { trust_domain: TD.into(), key_id: id.into() });
    let text = |error: Error| format!("{}: {error}", error.code());

    let not_tainted = "InvalidArgument: it is not possible to revoke an untainted key";
    assert_eq!(text(revoke("a").await.unwrap_err()), not_tainted);
    assert!(taint("a").await.unwrap().tainted_key);
    assert_eq!(text(taint("a").await.unwrap_err()), "InvalidArgument: key is already tainted");
    assert_eq!(revoke("a").await.unwrap().kid, "a");
    let gone = "NotFound: no JWT Key found with provided key ID";
    assert_eq!(text(revoke("a").await.unwrap_err()), gone);
    assert_eq!(text(taint("a").await.unwrap_err()), gone);
    let left = store.fetch_bundle(TD).await.unwrap().unwrap();
    assert_eq!((left.jwt_signing_keys, left.sequence_number), (vec![key("b", 2)], 2));
    let unknown = TaintJwtAuthority { trust_domain: "spiffe://none".into(), key_id: "a".into() };
    assert!(matches!(store.write(unknown).await, Err(Error::NotFound)));
}

pub(crate) async fn prunes_what_has_expired_but_never_all(store: Opened) {
    let reference = fixture("utc", |_| {}).await;
    let own = reference.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    let mut ends: Vec<i64> = own
        .root_cas
        .iter()
        .map(|ca| unix_seconds(steeple_spiffe::Certificate::from_der(&ca.der_bytes).unwrap().not_after()))
        .collect();
    ends.sort_unstable();
    let (first_end, last_end) = (ends[0], ends[2]);
    let unreadable = root(b"others wrote this");
    let before = Bundle {
        root_cas: [own.root_cas.clone(), vec![unreadable.clone()]].concat(),
        jwt_signing_keys: vec![key("old", first_end), key("without an end", 0), key("new", last_end + 1)],
        refresh_hint: 300,
        ..bundle()
    };
    store.write(SetBundle(before.clone())).await.unwrap();
    let prune =
        |trust_domain: &str, expired_by| store.write(PruneBundle { trust_domain: trust_domain.into(), expired_by });

    assert!(prune(TD, first_end - 1).await.unwrap(), "the key that does not say when it ends");
    assert!(prune(TD, first_end).await.unwrap());
    assert!(!prune(TD, first_end).await.unwrap(), "nothing left to prune");
    let after = store.fetch_bundle(TD).await.unwrap().unwrap();
    assert!(after.root_cas.len() < before.root_cas.len());
    assert!(after.root_cas.contains(&unreadable));
    assert_eq!(after.jwt_signing_keys, [key("new", last_end + 1)]);
    assert_eq!((after.refresh_hint, after.sequence_number), (300, 2));

    let error = prune(TD, last_end + 1).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: prune failed: would prune all JWT signing keys");
    assert_eq!(store.fetch_bundle(TD).await.unwrap().unwrap(), after, "nothing was pruned");
    store.write(SetBundle(Bundle { root_cas: own.root_cas, ..bundle() })).await.unwrap();
    let error = prune(TD, last_end).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: prune failed: would prune all certificates");
    assert!(!prune("spiffe://none", last_end).await.unwrap());
}
