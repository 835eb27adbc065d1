//! Each write and each question that a store knows, once at least, and the reason why none can be forgotten.

use std::any::type_name;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use steeple_datastore::bundles::{
    AppendBundle, BundleMask, CreateBundle, DeleteBundle, DeleteMode, PruneBundle, RevokeJwtAuthority,
    RevokeX509Authority, SetBundle, TaintJwtAuthority, TaintX509Authority, UpdateBundle,
};
use steeple_datastore::entries::{
    CreateEntries, CreateEntry, DeleteEntry, EntryFilter, EntryMask, PruneEntries, UpdateEntries, UpdateEntry,
};
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::federation::{
    BundleEndpointProfile, CreateFederationRelationship, DeleteFederationRelationship, FederationRelationship,
    FederationRelationshipMask, UpdateFederationRelationship,
};
use steeple_datastore::join_tokens::{
    AttestWithToken, ConsumeJoinToken, CreateJoinToken, EndAnswers, JoinToken, PruneJoinTokens,
};
use steeple_datastore::journals::{CaJournal, PruneCaJournals, SetCaJournal};
use steeple_datastore::nodes::{
    ActivateNodeSerial, AttestNode, CreateNode, DeleteNode, NodeFilter, PruneNodes, PutBackNodes, RenewNode,
    SetNodeSelectors, UpdateNode,
};
use steeple_datastore::{Bundle, DataStore, Entry, Match, MatchSet, Mutation, Node, Page};
use steeple_proto::spire::common::{Certificate, PublicKey};
use steeple_runtime::Clock;
use steeple_spiffe::x509::hex;
use steeple_testkit::Ca;

use crate::opened::{entry, selectors};

const TD: &str = "spiffe://every.test";
/// The year 2100.
const LATER: i64 = 4_102_444_800;

/// A store, and the names of what was done with it.
struct Asked<'s> {
    store: &'s DataStore,
    names: BTreeSet<String>,
}

impl Asked<'_> {
    async fn write<M: Mutation>(&mut self, mutation: M) -> M::Output {
        self.names.extend(type_name::<M>().rsplit("::").next().map(str::to_owned));
        self.store.write(mutation).await.unwrap()
    }
}

/// Asks a question of the store, by the name of its method.
macro_rules! ask {
    ($asked:ident.$question:ident($($value:expr),*)) => {{
        $asked.names.insert(stringify!($question).to_owned());
        $asked.store.$question($($value),*).await.unwrap()
    }};
}

/// All of it, on a store that has nothing of the trust domain `every.test`.
pub(crate) async fn everything(store: &DataStore) {
    let mut asked = Asked { store, names: BTreeSet::new() };
    bundles(&mut asked).await;
    entries(&mut asked).await;
    nodes(&mut asked).await;
    tokens(&mut asked).await;
    relationships(&mut asked).await;
    journals_and_events(&mut asked).await;
    let known = known();
    assert!(known.len() > 40, "{known:?}");
    let forgotten: Vec<_> = known.difference(&asked.names).collect();
    assert!(forgotten.is_empty(), "nobody has asked for {forgotten:?}");
}

/// What a store knows, as its sources have it.
fn known() -> BTreeSet<String> {
    let definition = Regex::new(r"impl Mutation for (\w+)|pub async fn (\w+)\(\s*&self\b").unwrap();
    let mut known = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            known.extend(definition.captures_iter(&text).map(|found| found.extract::<1>().1[0].to_owned()));
        }
    }
    // It asks nothing.
    known.remove("close");
    known
}

