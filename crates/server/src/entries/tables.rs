//! The maps behind the index.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use steeple_datastore::{Bundle, ChangedRows, Entry, Node, Part, Selector};
use steeple_spiffe::{SpiffeId, TrustDomain};
use tracing::warn;

use super::entry::{IndexedEntry, Surroundings};
use super::streams::Streams;
use super::{AgentState, IndexedBundle, Seen, concerned, encode};

/// By place.
type Entries = Vec<Arc<IndexedEntry>>;

pub(super) struct Tables {
    pub(super) trust_domain: TrustDomain,
    /// The parent of node aliases.
    pub(super) server_id: String,
    pub(super) entries: HashMap<Arc<str>, Arc<IndexedEntry>>,
    /// By parent ID, in the order of creation.
    pub(super) children: HashMap<Arc<str>, Entries>,
    /// By SPIFFE ID.
    pub(super) named: HashMap<Arc<str>, Entries>,
    /// Node aliases by the first of their selectors: an agent that lacks that one does not match.
    pub(super) aliases: HashMap<(String, String), Entries>,
    pub(super) agents: HashMap<Arc<str>, Arc<AgentState>>,
    /// Agents whose ID an entry names, so that they stand below another parent. Mostly none.
    pub(super) nested: HashSet<Arc<str>>,
    /// By trust domain name.
    pub(super) bundles: HashMap<Arc<str>, Arc<IndexedBundle>>,
    /// The place of the next entry.
    next_place: u64,
    /// The number of the comparison that is under way, or was the last.
    pub(super) round: u32,
}

impl Tables {
    pub(super) fn new(trust_domain: &TrustDomain) -> Self {
        Self {
            trust_domain: trust_domain.clone(),
            server_id: format!("spiffe://{trust_domain}/spire/server"),
            entries: HashMap::new(),
            children: HashMap::new(),
            named: HashMap::new(),
            aliases: HashMap::new(),
            agents: HashMap::new(),
            nested: HashSet::new(),
            bundles: HashMap::new(),
            next_place: 0,
            round: 0,
        }
    }

    /// Takes over a part of everything.
    pub(super) fn add(&mut self, part: Part) {
        match part {
            Part::Bundles(bundles) => {
                for bundle in bundles {
                    self.put_bundle(&bundle.trust_domain_id.clone(), Some(bundle));
                }
            }
            Part::Nodes(nodes) => nodes.into_iter().for_each(|node| self.put_agent(node)),
            Part::Entries(entries) => {
                for entry in entries {
                    self.put_entry(&entry, None);
                }
            }
        }
    }

    /// Applies rows and tells which of the connected agents they concern.
    pub(super) fn apply(&mut self, rows: ChangedRows, connected: &Streams) -> HashSet<Arc<str>> {
        let ChangedRows { entries, nodes, bundles } = rows;
        let mut concerned = HashSet::new();
        // Bundles first: a reader never sees an entry without the bundle that came before it.
        if !bundles.is_empty() {
            concerned.extend(connected.agents().cloned());
        }
        for (trust_domain, bundle) in bundles {
            self.put_bundle(&trust_domain, bundle);
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
            let (before, place) = self
                .remove_entry(&id, |tables, old| (concerned::by(tables, old, connected), Some(old.place)))
                .unwrap_or_default();
            concerned.extend(before);
            if let Some(entry) = entry
                && let Some(new) = self.put_entry(&entry, place)
            {
                concerned.extend(concerned::by(self, &new, connected));
            }
        }
        concerned
    }

    /// Puts an entry in its old place, or behind all others.
    fn put_entry(&mut self, row: &Entry, place: Option<u64>) -> Option<Arc<IndexedEntry>> {
        if !self.takes(row) {
            let Entry { entry_id, parent_id, spiffe_id, .. } = row;
            warn!(target: "feed", entry_id, parent_id, spiffe_id, "Entry of another trust domain; it is left out");
            return None;
        }
        let Some(whole) = encode::entry(row) else {
            warn!(target: "feed", entry_id = row.entry_id, "Entry cannot be encoded; it is left out");
            return None;
        };
        let place = place.unwrap_or_else(|| {
            self.next_place += 1;
            self.next_place
        });
        let is_alias = row.parent_id == self.server_id;
        let selectors = row.selectors.iter().filter(|_| is_alias);
        let surroundings = Surroundings {
            parent_id: self.shared(&row.parent_id),
            spiffe_id: self.shared(&row.spiffe_id),
            federates_with: whole.federates_with.iter().map(|name| self.shared_bundle_name(name)).collect(),
            alias_of: selectors.map(|selector| (selector.kind.clone(), selector.value.clone())).collect(),
            place,
            round: self.round,
        };
        let entry = Arc::new(IndexedEntry::new(whole, surroundings));
        insert(&mut self.children, Arc::clone(&entry.parent_id), &entry);
        insert(&mut self.named, Arc::clone(&entry.spiffe_id), &entry);
        if let Some(first) = entry.alias_of.first() {
            insert(&mut self.aliases, first.clone(), &entry);
        }
        if let Some((agent, _)) = self.agents.get_key_value(&entry.spiffe_id) {
            self.nested.insert(Arc::clone(agent));
        }
        self.entries.insert(Arc::clone(&entry.id), Arc::clone(&entry));
        Some(entry)
    }

    /// The ID as it is kept already, or a new one.
    fn shared(&self, id: &str) -> Arc<str> {
        let named = self.named.get_key_value(id).map(|(id, _)| id);
        let known = named.or_else(|| self.children.get_key_value(id).map(|(id, _)| id));
        let known = known.or_else(|| self.agents.get_key_value(id).map(|(id, _)| id));
        known.map_or_else(|| id.into(), Arc::clone)
    }

