use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use prost::Message;
use steeple_datastore::{ChangedRows, Entry, Node, Selector, Slice};
use steeple_proto::spire::common;

use super::*;

const AGENT: &str = "spiffe://example.org/spire/agent/a";
const OTHER: &str = "spiffe://example.org/spire/agent/b";
const SERVER: &str = "spiffe://example.org/spire/server";

/// An entry `id` that gives `spiffe_id` (a path) below `parent` (an ID).
fn entry(id: &str, parent: &str, path: &str) -> Entry {
    Entry {
        entry_id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org{path}"),
        parent_id: parent.to_owned(),
        selectors: vec![Selector::new("unix", "uid:0")],
        ..Entry::default()
    }
}

/// A node alias: agents with all of these selectors are also `path`.
fn alias(id: &str, path: &str, selectors: &[&str]) -> Entry {
    Entry { selectors: facts(selectors), ..entry(id, SERVER, path) }
}

fn node(spiffe_id: &str, selectors: &[&str]) -> Node {
    Node {
        spiffe_id: spiffe_id.to_owned(),
        serial: Some("1".to_owned()),
        selectors: facts(selectors),
        ..Node::default()
    }
}

fn facts(values: &[&str]) -> Vec<Selector> {
    values.iter().map(|value| Selector::new("node", *value)).collect()
}

fn index(entries: impl IntoIterator<Item = Entry>, nodes: impl IntoIterator<Item = Node>) -> Index {
    Index::new(loaded(entries, nodes))
}

fn loaded(entries: impl IntoIterator<Item = Entry>, nodes: impl IntoIterator<Item = Node>) -> Loading {
    let mut loading = Loading::new(&trust_domain());
    loading.add(Part::Nodes(nodes.into_iter().collect()));
    // In parts as small as they can be.
    entries.into_iter().for_each(|entry| loading.add(Part::Entries(vec![entry])));
    loading
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn put(entry: Entry) -> ChangedRows {
    let entries = vec![(entry.entry_id.clone(), Some(Arc::new(entry)))];
    ChangedRows { entries, ..ChangedRows::default() }
}

fn remove(id: &str) -> ChangedRows {
    ChangedRows { entries: vec![(id.to_owned(), None)], ..ChangedRows::default() }
}

fn put_node(node: Node) -> ChangedRows {
    ChangedRows { nodes: vec![(node.spiffe_id.clone(), Some(node))], ..ChangedRows::default() }
}

fn put_bundle(trust_domain: &str, bundle: Option<common::Bundle>) -> ChangedRows {
    ChangedRows { bundles: vec![(trust_domain.to_owned(), bundle)], ..ChangedRows::default() }
}

fn ids(entries: &[Arc<IndexedEntry>]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.to_string()).collect()
}

fn authorized(index: &Index, agent: &str) -> Vec<String> {
    ids(&index.authorized(agent))
}

#[test]
fn an_agent_may_have_its_entries_and_all_below_them_in_order() {
    let index = index(
        [
            entry("1", AGENT, "/a"),
            entry("2", AGENT, "/b"),
            entry("3", "spiffe://example.org/a", "/a/x"),
            entry("4", "spiffe://example.org/a/x", "/a/x/y"),
            entry("5", OTHER, "/c"),
            entry("6", "spiffe://example.org/nobody", "/d"),
        ],
        [],
    );
    assert_eq!(authorized(&index, AGENT), ["1", "2", "3", "4"]);
    assert_eq!(authorized(&index, OTHER), ["5"]);
    assert_eq!(authorized(&index, "spiffe://example.org/spire/agent/c"), Vec::<String>::new());
}

#[test]
fn entries_that_are_each_others_parents_come_once() {
    let index = index(
        [
            entry("1", AGENT, "/a"),
            entry("2", "spiffe://example.org/a", "/b"),
            entry("3", "spiffe://example.org/b", "/a"),
            entry("4", "spiffe://example.org/b", "/b"),
        ],
        [],
    );
    assert_eq!(authorized(&index, AGENT), ["1", "2", "3", "4"]);
}

#[test]
fn an_alias_applies_to_agents_that_have_all_of_its_selectors() {
    let index = index(
        [
            alias("alias", "/cluster", &["zone:a", "kind:gpu"]),
            entry("1", "spiffe://example.org/cluster", "/web"),
            entry("2", AGENT, "/own"),
        ],
        [node(AGENT, &["kind:gpu", "rack:7", "zone:a"]), node(OTHER, &["zone:a"])],
    );
    // The alias itself is no identity of a workload.
    assert_eq!(authorized(&index, AGENT), ["2", "1"]);
    assert_eq!(authorized(&index, OTHER), Vec::<String>::new());
    assert!(index.authorized_entry(AGENT, "1").is_some());
    assert!(index.authorized_entry(AGENT, "alias").is_none());
    assert!(index.authorized_entry(OTHER, "1").is_none());
}