async fn bundles(asked: &mut Asked<'_>) {
    let roots = [Ca::new("every.test", Clock::system().now()), Ca::new("every.test", Clock::system().now())];
    let root_cas = roots.iter().map(|ca| Certificate { der_bytes: ca.root().der().into(), tainted_key: false });
    let key = |kid: &str, not_after| PublicKey { kid: kid.into(), not_after, ..PublicKey::default() };
    let bundle = Bundle {
        trust_domain_id: TD.into(),
        root_cas: root_cas.collect(),
        jwt_signing_keys: vec![key("tainted", LATER), key("over", 1), key("kept", LATER)],
        ..Bundle::default()
    };
    asked.write(CreateBundle(Bundle { trust_domain_id: TD.into(), ..Bundle::default() })).await;
    asked.write(AppendBundle(bundle.clone())).await;
    asked.write(SetBundle(bundle.clone())).await;
    let mask = BundleMask { root_cas: true, ..BundleMask::default() };
    asked.write(UpdateBundle { bundle: bundle.clone(), mask }).await;

    let (trust_domain, key_id) = (TD.to_owned(), "tainted".to_owned());
    let subject_key_id = hex(roots[0].root().subject_key_id().unwrap());
    let (x509, jwt) = ((trust_domain.clone(), subject_key_id), (trust_domain.clone(), key_id));
    let (trust_domain, subject_key_id) = x509.clone();
    asked.write(TaintX509Authority { trust_domain, subject_key_id }).await;
    let (trust_domain, subject_key_id) = x509;
    asked.write(RevokeX509Authority { trust_domain, subject_key_id }).await;
    let (trust_domain, key_id) = jwt.clone();
    asked.write(TaintJwtAuthority { trust_domain, key_id }).await;
    let (trust_domain, key_id) = jwt;
    asked.write(RevokeJwtAuthority { trust_domain, key_id }).await;
    asked.write(PruneBundle { trust_domain: TD.into(), expired_by: 2 }).await;

    let modes = [DeleteMode::Restrict, DeleteMode::Dissociate, DeleteMode::Delete];
    for (mode, name) in modes.into_iter().zip(["restrict", "dissociate", "delete"]) {
        let trust_domain = format!("spiffe://{name}.every.test");
        asked.write(SetBundle(Bundle { trust_domain_id: trust_domain.clone(), ..bundle.clone() })).await;
        if !matches!(mode, DeleteMode::Restrict) {
            let federates_with = vec![trust_domain.clone()];
            asked.write(CreateEntry { entry: Entry { federates_with, ..of_every(name) } }).await;
        }
        asked.write(DeleteBundle { trust_domain, mode }).await;
    }
    ask!(asked.fetch_bundle(TD));
    ask!(asked.list_bundles(&Page { size: 2, token: String::new() }));
    ask!(asked.count_bundles());
}

/// An entry that is similar to no other one.
fn of_every(name: &str) -> Entry {
    Entry {
        federates_with: vec![TD.to_owned()],
        dns_names: vec!["a.test".into(), "b.test".into()],
        selectors: selectors(&[&format!("unix:user:{name}"), "unix:gid:1"]),
        ..entry(&format!("every-{name}"))
    }
}

async fn entries(asked: &mut Asked<'_>) {
    let three: Vec<_> = ["0", "1", "2"].map(of_every).into();
    // Those that are there stand in the way of the others' statement.
    for _ in 0..2 {
        asked.write(CreateEntries { entries: three.clone() }).await;
    }
    asked.write(CreateEntry { entry: Entry { expires_at: 1, ..of_every("over") } }).await;
    asked.write(UpdateEntry { entry: of_every("0"), mask: EntryMask::ALL }).await;
    let mask = EntryMask { hint: true, ..EntryMask::default() };
    asked.write(UpdateEntries { entries: three, mask }).await;
    asked.write(DeleteEntry { entry_id: "every-0".into() }).await;
    asked.write(PruneEntries { expires_before: 2 }).await;
    ask!(asked.fetch_entry("every-1"));
    ask!(asked.fetch_entries(&["every-1".to_owned(), "every-2".to_owned()]));

    let page = Page { size: 2, token: String::new() };
    for behavior in [Match::Exact, Match::Subset, Match::Superset, Match::Any] {
        let filter = EntryFilter {
            by_parent_id: Some("spiffe://td/agent".into()),
            by_spiffe_id: Some("spiffe://td/every-1".into()),
            by_hint: Some("h".into()),
            by_downstream: Some(true),
            by_selectors: Some(MatchSet { behavior, items: selectors(&["unix:uid:1", "unix:gid:1"]) }),
            by_federates_with: Some(MatchSet { behavior, items: vec![TD.to_owned()] }),
        };
        let first = ask!(asked.list_entries(&EntryFilter::default(), &page));
        let next = Page { token: first.next_page_token, ..page.clone() };
        for page in [&page, &next] {
            ask!(asked.list_entries(&filter, page));
            ask!(asked.count_entries(&filter));
        }
    }
}

