//! What a day of writes leaves in the reference's databases has the form of what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use steeple_datastore::bundles::{
    AppendBundle, DeleteBundle, DeleteMode, PruneBundle, RevokeJwtAuthority, SetBundle, TaintJwtAuthority,
};
use steeple_datastore::entries::{CreateEntry, DeleteEntry, EntryMask, PruneEntries, UpdateEntry};
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::federation::{
    BundleEndpointProfile, CreateFederationRelationship, DeleteFederationRelationship, FederationRelationship,
    FederationRelationshipMask, UpdateFederationRelationship,
};
use steeple_datastore::join_tokens::{ConsumeJoinToken, CreateJoinToken, JoinToken, PruneJoinTokens};
use steeple_datastore::journals::{CaJournal, PruneCaJournals, SetCaJournal};
use steeple_datastore::nodes::{ActivateNodeSerial, AttestNode, DeleteNode, PruneNodes, SetNodeSelectors, UpdateNode};
use steeple_datastore::{AdditionalAttributes, Bundle, DataStore, Entry, Source};
use steeple_proto::spire::common::PublicKey;
use steeple_runtime::clock::from_unix_seconds;

use crate::opened::{Opened, entry, selectors};
use crate::schema::{assert_same, described, tables};
use crate::unopened::{Place, Unopened};

/// Forms that the reference writes, but not into the fixtures: an agent that has an SVID it has not used yet.
const BESIDES: [(&str, &str); 2] =
    [("attested_node_entries.new_serial_number", "text"), ("attested_node_entries.new_expires_at", "time")];

pub(crate) async fn a_day_of_writes_leaves_rows_of_the_references_form(new: Opened) {
    for name in new.left_behind() {
        let mut unopened = Unopened::left_behind(name);
        if let ("kolkata", Source::Sqlite { zone, .. }) = (*name, &mut unopened.options.source) {
            *zone = TimeZone::get("Asia/Kolkata").unwrap();
        }
        let (schema, theirs) = (described(&unopened.place).await, forms(&unopened.place).await);
        let store = unopened.open().await;
        let (rows_before, before) = (count(&store.place).await, dumped(&store.place).await);
        a_day(&store).await;
        let after = dumped(&store.place).await;
        let untouched: Vec<_> = before.iter().filter(|(table, rows)| after[*table] == **rows).collect();
        assert!(matches!(&*untouched, [(table, _)] if *table == "migrations"), "{untouched:?}");
        assert_same(&described(&store.place).await, &schema);
        let ours = forms(&store.place).await;
        let mut compared = 0;
        for (column, forms) in &ours {
            for form in forms {
                let kind = if form.contains("9999-99-99") { "time" } else { "text" };
                let is_known = theirs[column].contains(form) || BESIDES.contains(&(column, kind));
                assert!(is_known, "{name}: {column} is {form:?}, and {:?} in the reference's rows", theirs[column]);
                compared += 1;
            }
        }
        let rows = count(&store.place).await;
        assert!(rows > rows_before + 40, "{rows_before} rows became {rows}");
        println!("{name}: {compared} of {compared} forms of {} columns equal, {rows} rows", ours.len());
    }
}

/// All kinds of writes, as servers do them.
pub(crate) async fn a_day(store: &DataStore) {
    let now = steeple_runtime::Clock::system().unix_seconds();
    entries(store, now).await;
    agents(store, now).await;
    bundles(store).await;
    for token in ["used", "kept", "over"] {
        let token = JoinToken { token: token.into(), expires_at: now + i64::from(token != "over") * 600 };
        store.write(CreateJoinToken { token: token.clone(), entry: None }).await.unwrap();
    }
    store.write(ConsumeJoinToken { token: "used".into(), digest: Some("key".into()) }).await.unwrap();
    store.write(PruneJoinTokens { expires_before: now + 1 }).await.unwrap();
    let journal = store.fetch_ca_journal(&newest_authority(store).await).await.unwrap();
    for active in ["rotated once", "rotated twice"] {
        let journal = CaJournal { active_x509_authority_id: active.into(), ..journal.clone().unwrap_or_default() };
        store.write(SetCaJournal(journal)).await.unwrap();
    }
    let another = CaJournal { id: 0, data: vec![], active_x509_authority_id: "another server's".into() };
    store.write(SetCaJournal(another)).await.unwrap();
    store.write(PruneCaJournals { expired_by: now }).await.unwrap();
    let created_before = from_unix_seconds(now) - Duration::from_secs(1);
    store.write(PruneEntryEvents { created_before }).await.unwrap();
    store.write(PruneNodeEvents { created_before }).await.unwrap();
}