    fn shared_bundle_name(&self, name: &str) -> Arc<str> {
        self.bundles.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name))
    }

    /// Removes an entry, after `before` has looked at it in its place.
    fn remove_entry<T>(&mut self, id: &str, before: impl FnOnce(&Self, &IndexedEntry) -> T) -> Option<T> {
        let entry = self.entries.get(id).cloned()?;
        let seen = before(self, &entry);
        self.entries.remove(id);
        take(&mut self.children, &entry.parent_id, entry.place);
        take(&mut self.named, &entry.spiffe_id, entry.place);
        if let Some(first) = entry.alias_of.first() {
            take(&mut self.aliases, first, entry.place);
        }
        if !self.named.contains_key(&entry.spiffe_id) {
            self.nested.remove(&entry.spiffe_id);
        }
        Some(seen)
    }

    fn put_agent(&mut self, node: Node) {
        let id = self.shared(&node.spiffe_id);
        let state = AgentState::new(node, self.round);
        if self.named.contains_key(&id) {
            self.nested.insert(Arc::clone(&id));
        }
        self.agents.insert(id, Arc::new(state));
    }

    fn remove_agent(&mut self, id: &str) {
        self.agents.remove(id);
        self.nested.remove(id);
    }

    fn put_bundle(&mut self, stored: &str, bundle: Option<Bundle>) {
        let name = bundle_name(stored);
        match bundle {
            Some(bundle) => drop(self.bundles.insert(self.shared_bundle_name(name), Arc::new(encode::bundle(&bundle)))),
            None => drop(self.bundles.remove(name)),
        }
    }

    /// Whether an entry is of this trust domain; others are left out.
    pub(super) fn takes(&self, row: &Entry) -> bool {
        let is_ours = |id: &str| SpiffeId::parse(id).is_ok_and(|id| id.is_member_of(&self.trust_domain));
        is_ours(&row.parent_id) && is_ours(&row.spiffe_id)
    }
}

impl AgentState {
    fn new(node: Node, round: u32) -> Self {
        let Node {
            spiffe_id: _,
            attestation_type,
            serial,
            expires_at,
            new_serial,
            new_expires_at,
            can_reattest,
            agent_version,
            selectors,
        } = node;
        Self {
            serial: serial.unwrap_or_default(),
            new_serial,
            expires_at,
            new_expires_at,
            attestation_type: attestation_type.into(),
            agent_version: agent_version.into(),
            can_reattest,
            selectors: selectors.into_iter().map(|selector| (selector.kind, selector.value)).collect(),
            seen: Seen::new(round),
        }
    }

    /// The row that it was read from.
    pub(super) fn row(&self, id: &str) -> Node {
        let Self {
            serial,
            new_serial,
            expires_at,
            new_expires_at,
            attestation_type,
            agent_version,
            can_reattest,
            selectors,
            seen: _,
        } = self;
        Node {
            spiffe_id: id.to_owned(),
            attestation_type: attestation_type.to_string(),
            serial: Some(serial.clone()),
            expires_at: *expires_at,
            new_serial: new_serial.clone(),
            new_expires_at: *new_expires_at,
            can_reattest: *can_reattest,
            agent_version: agent_version.to_string(),
            selectors: selectors.iter().map(|(kind, value)| Selector::new(kind, value)).collect(),
        }
    }

    /// Whether the row says the same.
    pub(super) fn is_of(&self, node: &Node) -> bool {
        let Self {
            serial,
            new_serial,
            expires_at,
            new_expires_at,
            attestation_type,
            agent_version,
            can_reattest,
            selectors,
            seen: _,
        } = self;
        let others: HashSet<(&str, &str)> =
            node.selectors.iter().map(|selector| (&*selector.kind, &*selector.value)).collect();
        *serial == *node.serial.as_deref().unwrap_or_default()
            && *new_serial == node.new_serial
            && (*expires_at, *new_expires_at) == (node.expires_at, node.new_expires_at)
            && **attestation_type == *node.attestation_type
            && **agent_version == *node.agent_version
            && *can_reattest == node.can_reattest
            && selectors.len() == others.len()
            && selectors.iter().all(|(kind, value)| others.contains(&(kind, value)))
    }

    /// Whether an alias with these selectors applies: all of them are the agent's.
    pub(super) fn matches(&self, alias: &IndexedEntry) -> bool {
        let has = |kind: &str, value: &str| self.selectors.contains(&(kind.to_owned(), value.to_owned()));
        alias.alias_of.iter().all(|(kind, value)| has(kind, value))
    }

    pub(super) fn selectors(&self) -> &HashSet<(String, String)> {
        &self.selectors
    }
}

/// Bundles are stored under `spiffe://td`.
fn bundle_name(stored: &str) -> &str {
    stored.strip_prefix("spiffe://").unwrap_or(stored)
}

fn insert<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Entries>, key: K, entry: &Arc<IndexedEntry>) {
    // Most IDs have one entry, and there may be a million of them.
    let entries = map.entry(key).or_insert_with(|| Vec::with_capacity(1));
    let place = entries.binary_search_by_key(&entry.place, |entry| entry.place).unwrap_or_else(|place| place);
    entries.insert(place, Arc::clone(entry));
}

fn take<K: std::borrow::Borrow<Q> + std::hash::Hash + Eq, Q: std::hash::Hash + Eq + ?Sized>(
    map: &mut HashMap<K, Entries>,
    key: &Q,
    place: u64,
) {
    let Some(entries) = map.get_mut(key) else { return };
    if let Ok(at) = entries.binary_search_by_key(&place, |entry| entry.place) {
        entries.remove(at);
    }
    if entries.is_empty() {
        map.remove(key);
    }
}
