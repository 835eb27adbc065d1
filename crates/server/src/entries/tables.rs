//! The maps behind the index.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use steeple_datastore::{Bundle, ChangedRows, Entry, Node, Snapshot};
use steeple_spiffe::{SpiffeId, TrustDomain};
use tracing::warn;

use super::{AgentState, IndexedBundle, IndexedEntry, concerned, encode};

type Entries = Vec<Arc<IndexedEntry>>;

pub(super) struct Tables {
    pub(super) trust_domain: TrustDomain,
    /// The parent of node aliases.
    pub(super) server_id: String,
    pub(super) entries: HashMap<Arc<str>, Arc<IndexedEntry>>,
    /// By parent ID, in the order of creation.
    pub(super) children: HashMap<String, Entries>,
    /// By SPIFFE ID.
    pub(super) named: HashMap<String, Entries>,
    /// Node aliases by the first of their selectors: an agent that lacks that one does not match.
    pub(super) aliases: HashMap<(String, String), Entries>,
    pub(super) agents: HashMap<String, Arc<AgentState>>,
    /// Agents whose ID an entry names, so that they stand below another parent. Mostly none.
    pub(super) nested: HashSet<String>,
    /// By trust domain name.
    pub(super) bundles: HashMap<String, Arc<IndexedBundle>>,
}

impl Tables {
    pub(super) fn new(trust_domain: &TrustDomain, snapshot: Snapshot) -> Self {
        let Snapshot { entries, nodes, bundles, position: _ } = snapshot;
        let mut tables = Self {
            trust_domain: trust_domain.clone(),
            server_id: format!("spiffe://{trust_domain}/spire/server"),
            entries: HashMap::with_capacity(entries.len()),
            children: HashMap::new(),
            named: HashMap::new(),
            aliases: HashMap::new(),
            agents: HashMap::new(),
            nested: HashSet::new(),
            bundles: HashMap::new(),
        };
        for entry in entries {
            tables.put_entry(entry);
        }
        for node in nodes {
            tables.put_agent(node);
        }
        for bundle in bundles {
            let name = bundle_name(&bundle.trust_domain_id).to_owned();
            tables.put_bundle(name, Some(bundle));
        }
        tables
    }

    /// Applies rows and tells which of the connected agents they concern.
    pub(super) fn apply(&mut self, rows: ChangedRows, connected: &HashSet<Arc<str>>) -> HashSet<Arc<str>> {
        let ChangedRows { entries, nodes, bundles } = rows;
        let mut concerned = HashSet::new();
        // Bundles first: a reader never sees an entry without the bundle that came before it.
        if !bundles.is_empty() {
            concerned.extend(connected.iter().cloned());
        }
        for (trust_domain, bundle) in bundles {
            self.put_bundle(bundle_name(&trust_domain).to_owned(), bundle);
        }
        for (id, node) in nodes {
            concerned.extend(concerned::above(self, &id, connected));
            match node {
                Some(node) => self.put_agent(node),
                None => self.remove_agent(&id),
            }
        }
        for (id, entry) in entries {
            // Who loses it is found before, who gains it after.
            let before = self.remove_entry(&id, |tables, old| concerned::by(tables, old, connected));
            concerned.extend(before.into_iter().flatten());
            if let Some(entry) = entry
                && let Some(new) = self.put_entry(entry)
            {
                concerned.extend(concerned::by(self, &new, connected));
            }
        }
        concerned
    }

    fn put_entry(&mut self, row: Arc<Entry>) -> Option<Arc<IndexedEntry>> {
        if !self.is_ours(&row.parent_id) || !self.is_ours(&row.spiffe_id) {
            return None;
        }
        let Some((encoded, digest)) = encode::for_agents(&row) else {
            warn!(target: "feed", entry_id = row.entry_id, "Entry cannot be encoded; it is left out");
            return None;
        };
        let entry = Arc::new(IndexedEntry { id: row.entry_id.as_str().into(), row, encoded, digest });
        self.children.entry(entry.row.parent_id.clone()).or_default().push(Arc::clone(&entry));
        self.named.entry(entry.row.spiffe_id.clone()).or_default().push(Arc::clone(&entry));
        if let Some(first) = self.alias_key(&entry) {
            self.aliases.entry(first).or_default().push(Arc::clone(&entry));
        }
        if self.agents.contains_key(&entry.row.spiffe_id) {
            self.nested.insert(entry.row.spiffe_id.clone());
        }
        self.entries.insert(Arc::clone(&entry.id), Arc::clone(&entry));
        Some(entry)
    }

    /// Removes an entry, after `before` has looked at it in its place.
    fn remove_entry<T>(&mut self, id: &str, before: impl FnOnce(&Self, &IndexedEntry) -> T) -> Option<T> {
        let entry = self.entries.get(id).cloned()?;
        let seen = before(self, &entry);
        self.entries.remove(id);
        take(&mut self.children, &entry.row.parent_id, id);
        take(&mut self.named, &entry.row.spiffe_id, id);
        if let Some(first) = self.alias_key(&entry) {
            take(&mut self.aliases, &first, id);
        }
        if !self.named.contains_key(&entry.row.spiffe_id) {
            self.nested.remove(&entry.row.spiffe_id);
        }
        Some(seen)
    }

    fn put_agent(&mut self, node: Node) {
        let selectors = node.selectors.into_iter().map(|selector| (selector.kind, selector.value)).collect();
        let state = AgentState { serial: node.serial.unwrap_or_default(), new_serial: node.new_serial, selectors };
        if self.named.contains_key(&node.spiffe_id) {
            self.nested.insert(node.spiffe_id.clone());
        }
        self.agents.insert(node.spiffe_id, Arc::new(state));
    }

    fn remove_agent(&mut self, id: &str) {
        self.agents.remove(id);
        self.nested.remove(id);
    }

    fn put_bundle(&mut self, name: String, bundle: Option<Bundle>) {
        match bundle {
            Some(bundle) => drop(self.bundles.insert(name, Arc::new(encode::bundle(&bundle)))),
            None => drop(self.bundles.remove(&name)),
        }
    }

    fn alias_key(&self, entry: &IndexedEntry) -> Option<(String, String)> {
        let first = entry.row.selectors.first().filter(|_| entry.row.parent_id == self.server_id)?;
        Some((first.kind.clone(), first.value.clone()))
    }

    fn is_ours(&self, id: &str) -> bool {
        let ours = SpiffeId::parse(id).is_ok_and(|id| id.is_member_of(&self.trust_domain));
        if !ours {
            warn!(target: "feed", spiffe_id = id, "Entry of another trust domain; it is left out");
        }
        ours
    }
}

impl AgentState {
    /// Whether an alias with these selectors applies: all of them are the agent's.
    pub(super) fn matches(&self, alias: &IndexedEntry) -> bool {
        let has = |kind: &str, value: &str| self.selectors.contains(&(kind.to_owned(), value.to_owned()));
        alias.row.selectors.iter().all(|selector| has(&selector.kind, &selector.value))
    }

    pub(super) fn selectors(&self) -> &HashSet<(String, String)> {
        &self.selectors
    }
}

/// Bundles are stored under `spiffe://td`.
fn bundle_name(stored: &str) -> &str {
    stored.strip_prefix("spiffe://").unwrap_or(stored)
}

fn take<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Entries>, key: &K, id: &str) {
    if let Some(entries) = map.get_mut(key) {
        entries.retain(|entry| *entry.id != *id);
        if entries.is_empty() {
            map.remove(key);
        }
    }
}
