//! Which entries an agent may have: the closure of its own ID over "is the parent of", and the same from each alias. Both
//! look at several places, and are called in [`Turns::steady`](super::turns::Turns::steady).

use std::collections::HashSet;
use std::sync::Arc;

use super::IndexedEntry;
use super::tables::Tables;

/// All of them, each once.
pub(super) fn entries(tables: &Tables, agent: &str) -> Vec<Arc<IndexedEntry>> {
    let mut found = Vec::new();
    let mut visited = HashSet::new();
    let mut parents: Vec<Arc<str>> = vec![agent.into()];
    while let Some(parent) = parents.pop() {
        if !visited.insert(Arc::clone(&parent)) {
            continue;
        }
        let from = parents.len();
        parents.extend(aliases_of(tables, &parent).into_iter().map(|alias| Arc::clone(&alias.spiffe_id)));
        if let Some(children) = tables.children.get(&parent) {
            found.extend(children.iter().cloned());
            parents.extend(children.iter().map(|entry| Arc::clone(&entry.spiffe_id)));
        }
        // A stack gives back the last first.
        parents[from..].reverse();
    }
    found
}

/// One of them, found from below: cheaper than the whole closure, since few IDs stand above an entry.
pub(super) fn entry(tables: &Tables, agent: &str, entry_id: &str) -> Option<Arc<IndexedEntry>> {
    let entry = tables.entry(entry_id).filter(|entry| *entry.parent_id != *tables.server_id)?;
    let state = tables.agent(agent);
    let mut visited = HashSet::new();
    let mut above = vec![Arc::clone(&entry.parent_id)];
    while let Some(id) = above.pop() {
        if *id == *agent {
            return Some(entry);
        }
        if !visited.insert(Arc::clone(&id)) {
            continue;
        }
        for named in tables.named.get(&id).iter().flat_map(|named| named.iter()) {
            if *named.parent_id != *tables.server_id {
                above.push(Arc::clone(&named.parent_id));
            } else if state.as_ref().is_some_and(|state| state.matches(named)) {
                return Some(entry);
            }
        }
    }
    // What is left is an alias of another agent whose ID stands below this one: rare enough for the long way.
    let all = entries(tables, agent);
    all.into_iter().find(|entry| *entry.id == *entry_id)
}

/// Node aliases of an ID, if it is an agent's.
fn aliases_of(tables: &Tables, id: &str) -> Vec<Arc<IndexedEntry>> {
    let Some(state) = tables.agent(id) else { return Vec::new() };
    let mut found = Vec::new();
    for selector in state.selectors() {
        if let Some(aliases) = tables.aliases.get(selector) {
            found.extend(aliases.iter().filter(|alias| state.matches(alias)).cloned());
        }
    }
    found
}
