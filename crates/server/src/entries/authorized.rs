//! Which entries an agent may have: the closure of its own ID over "is the parent of", and the same from each alias.

use std::collections::HashSet;
use std::sync::Arc;

use super::IndexedEntry;
use super::tables::Tables;

/// All of them, each once.
pub(super) fn entries(tables: &Tables, agent: &str) -> Vec<Arc<IndexedEntry>> {
    let mut found = Vec::new();
    let mut visited = HashSet::new();
    let mut parents = vec![agent];
    while let Some(parent) = parents.pop() {
        if !visited.insert(parent) {
            continue;
        }
        let from = parents.len();
        for alias in aliases_of(tables, parent) {
            parents.push(&alias.spiffe_id);
        }
        for entry in tables.children.get(parent).into_iter().flatten() {
            found.push(Arc::clone(entry));
            parents.push(&entry.spiffe_id);
        }
        // A stack gives back the last first.
        parents[from..].reverse();
    }
    found
}

/// One of them, found from below: cheaper than the whole closure, since few IDs stand above an entry.
pub(super) fn entry(tables: &Tables, agent: &str, entry_id: &str) -> Option<Arc<IndexedEntry>> {
    let entry = tables.entries.get(entry_id).filter(|entry| *entry.parent_id != *tables.server_id)?;
    let state = tables.agents.get(agent);
    let mut visited = HashSet::new();
    let mut above = vec![&*entry.parent_id];
    while let Some(id) = above.pop() {
        if id == agent {
            return Some(Arc::clone(entry));
        }
        if !visited.insert(id) {
            continue;
        }
        for named in tables.named.get(id).into_iter().flatten() {
            if *named.parent_id != *tables.server_id {
                above.push(&*named.parent_id);
            } else if state.is_some_and(|state| state.matches(named)) {
                return Some(Arc::clone(entry));
            }
        }
    }
    // What is left is an alias of another agent whose ID stands below this one: rare enough for the long way.
    let all = entries(tables, agent);
    all.into_iter().find(|entry| *entry.id == *entry_id)
}

/// Node aliases of an ID, if it is an agent's.
fn aliases_of<'a>(tables: &'a Tables, id: &str) -> impl Iterator<Item = &'a Arc<IndexedEntry>> {
    let state = tables.agents.get(id);
    let selectors = state.into_iter().flat_map(|state| state.selectors().iter().map(move |selector| (state, selector)));
    selectors.flat_map(|(state, selector)| {
        tables.aliases.get(selector).into_iter().flatten().filter(move |alias| state.matches(alias))
    })
}