async fn nodes(asked: &mut Asked<'_>) {
    let id = |name: &str| format!("{TD}/spire/agent/x509pop/{name}");
    let attest = |name: &str, serial: &str, expires_at| AttestNode {
        spiffe_id: id(name),
        attestation_type: "x509pop".into(),
        serial: serial.into(),
        expires_at,
        can_reattest: true,
        selectors: selectors(&["x509pop:a", "x509pop:b"]),
    };
    for serial in ["1", "2"] {
        asked.write(attest("known", serial, LATER)).await;
    }
    let created = Node { spiffe_id: id("created"), serial: Some("1".into()), expires_at: 2, ..Node::default() };
    asked.write(CreateNode(created.clone())).await;
    asked.write(SetNodeSelectors { spiffe_id: id("created"), selectors: selectors(&["x509pop:c"]) }).await;
    let (new_serial, new_expires_at) = (Some("3".to_owned()), Some(Some(LATER)));
    asked.write(UpdateNode { spiffe_id: id("known"), new_serial, new_expires_at, ..UpdateNode::default() }).await;
    asked.write(ActivateNodeSerial { spiffe_id: id("known"), serial: "3".into() }).await;
    asked
        .write(RenewNode { spiffe_id: id("known"), known: String::new(), serial: "4".into(), expires_at: LATER })
        .await;
    // One that has lost its SVID, and one that is not there.
    let renewed = Node { expires_at: LATER, ..created.clone() };
    let lost = Node { spiffe_id: id("lost"), selectors: selectors(&["x509pop:d"]), ..renewed.clone() };
    assert_eq!(asked.write(PutBackNodes { nodes: vec![renewed, lost] }).await.len(), 2);
    asked.write(DeleteNode { spiffe_id: id("lost") }).await;
    for include_non_reattestable in [false, true] {
        asked.write(attest("over", "1", 1)).await;
        asked.write(PruneNodes { expires_before: 2, include_non_reattestable, limit: 10 }).await;
    }
    ask!(asked.fetch_node(&id("known")));
    for behavior in [Match::Exact, Match::Subset, Match::Superset, Match::Any] {
        let filter = NodeFilter {
            by_attestation_type: Some("x509pop".into()),
            by_selectors: Some(MatchSet { behavior, items: selectors(&["x509pop:a", "x509pop:b"]) }),
            by_banned: Some(false),
            by_can_reattest: Some(true),
            by_expires_before: Some(7),
        };
        ask!(asked.list_nodes(&filter, &Page { size: 2, token: String::new() }, true));
        ask!(asked.count_nodes(&filter));
    }
}

async fn tokens(asked: &mut Asked<'_>) {
    let spiffe_id = format!("{TD}/spire/agent/join_token/t");
    let token = |expires_at| JoinToken { token: "every".into(), expires_at };
    let alias = Entry { selectors: selectors(&["spiffe_id:t"]), ..of_every("alias") };
    asked.write(CreateJoinToken { token: token(LATER), entry: Some(alias) }).await;
    ask!(asked.fetch_join_token("every"));
    for serial in ["1", "2"] {
        let consume = ConsumeJoinToken { token: "every".into(), digest: Some("key".into()) };
        let by = asked.write(consume).await.by.unwrap();
        let node = AttestNode {
            spiffe_id: spiffe_id.clone(),
            attestation_type: "join_token".into(),
            serial: serial.into(),
            expires_at: LATER,
            can_reattest: false,
            selectors: Vec::new(),
        };
        asked.write(AttestWithToken { node, by }).await;
    }
    asked.write(EndAnswers { spiffe_id: spiffe_id.clone() }).await;
    asked.write(DeleteNode { spiffe_id }).await;
    asked.write(CreateJoinToken { token: token(1), entry: None }).await;
    asked.write(PruneJoinTokens { expires_before: 2 }).await;
}

async fn relationships(asked: &mut Asked<'_>) {
    let relationship = FederationRelationship {
        trust_domain: "every.test".into(),
        bundle_endpoint_url: "https://every.test/".into(),
        bundle_endpoint_profile: BundleEndpointProfile::HttpsWeb,
        bundle: Some(Bundle { trust_domain_id: TD.into(), ..Bundle::default() }),
    };
    asked.write(CreateFederationRelationship(relationship.clone())).await;
    let mask = FederationRelationshipMask::ALL;
    asked.write(UpdateFederationRelationship { relationship, mask }).await;
    ask!(asked.fetch_federation_relationship("every.test"));
    ask!(asked.list_federation_relationships(&Page { size: 2, token: String::new() }));
    asked.write(DeleteFederationRelationship { trust_domain: "every.test".into() }).await;
}

async fn journals_and_events(asked: &mut Asked<'_>) {
    let journal = CaJournal { id: 0, data: Vec::new(), active_x509_authority_id: "every".into() };
    let id = asked.write(SetCaJournal(journal.clone())).await;
    asked.write(SetCaJournal(CaJournal { id, ..journal })).await;
    ask!(asked.fetch_ca_journal("every"));
    asked.write(PruneCaJournals { expired_by: 2 }).await;
    let created_before = Clock::system().now() + Duration::from_secs(60);
    asked.write(PruneEntryEvents { created_before }).await;
    asked.write(PruneNodeEvents { created_before }).await;
}