async fn entries(store: &DataStore, now: i64) {
    for i in 0..10 {
        let new = Entry {
            dns_names: vec!["b.test".into(), "a.test".into()],
            federates_with: vec!["spiffe://static.test".into()],
            hint: if i % 2 == 0 { String::new() } else { "hint".into() },
            expires_at: if i == 9 { now - 1 } else { 0 },
            additional_attributes: (i == 3)
                .then_some(AdditionalAttributes { disable_x509_svid_prefetch: true, jwt_svid_include_jti: false }),
            admin: i == 4,
            downstream: i == 5,
            store_svid: i == 6,
            selectors: selectors(&[&format!("unix:uid:{i}"), "unix:gid:1"]),
            ..entry(&format!("day-{i}"))
        };
        store.write(CreateEntry { entry: new }).await.unwrap();
    }
    for id in ["day-1", "day-3", "fix-02"] {
        let old = store.fetch_entry(id).await.unwrap().unwrap();
        let changed = Entry { additional_attributes: None, dns_names: vec!["c.test".into()], hint: "x".into(), ..old };
        store.write(UpdateEntry { entry: changed, mask: EntryMask::ALL }).await.unwrap();
    }
    for id in ["day-2", "fix-04"] {
        store.write(DeleteEntry { entry_id: id.into() }).await.unwrap();
    }
    assert_eq!(store.write(PruneEntries { expires_before: now }).await.unwrap().len(), 1);
}

async fn agents(store: &DataStore, now: i64) {
    for (i, name) in ["renewed", "waiting", "banned", "deleted", "expired"].into_iter().enumerate() {
        let spiffe_id = format!("spiffe://example.org/spire/agent/x509pop/{name}");
        let node = AttestNode {
            spiffe_id: spiffe_id.clone(),
            attestation_type: "x509pop".into(),
            serial: format!("{i}11"),
            expires_at: if name == "expired" { now - 10 } else { now + 3600 },
            can_reattest: true,
            selectors: selectors(&["x509pop:a", "x509pop:b"]),
        };
        store.write(node).await.unwrap();
        let selectors = selectors(&["x509pop:c"]);
        store.write(SetNodeSelectors { spiffe_id: spiffe_id.clone(), selectors }).await.unwrap();
        let version = Some("1.15.3".to_owned());
        let update = UpdateNode { spiffe_id: spiffe_id.clone(), ..UpdateNode::default() };
        store.write(UpdateNode { agent_version: version, ..update.clone() }).await.unwrap();
        let (new_serial, new_expires_at) = (Some("99".into()), Some(Some(now + 7200)));
        match name {
            "renewed" | "waiting" => {
                store.write(UpdateNode { new_serial, new_expires_at, ..update }).await.unwrap();
                if name == "renewed" {
                    store.write(ActivateNodeSerial { spiffe_id, serial: "99".into() }).await.unwrap();
                }
            }
            "banned" => {
                let (serial, new_serial) = (Some(String::new()), Some(String::new()));
                store.write(UpdateNode { serial, new_serial, new_expires_at: Some(None), ..update }).await.unwrap();
            }
            "deleted" => store.write(DeleteNode { spiffe_id }).await.map(drop).unwrap(),
            _ => {
                let prune = PruneNodes { expires_before: now, include_non_reattestable: false, limit: 10 };
                assert_eq!(store.write(prune).await.unwrap(), [spiffe_id]);
            }
        }
    }
}