/// As the reference's full cache has it: an agent's ID below another agent brings that one's aliases.
#[test]
fn an_agent_below_another_brings_its_aliases() {
    let index = index(
        [
            entry("1", AGENT, "/spire/agent/b"),
            alias("alias", "/cluster", &["zone:a"]),
            entry("2", "spiffe://example.org/cluster", "/web"),
        ],
        [node(AGENT, &[]), node(OTHER, &["zone:a"])],
    );
    assert_eq!(authorized(&index, AGENT), ["1", "2"]);
    assert!(index.authorized_entry(AGENT, "2").is_some());
}

#[test]
fn an_alias_of_an_alias_is_no_alias() {
    // "/cluster" is no agent, so that the second alias has nobody to apply to.
    let index = index(
        [
            alias("1", "/cluster", &["zone:a"]),
            Entry { parent_id: "spiffe://example.org/cluster".into(), ..alias("2", "/web", &["zone:a"]) },
            entry("3", "spiffe://example.org/web", "/x"),
        ],
        [node(AGENT, &["zone:a"])],
    );
    assert_eq!(authorized(&index, AGENT), ["2", "3"]);
}

#[test]
fn entries_of_another_trust_domain_are_left_out() {
    let foreign_parent = Entry { parent_id: "spiffe://other.org/spire/agent/a".into(), ..entry("1", AGENT, "/a") };
    let foreign_id = Entry { spiffe_id: "spiffe://other.org/a".into(), ..entry("2", AGENT, "/a") };
    let no_id = Entry { spiffe_id: "web".into(), ..entry("3", AGENT, "/a") };
    let index = index([foreign_parent, foreign_id, no_id, entry("4", AGENT, "/a")], []);
    assert_eq!(authorized(&index, AGENT), ["4"]);
    assert!(index.authorized_entry(AGENT, "2").is_none());
}

#[test]
fn a_changed_entry_takes_its_new_place() {
    let index = index([entry("1", AGENT, "/a")], []);
    index.apply(put(entry("1", OTHER, "/a")));
    assert_eq!((authorized(&index, AGENT).len(), authorized(&index, OTHER)), (0, vec!["1".to_owned()]));
    // One that cannot be used any more is gone, not as it was.
    index.apply(put(Entry { spiffe_id: "spiffe://other.org/a".into(), ..entry("1", OTHER, "/a") }));
    assert!(authorized(&index, OTHER).is_empty());
    index.apply(remove("1"));
    index.apply(remove("never there"));
}

/// Readers look at one map after the other while the writer changes them.
#[test]
fn an_entry_that_changes_is_never_missing_meanwhile() {
    const ROUNDS: i64 = 2_000;
    // It moves between the agent and an ID below it, is another ID now and then, and an alias brings it to another agent.
    let below = "spiffe://example.org/a";
    let index = index(
        [entry("1", AGENT, "/a"), entry("2", AGENT, "/b"), alias("alias", "/a", &["zone:a"])],
        [node(OTHER, &["zone:a"])],
    );
    index.apply(put(entry("2", below, "/b")));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while newest < ROUNDS {
                    let found = index.authorized(AGENT);
                    assert_eq!(ids(&found).iter().filter(|id| *id == "2").count(), 1, "after revision {newest}");
                    let last = found.iter().map(|entry| entry.revision_number).max().unwrap_or_default();
                    assert!(last >= newest, "revision {last} after {newest}");
                    newest = last;
                    assert!(index.authorized_entry(AGENT, "2").is_some());
                }
            });
        }
        for revision_number in 1..=ROUNDS {
            let parent = if revision_number % 2 == 0 { AGENT } else { below };
            let path = if revision_number % 3 == 0 { "/b" } else { "/c" };
            index.apply(put(Entry { revision_number, ..entry("2", parent, path) }));
        }
    });
}

#[test]
fn an_authority_of_several_certificates_verifies_with_each() {
    let new = || steeple_testkit::Ca::new("partner.org", crate::tests::manual().now()).root().der().to_vec();
    let root = |der_bytes| common::Certificate { der_bytes, tainted_key: false };
    let stored = common::Bundle {
        trust_domain_id: "spiffe://partner.org".to_owned(),
        root_cas: vec![root([new(), new()].concat()), root(b"garbage".to_vec()), root(Vec::new()), root(new())],
        ..common::Bundle::default()
    };
    let index = index([], []);
    index.apply(put_bundle("spiffe://partner.org", Some(stored)));
    assert_eq!(index.bundle("partner.org").unwrap().authorities.len(), 3);
}

