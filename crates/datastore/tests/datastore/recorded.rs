//! A writer that is not ours: the reference's statements, in its transactions, are followed to what they leave, also where
//! it writes no event.
//!
//! `tests/data/written.*.jsonl` is what spire-server 1.15.3 wrote to an empty database in an hour, as the log of PostgreSQL
//! and of MariaDB has it, with the values in their places: a line for each thing that was done by command, by its agents, or
//! with time. What only reads is left out, and so are the schema, what was rolled back, and prunes that found nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use steeple_datastore::{Change, ChangedRows, DataStore, Entry, Node, Page, Slice, Snapshot};
use steeple_proto::spire::common::Bundle;
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;

use crate::ids::within;
use crate::opened::Opened;
use crate::unopened::{Place, data};

/// All that a server of the reference writes to, but for what says which version a database has, and journals, which it prunes
/// after weeks.
const WRITES: [&str; 28] = [
    "DELETE FROM attested_node_entries",
    "DELETE FROM attested_node_entries_events",
    "DELETE FROM bundles",
    "DELETE FROM dns_names",
    "DELETE FROM federated_registration_entries",
    "DELETE FROM federated_trust_domains",
    "DELETE FROM join_tokens",
    "DELETE FROM node_resolver_map_entries",
    "DELETE FROM registered_entries",
    "DELETE FROM registered_entries_events",
    "DELETE FROM selectors",
    "INSERT INTO attested_node_entries",
    "INSERT INTO attested_node_entries_events",
    "INSERT INTO bundles",
    "INSERT INTO ca_journals",
    "INSERT INTO dns_names",
    "INSERT INTO federated_registration_entries",
    "INSERT INTO federated_trust_domains",
    "INSERT INTO join_tokens",
    "INSERT INTO node_resolver_map_entries",
    "INSERT INTO registered_entries",
    "INSERT INTO registered_entries_events",
    "INSERT INTO selectors",
    "UPDATE attested_node_entries",
    "UPDATE bundles",
    "UPDATE ca_journals",
    "UPDATE federated_trust_domains",
    "UPDATE registered_entries",
];

/// As long as a feed may take to hear of something, on its clock.
const SOON: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Step {
    step: String,
    transactions: Vec<Vec<String>>,
}

/// What is known of the database, by name.
#[derive(Debug, Default, PartialEq)]
struct Known {
    entries: BTreeMap<String, Entry>,
    nodes: BTreeMap<String, Node>,
    bundles: BTreeMap<String, Bundle>,
}

impl From<Snapshot> for Known {
    fn from(Snapshot { entries, nodes, bundles, position: _ }: Snapshot) -> Self {
        Self {
            entries: entries.into_iter().map(|entry| (entry.entry_id.clone(), entry)).collect(),
            nodes: nodes.into_iter().map(|node| (node.spiffe_id.clone(), node)).collect(),
            bundles: bundles.into_iter().map(|bundle| (bundle.trust_domain_id.clone(), bundle)).collect(),
        }
    }
}

impl Known {
    fn follow(&mut self, change: Change) {
        match change {
            Change::Rows(ChangedRows { entries, nodes, bundles }) => {
                let entries = entries.into_iter().map(|(id, entry)| (id, entry.map(|entry| (*entry).clone())));
                take(&mut self.entries, entries);
                take(&mut self.nodes, nodes);
                take(&mut self.bundles, bundles);
            }
            // Pruned events are a reason to compare. Of what is gone there are events.
            Change::Slice(Slice { nodes, entries, .. }) => {
                self.nodes.extend(nodes.into_iter().map(|node| (node.spiffe_id.clone(), node)));
                self.entries.extend(entries.into_iter().map(|entry| (entry.entry_id.clone(), (*entry).clone())));
            }
        }
    }
}

fn take<T>(known: &mut BTreeMap<String, T>, rows: impl IntoIterator<Item = (String, Option<T>)>) {
    for (name, row) in rows {
        match row {
            Some(row) => known.insert(name, row),
            None => known.remove(&name),
        };
    }
}

pub(crate) async fn what_the_reference_writes_is_followed(store: Opened) {
    let kind = if matches!(store.place, Place::MySql(_)) { "mysql" } else { "postgres" };
    let text = std::fs::read_to_string(data(&format!("written.{kind}.jsonl"))).unwrap();
    let clock = ManualClock::new(Clock::system().now());
    let other = DataStore::open(store.options.clone(), clock.clock()).await.unwrap();
    let mut feed = other.feed();
    let mut known = Known::from(feed.snapshot().await.unwrap());
    let (mut steps, mut statements, mut changes) = (0, 0, 0);
    let mut writes = BTreeSet::new();
    for line in text.lines() {
        let Step { step, transactions } = serde_json::from_str(line).unwrap();
        for recorded in transactions {
            let mut transaction = store.transaction().await;
            for statement in &recorded {
                transaction.execute(statement).await;
                writes.insert(write_of(statement));
            }
            transaction.commit().await;
            statements += recorded.len();
        }
        // Read anew, and never told of.
        let now = Known::from(other.feed().snapshot().await.unwrap());
        steps += 1;
        changes += usize::from(now != known);
        while now != known {
            known.follow(within(SOON, &clock, &mut feed).await.expect("a change in time"));
        }
        is_read(&store, &step).await;
        println!("{kind}: followed: {step}");
    }
    assert_eq!(writes.iter().collect::<Vec<_>>(), WRITES.iter().collect::<Vec<_>>());
    println!("{kind}: {changes} changes in {steps} steps of the reference followed, {statements} statements");
}

/// The verb and the table of a statement.
fn write_of(statement: &str) -> String {
    let words = statement.split_whitespace().take(if statement.starts_with("UPDATE") { 2 } else { 3 });
    words.map(|word| word.trim_matches(['"', '`'])).collect::<Vec<_>>().join(" ")
}

/// What nobody is told of is there when it is asked for.
async fn is_read(store: &Opened, step: &str) {
    match step {
        "federation update" => {
            let rows = store.list_federation_relationships(&Page::default()).await.unwrap().rows;
            assert_eq!((rows.len(), rows[0].trust_domain.as_str()), (1, "three.test"), "{rows:?}");
        }
        "x509: activate" => {
            let active = store.sql("SELECT active_x509_authority_id FROM ca_journals").await.concat();
            assert!(store.fetch_ca_journal(&active[0]).await.unwrap().is_some(), "{active:?}");
        }
        "a token that nobody uses" => {
            let tokens = store.sql("SELECT token FROM join_tokens").await.concat();
            assert!(store.fetch_join_token(&tokens[0]).await.unwrap().is_some(), "{tokens:?}");
        }
        _ => {}
    }
}