async fn bundles(store: &DataStore) {
    let own = "spiffe://example.org";
    let key = |kid: &str, not_after| PublicKey { pkix_bytes: vec![1], kid: kid.into(), not_after, tainted_key: false };
    let more = Bundle {
        trust_domain_id: own.into(),
        jwt_signing_keys: vec![key("day-1", 2_108_605_442), key("day-2", 2_108_605_442), key("over", 1)],
        ..Bundle::default()
    };
    store.write(AppendBundle(more)).await.unwrap();
    let (trust_domain, key_id) = (own.to_owned(), "day-1".to_owned());
    store.write(TaintJwtAuthority { trust_domain: trust_domain.clone(), key_id: key_id.clone() }).await.unwrap();
    store.write(RevokeJwtAuthority { trust_domain: trust_domain.clone(), key_id }).await.unwrap();
    assert!(store.write(PruneBundle { trust_domain, expired_by: 2 }).await.unwrap());
    let foreign = store.fetch_bundle("spiffe://static.test").await.unwrap().unwrap();
    for (name, mode) in [("day.test", None), ("gone.test", Some(DeleteMode::Dissociate))] {
        let bundle = Bundle { trust_domain_id: format!("spiffe://{name}"), ..foreign.clone() };
        store.write(SetBundle(bundle.clone())).await.unwrap();
        if let Some(mode) = mode {
            store.write(DeleteBundle { trust_domain: bundle.trust_domain_id, mode }).await.unwrap();
        }
    }
    let relationship = |name: &str, bundle_endpoint_profile| FederationRelationship {
        trust_domain: name.to_owned(),
        bundle_endpoint_url: format!("https://{name}/"),
        bundle_endpoint_profile,
        bundle: None,
    };
    let of_spiffe =
        BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id: "spiffe://day.test/spire/server".to_owned() };
    for name in ["day.test", "gone.test"] {
        let new = relationship(name, BundleEndpointProfile::HttpsWeb);
        store.write(CreateFederationRelationship(new)).await.unwrap();
    }
    let (relationship, mask) = (relationship("day.test", of_spiffe), FederationRelationshipMask::ALL);
    store.write(UpdateFederationRelationship { relationship, mask }).await.unwrap();
    store.write(DeleteFederationRelationship { trust_domain: "gone.test".into() }).await.unwrap();
}

/// The authority by which the journal is found.
async fn newest_authority(store: &DataStore) -> String {
    let own = store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    let mut found = String::new();
    for root in own.root_cas {
        let certificate = steeple_spiffe::Certificate::from_der(&root.der_bytes).unwrap();
        let id = certificate.subject_key_id().map(steeple_spiffe::x509::hex).unwrap();
        if store.fetch_ca_journal(&id).await.unwrap().is_some() {
            found = id;
        }
    }
    assert!(!found.is_empty());
    found
}

/// All rows of each table.
async fn dumped(place: &Place) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut dumped = BTreeMap::new();
    for table in tables(place).await {
        let rows = place.sql(&format!("SELECT * FROM {table}")).await;
        dumped.insert(table, rows);
    }
    dumped
}

async fn count(place: &Place) -> usize {
    let mut rows = 0;
    for table in tables(place).await {
        rows += place.sql(&format!("SELECT COUNT(*) FROM {table}")).await[0][0].parse::<usize>().unwrap();
    }
    rows
}

/// How the values of each column look.
async fn forms(place: &Place) -> BTreeMap<String, BTreeSet<String>> {
    let mut forms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for table in tables(place).await {
        for column in columns(place, &table).await {
            let statement = match place {
                Place::File(_) => format!("SELECT DISTINCT typeof({column}), {column} FROM {table}"),
                // Types are the schema's.
                Place::Postgres(_) | Place::MySql(_) => format!("SELECT DISTINCT '', {column} FROM {table}"),
            };
            let rows = place.sql(&statement).await;
            let of_column = forms.entry(format!("{table}.{column}")).or_default();
            of_column.extend(rows.iter().map(|row| format!("{} {}", row[0], form(&row[1]))));
        }
    }
    forms
}

async fn columns(place: &Place, table: &str) -> Vec<String> {
    let statement = match place {
        Place::File(_) => format!("SELECT name FROM pragma_table_info('{table}')"),
        Place::Postgres(_) | Place::MySql(_) => {
            format!("SELECT DISTINCT column_name FROM information_schema.columns WHERE table_name = '{table}'")
        }
    };
    place.sql(&statement).await.concat()
}

/// What is left of a value when what it says is taken away.
fn form(value: &str) -> String {
    let shown = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect::<String>();
    match value {
        "NULL" => "NULL".into(),
        "" => "empty".into(),
        "t" | "f" => "boolean".into(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => "number".into(),
        // A time; its fraction is as long as it has to be, its zone is the whole point.
        time if shown(time).starts_with("9999-99-99 99:99:99") => {
            let (seconds, rest) = time.split_at("9999-99-99 99:99:99".len());
            let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
            format!("{}{zone}", shown(seconds))
        }
        _ => "text".into(),
    }
}