#[test]
fn agents_get_entries_with_the_fields_that_they_use() {
    let row = Entry {
        x509_svid_ttl: 60,
        jwt_svid_ttl: 61,
        expires_at: 62,
        dns_names: vec!["web".into()],
        federates_with: vec!["spiffe://other.org".into()],
        admin: true,
        downstream: true,
        store_svid: true,
        hint: "hint".into(),
        revision_number: 3,
        created_at: 4,
        ..entry("1", AGENT, "/a")
    };
    let index = index([row.clone()], []);
    let found = index.authorized_entry(AGENT, "1").unwrap();
    let sent = types::Entry::decode(found.for_agents()).unwrap();
    let whole = api_entry(&row).unwrap();
    let expected = types::Entry {
        parent_id: None,
        x509_svid_ttl: 0,
        jwt_svid_ttl: 0,
        dns_names: Vec::new(),
        expires_at: 0,
        ..whole.clone()
    };
    assert_eq!(sent, expected);
    assert_ne!(sent, whole);
    assert_eq!(found.digest, steeple_pki::sha256(&found.for_agents()));
}

#[test]
fn bundles_are_kept_by_name_and_what_is_no_certificate_counts_for_nobody() {
    let ca = steeple_testkit::Ca::new("other.org", std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 << 30));
    let root = |der: &[u8]| common::Certificate { der_bytes: der.to_vec(), tainted_key: false };
    let bundle = common::Bundle {
        trust_domain_id: "spiffe://other.org".into(),
        root_cas: vec![root(ca.root().der()), root(b"garbage")],
        sequence_number: 7,
        ..common::Bundle::default()
    };
    let index = index([], []);
    index.apply(put_bundle("spiffe://other.org", Some(bundle)));
    let found = index.bundle("other.org").unwrap();
    assert_eq!(found.authorities.as_ref(), [ca.root().clone()]);
    assert_eq!((found.api.x509_authorities.len(), found.api.sequence_number), (2, 7));
    assert!(index.bundle("spiffe://other.org").is_none());
    index.apply(put_bundle("spiffe://other.org", None));
    assert!(index.bundle("other.org").is_none());
}

#[test]
fn a_change_wakes_those_it_concerns_and_nobody_else() {
    let index = index(
        [entry("1", AGENT, "/a"), alias("alias", "/cluster", &["zone:a"])],
        [node(AGENT, &[]), node(OTHER, &["zone:a"])],
    );
    let (mut mine, mut others) = (index.changes_of(AGENT), index.changes_of(OTHER));
    let mut woken = |change| {
        index.apply(change);
        let woken = (mine.has_changed().unwrap(), others.has_changed().unwrap());
        mine.mark_unchanged();
        others.mark_unchanged();
        woken
    };
    assert_eq!(woken(put(entry("2", "spiffe://example.org/a", "/a/x"))), (true, false));
    assert_eq!(woken(put(entry("3", "spiffe://example.org/cluster", "/c"))), (false, true));
    assert_eq!(woken(put(entry("4", "spiffe://example.org/nobody", "/d"))), (false, false));
    // Who loses it and who gains it.
    assert_eq!(woken(put(entry("2", OTHER, "/a/x"))), (true, true));
    assert_eq!(woken(put_node(node(OTHER, &["zone:a", "zone:b"]))), (false, true));
    assert_eq!(woken(put_bundle("spiffe://example.org", None)), (true, true));
}

#[test]
fn a_ban_that_was_read_with_a_change_for_all_is_told_at_once() {
    let index = index([], [node(AGENT, &[]), node(OTHER, &[])]);
    let others: Vec<_> = (0..20).map(|number| index.changes_of(&format!("agent-{number}"))).collect();
    let (banned, opened) = (index.changes_of(AGENT), Wakes::default());
    let ban = Node { serial: Some(String::new()), ..node(AGENT, &[]) };
    let bundle = put_bundle("spiffe://example.org", Some(common::Bundle::default()));
    index.apply(ChangedRows { nodes: vec![(AGENT.to_owned(), Some(ban))], ..bundle });
    assert_eq!(banned.borrow().within(opened), std::time::Duration::ZERO);
    assert!(others.iter().all(|other| other.borrow().within(opened) == std::time::Duration::from_millis(21)));
}

