//! The maps behind the index, in shards: a reader holds the lock of one for one lookup, the writer for one replacement.
//! Neither a batch of changes nor a map that grows keeps anybody waiting.
//!
//! What is made of several lookups is made in [`Turns`].

use std::hash::Hash;
use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use steeple_datastore::{Bundle, Entry};
use steeple_spiffe::{SpiffeId, TrustDomain};

use super::turns::Turns;
use super::{AgentState, IndexedBundle, IndexedEntry, encode};

/// Entries that have something in common, in the order of their creation.
pub(super) type Group<K> = DashMap<K, Vec<Arc<IndexedEntry>>>;

/// No reference into a map may be held while the same map is looked at again: a shard that is waited for lets nobody in.
pub(super) struct Tables {
    trust_domain: TrustDomain,
    /// The parent of node aliases.
    pub(super) server_id: String,
    pub(super) entries: DashMap<Arc<str>, Arc<IndexedEntry>>,
    /// By parent ID.
    pub(super) children: Group<Arc<str>>,
    /// By SPIFFE ID.
    pub(super) named: Group<Arc<str>>,
    /// Node aliases by the first of their selectors: an agent that lacks that one does not match.
    pub(super) aliases: Group<(String, String)>,
    pub(super) agents: DashMap<Arc<str>, Arc<AgentState>>,
    /// Agents whose ID an entry names, so that they stand below another parent. Mostly none.
    pub(super) nested: DashSet<Arc<str>>,
    /// By trust domain name.
    pub(super) bundles: DashMap<Arc<str>, Arc<IndexedBundle>>,
    pub(super) turns: Turns,
}

/// Of the maps that grow with the entries. A million of them are some 16,000 a shard, which move in a millisecond when it
/// grows.
const SHARDS: usize = 64;

impl Tables {
    pub(super) fn new(trust_domain: &TrustDomain) -> Self {
        Self {
            trust_domain: trust_domain.clone(),
            server_id: format!("spiffe://{trust_domain}/spire/server"),
            entries: DashMap::with_shard_amount(SHARDS),
            children: DashMap::with_shard_amount(SHARDS),
            named: DashMap::with_shard_amount(SHARDS),
            aliases: DashMap::new(),
            agents: DashMap::with_shard_amount(SHARDS),
            nested: DashSet::new(),
            bundles: DashMap::new(),
            turns: Turns::default(),
        }
    }

    pub(super) fn entry(&self, id: &str) -> Option<Arc<IndexedEntry>> {
        self.entries.get(id).map(|entry| Arc::clone(&entry))
    }

    pub(super) fn agent(&self, id: &str) -> Option<Arc<AgentState>> {
        self.agents.get(id).map(|agent| Arc::clone(&agent))
    }

    pub(super) fn bundle(&self, trust_domain: &str) -> Option<Arc<IndexedBundle>> {
        self.bundles.get(trust_domain).map(|bundle| Arc::clone(&bundle))
    }

    /// Whether an entry is of this trust domain; others are left out.
    pub(super) fn takes(&self, row: &Entry) -> bool {
        let is_ours = |id: &str| SpiffeId::parse(id).is_ok_and(|id| id.is_member_of(&self.trust_domain));
        is_ours(&row.parent_id) && is_ours(&row.spiffe_id)
    }

    /// Puts an entry where it belongs, and takes away what it was before.
    pub(super) fn replace_entry(&self, old: Option<&IndexedEntry>, new: Option<&Arc<IndexedEntry>>) {
        let put = || new.into_iter().for_each(|new| self.put_entry(new));
        let stays = |old: &IndexedEntry| new.is_some_and(|new| old.stands_as(new));
        match old.filter(|old| !stays(old)) {
            None => put(),
            Some(old) => self.turns.leave(|| {
                put();
                self.remove_entry(old, new);
            }),
        }
    }

