//! A writer that is not ours: the reference's statements, in its transactions, are followed to what they leave, also where
//! it writes no event.
//!
//! `tests/data/written.*.jsonl` is what spire-server 1.15.3 wrote to an empty database, as the log of PostgreSQL and of
//! MariaDB has it, with the values in their places: a line for each thing that was done by command or by its agent. What
//! only reads is left out, and so are the schema and what was rolled back.

use std::collections::BTreeMap;

use serde::Deserialize;
use steeple_datastore::{ChangedRows, Entry, Node, Snapshot};
use steeple_proto::spire::common::Bundle;

use crate::feed::changed;
use crate::opened::Opened;
use crate::unopened::{Place, data};

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
    fn follow(&mut self, ChangedRows { entries, nodes, bundles }: ChangedRows) {
        take(&mut self.entries, entries.into_iter().map(|(id, entry)| (id, entry.map(|entry| (*entry).clone()))));
        take(&mut self.nodes, nodes);
        take(&mut self.bundles, bundles);
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
    let mut feed = store.feed();
    let mut known = Known::from(feed.snapshot().await.unwrap());
    let other = store.another().await;
    let (mut steps, mut statements, mut changes) = (0, 0, 0);
    for line in text.lines() {
        let Step { step, transactions } = serde_json::from_str(line).unwrap();
        for recorded in transactions {
            let mut transaction = store.transaction().await;
            for statement in &recorded {
                transaction.execute(statement).await;
            }
            transaction.commit().await;
            statements += recorded.len();
        }
        // Read anew, and never told of.
        let now = Known::from(other.feed().snapshot().await.unwrap());
        steps += 1;
        changes += usize::from(now != known);
        while now != known {
            known.follow(changed(&mut feed).await);
        }
        println!("{kind}: followed: {step}");
    }
    assert!(statements > 60 && changes > 15, "{statements} statements, {changes} changes");
    println!("{kind}: {changes} changes in {steps} steps of the reference followed, {statements} statements");
}