fn slice(is_first: bool, is_last: bool, nodes: &[Node], entries: &[Entry]) -> Slice {
    Slice { nodes: nodes.to_vec(), entries: entries.iter().cloned().map(Arc::new).collect(), is_first, is_last }
}

#[test]
fn a_comparison_finds_what_differs_what_is_new_and_what_is_gone() {
    let known = [entry("1", AGENT, "/a"), entry("2", AGENT, "/b"), entry("3", AGENT, "/c"), entry("4", AGENT, "/d")];
    let index = index(known.clone(), [node(AGENT, &["zone:a"]), node(OTHER, &[])]);
    let [same, other, _, _] = known;
    let other = Entry { dns_names: vec!["b.test".to_owned()], ..other };
    let new = entry("5", AGENT, "/e");
    let foreign = Entry { spiffe_id: FOREIGN.to_owned(), ..entry("6", AGENT, "/f") };
    for found in [(1, 2), (0, 0)] {
        index.begin_comparison();
        let first = index.differences(slice(true, false, &[node(AGENT, &["zone:b"])], std::slice::from_ref(&same)));
        // What changes meanwhile is known.
        index.apply(put(entry("4", AGENT, "/x")));
        let second = index.differences(slice(false, true, &[], &[other.clone(), new.clone(), foreign.clone()]));
        assert_eq!((first.nodes.len(), second.entries.len()), found);
        assert!(first.entries.is_empty() && second.nodes.is_empty());
        index.apply(first);
        index.apply(second);
        let gone = index.unseen();
        let expected = if found == (0, 0) { vec![] } else { vec!["3"] };
        assert_eq!(gone.entries, expected);
        assert_eq!(gone.nodes.len(), expected.len());
        gone.entries.iter().for_each(|id| index.apply(remove(id)));
        index.apply(ChangedRows { nodes: vec![(OTHER.to_owned(), None)], ..ChangedRows::default() });
        assert_eq!(authorized(&index, AGENT), ["1", "2", "4", "5"]);
    }
    assert_eq!(index.authorized_entry(AGENT, "2").unwrap().whole().unwrap().dns_names, ["b.test"]);
}

// Random graphs: few IDs, so that entries meet often.

/// Agents, one of which never attests, and IDs of workloads.
const IDS: [&str; 8] = [
    "spiffe://example.org/spire/agent/0",
    "spiffe://example.org/spire/agent/1",
    "spiffe://example.org/spire/agent/2",
    "spiffe://example.org/spire/agent/3",
    "spiffe://example.org/w",
    "spiffe://example.org/x",
    "spiffe://example.org/y",
    "spiffe://example.org/z",
];
const AGENTS: usize = 4;
const FOREIGN: &str = "spiffe://other.org/x";
const FACTS: [&str; 3] = ["a", "b", "c"];

fn some_facts(least: usize) -> impl Strategy<Value = Vec<Selector>> {
    btree_set(0..FACTS.len(), least..=FACTS.len())
        .prop_map(|chosen| chosen.into_iter().map(|i| Selector::new("node", FACTS[i])).collect())
}

/// Without its id.
fn some_entry() -> impl Strategy<Value = Entry> {
    let parent = prop_oneof![6 => (0..IDS.len()).prop_map(|i| IDS[i]), 3 => Just(SERVER), 1 => Just(FOREIGN)];
    let spiffe_id = prop_oneof![8 => (AGENTS..IDS.len()).prop_map(|i| IDS[i]), 2 => (0..AGENTS).prop_map(|i| IDS[i]),
        1 => Just(FOREIGN)];
    (parent, spiffe_id, some_facts(0)).prop_map(|(parent, spiffe_id, selectors)| Entry {
        parent_id: parent.to_owned(),
        spiffe_id: spiffe_id.to_owned(),
        selectors,
        ..Entry::default()
    })
}

/// One look at the database: entries and agents (by number) that came, changed or went.
#[derive(Clone, Debug)]
struct Batch {
    entries: BTreeMap<usize, Option<Entry>>,
    nodes: BTreeMap<usize, Option<Vec<Selector>>>,
}

fn some_batch(entries: usize) -> impl Strategy<Value = Batch> {
    let entry = prop_oneof![3 => some_entry().prop_map(Some), 1 => Just(None)];
    let node = prop_oneof![4 => some_facts(0).prop_map(Some), 1 => Just(None)];
    (btree_map(0..12_usize, entry, 0..=entries), btree_map(0..AGENTS - 1, node, 0..=2))
        .prop_map(|(entries, nodes)| Batch { entries, nodes })
}