    /// In place of what has the same id and stands there.
    fn put_entry(&self, entry: &Arc<IndexedEntry>) {
        put(&self.children, &entry.parent_id, entry);
        put(&self.named, &entry.spiffe_id, entry);
        if let Some(first) = entry.alias_of.first() {
            put(&self.aliases, first, entry);
        }
        let agent = self.agents.get(&entry.spiffe_id).map(|agent| Arc::clone(agent.key()));
        if let Some(agent) = agent {
            self.nested.insert(agent);
        }
        self.entries.insert(Arc::clone(&entry.id), Arc::clone(entry));
    }

    /// From the places that the new one has not taken.
    fn remove_entry(&self, old: &IndexedEntry, new: Option<&Arc<IndexedEntry>>) {
        if new.is_none() {
            self.entries.remove(&old.id);
        }
        if new.is_none_or(|new| new.parent_id != old.parent_id) {
            take(&self.children, &old.parent_id, old.place);
        }
        if let Some(first) = old.alias_of.first()
            && new.is_none_or(|new| new.alias_of.first() != Some(first))
        {
            take(&self.aliases, first, old.place);
        }
        if new.is_none_or(|new| new.spiffe_id != old.spiffe_id) {
            take(&self.named, &old.spiffe_id, old.place);
            if !self.named.contains_key(&old.spiffe_id) {
                self.nested.remove(&old.spiffe_id);
            }
        }
    }

    /// Puts an agent, in place of what it was.
    pub(super) fn put_agent(&self, id: &str, state: AgentState) {
        let id = self.shared(id);
        let is_same = self.agent(&id).is_none_or(|old| old.selectors() == state.selectors());
        let put = || {
            if self.named.contains_key(&id) {
                self.nested.insert(Arc::clone(&id));
            }
            self.agents.insert(Arc::clone(&id), Arc::new(state));
        };
        if is_same { put() } else { self.turns.leave(put) }
    }

    pub(super) fn remove_agent(&self, id: &str) {
        self.turns.leave(|| {
            self.agents.remove(id);
            self.nested.remove(id);
        });
    }

    /// Bundles are stored under `spiffe://td`.
    pub(super) fn put_bundle(&self, stored: &str, bundle: Option<&Bundle>) {
        let name = stored.strip_prefix("spiffe://").unwrap_or(stored);
        match bundle {
            Some(bundle) => drop(self.bundles.insert(self.shared_bundle_name(name), Arc::new(encode::bundle(bundle)))),
            None => drop(self.bundles.remove(name)),
        }
    }

    /// The ID as it is kept already, or a new one.
    pub(super) fn shared(&self, id: &str) -> Arc<str> {
        let named = self.named.get(id).map(|group| Arc::clone(group.key()));
        let known = named.or_else(|| self.children.get(id).map(|group| Arc::clone(group.key())));
        known.or_else(|| self.agents.get(id).map(|agent| Arc::clone(agent.key()))).unwrap_or_else(|| id.into())
    }

    pub(super) fn shared_bundle_name(&self, name: &str) -> Arc<str> {
        self.bundles.get(name).map_or_else(|| name.into(), |bundle| Arc::clone(bundle.key()))
    }
}

fn put<K: Hash + Eq + Clone>(groups: &Group<K>, key: &K, entry: &Arc<IndexedEntry>) {
    // Most IDs have one entry, and there may be a million of them.
    let mut group = groups.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
    match group.binary_search_by_key(&entry.place, |entry| entry.place) {
        Ok(at) => group[at] = Arc::clone(entry),
        Err(at) => group.insert(at, Arc::clone(entry)),
    }
}

fn take<K: Hash + Eq>(groups: &Group<K>, key: &K, place: u64) {
    groups.remove_if_mut(key, |_, group| {
        if let Ok(at) = group.binary_search_by_key(&place, |entry| entry.place) {
            group.remove(at);
        }
        group.is_empty()
    });
}
