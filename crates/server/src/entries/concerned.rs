//! Which agents a change concerns: the same closure as `authorized`, walked upwards.

use std::collections::HashSet;
use std::sync::Arc;

use super::IndexedEntry;
use super::streams::Streams;
use super::tables::Tables;

/// The connected agents that have this entry, in its place in the tables.
pub(super) fn by(tables: &Tables, entry: &IndexedEntry, connected: &Streams) -> Vec<Arc<str>> {
    walk(tables, parents(tables, entry, connected).collect(), connected)
}

/// The connected agents that have what stands below this ID, the agent with the ID among them.
pub(super) fn above(tables: &Tables, id: &str, connected: &Streams) -> Vec<Arc<str>> {
    walk(tables, vec![id], connected)
}

fn walk<'a>(tables: &'a Tables, mut above: Vec<&'a str>, connected: &'a Streams) -> Vec<Arc<str>> {
    let mut agents = Vec::new();
    let mut visited = HashSet::new();
    while let Some(id) = above.pop() {
        if !visited.insert(id) {
            continue;
        }
        agents.extend(connected.get(id).cloned());
        for named in tables.named.get(id).into_iter().flatten() {
            above.extend(parents(tables, named, connected));
        }
    }
    agents
}

/// The IDs right above an entry: its parent, or the agents that it is an alias of. Of those agents, the ones matter that
/// are connected, and the ones that stand below another.
fn parents<'a>(tables: &'a Tables, entry: &'a IndexedEntry, connected: &'a Streams) -> impl Iterator<Item = &'a str> {
    let is_alias = *entry.parent_id == *tables.server_id;
    let agents = || connected.agents().map(|agent| &**agent).chain(tables.nested.iter().map(|agent| &**agent));
    let applies = |agent: &&str| tables.agents.get(*agent).is_some_and(|state| state.matches(entry));
    let parent = (!is_alias).then_some(&*entry.parent_id);
    parent.into_iter().chain(is_alias.then(agents).into_iter().flatten().filter(applies))
}