impl Batch {
    fn change(&self) -> ChangedRows {
        let entry = |(id, row): (&usize, &Option<Entry>)| {
            let id = id.to_string();
            (id.clone(), row.clone().map(|row| Arc::new(Entry { entry_id: id, ..row })))
        };
        let agent = |(i, selectors): (&usize, &Option<Vec<Selector>>)| {
            let node = |selectors| Node { selectors, ..node(IDS[*i], &[]) };
            (IDS[*i].to_owned(), selectors.clone().map(node))
        };
        ChangedRows {
            entries: self.entries.iter().map(entry).collect(),
            nodes: self.nodes.iter().map(agent).collect(),
            bundles: Vec::new(),
        }
    }
}

/// What the index should say, in the slowest way.
#[derive(Default)]
struct Model {
    entries: BTreeMap<usize, Entry>,
    nodes: BTreeMap<usize, Vec<Selector>>,
}

impl Model {
    fn apply(&mut self, batch: &Batch) {
        fn follow<T: Clone>(all: &mut BTreeMap<usize, T>, changes: &BTreeMap<usize, Option<T>>) {
            for (id, change) in changes {
                match change {
                    Some(new) => drop(all.insert(*id, new.clone())),
                    None => drop(all.remove(id)),
                }
            }
        }
        follow(&mut self.entries, &batch.entries);
        follow(&mut self.nodes, &batch.nodes);
    }

    /// Grows until it grows no more.
    fn authorized(&self, agent: &str) -> BTreeSet<usize> {
        let ours = || self.entries.iter().filter(|(_, entry)| entry.parent_id != FOREIGN && entry.spiffe_id != FOREIGN);
        let mut parents = BTreeSet::from([agent]);
        loop {
            let selectors = |parent: &&str| {
                let i = IDS.iter().position(|id| id == parent)?;
                self.nodes.get(&i)
            };
            let is_alias_of = |entry: &Entry, agent: &Vec<Selector>| {
                entry.parent_id == SERVER
                    && !entry.selectors.is_empty()
                    && entry.selectors.iter().all(|selector| agent.contains(selector))
            };
            let agents: Vec<_> = parents.iter().filter_map(selectors).collect();
            let reached = ours().filter(|(_, entry)| {
                parents.contains(&*entry.parent_id) || agents.iter().any(|agent| is_alias_of(entry, agent))
            });
            let more: BTreeSet<_> =
                reached.map(|(_, entry)| &*entry.spiffe_id).chain(parents.iter().copied()).collect();
            if more == parents {
                return ours().filter(|(_, entry)| parents.contains(&*entry.parent_id)).map(|(id, _)| *id).collect();
            }
            parents = more;
        }
    }
}

/// With their content: an entry that says something else is another one.
fn held(index: &Index, agent: &str) -> BTreeMap<String, [u8; 32]> {
    index.authorized(agent).iter().map(|entry| (entry.id.to_string(), entry.digest)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn says_of_any_graph_what_the_rules_say(batches in vec(some_batch(8), 1..4)) {
        let (index, mut model) = (index([], []), Model::default());
        for batch in &batches {
            index.apply(batch.change());
            model.apply(batch);
        }
        for agent in &IDS[..AGENTS] {
            let expected = model.authorized(agent);
            let found = index.authorized(agent);
            prop_assert_eq!(found.len(), expected.len(), "an entry came twice or is missing for {}", agent);
            let found: BTreeSet<usize> = found.iter().map(|entry| entry.id.parse().unwrap()).collect();
            prop_assert_eq!(&found, &expected, "{}", agent);
            for id in 0..12 {
                let one = index.authorized_entry(agent, &id.to_string());
                prop_assert_eq!(one.is_some(), expected.contains(&id), "{} of {}", id, agent);
            }
        }
    }

    #[test]
    fn wakes_every_agent_whose_entries_change(batches in vec(some_batch(3), 1..12)) {
        let index = index([], []);
        let mut streams: Vec<_> = IDS[..AGENTS].iter().map(|agent| index.changes_of(agent)).collect();
        for batch in &batches {
            let before: Vec<_> = IDS[..AGENTS].iter().map(|agent| held(&index, agent)).collect();
            streams.iter_mut().for_each(watch::Receiver::mark_unchanged);
            index.apply(batch.change());
            for ((agent, before), stream) in IDS.iter().zip(before).zip(&streams) {
                let after = held(&index, agent);
                prop_assert!(before == after || stream.has_changed().unwrap(), "{agent}: {before:?} became {after:?}");
            }
        }
    }
}
