//! Which agents a change concerns: the same closure as `authorized`, walked upwards.

use std::collections::HashSet;
use std::sync::Arc;

use super::IndexedEntry;
use super::streams::Streams;
use super::tables::Tables;

/// The connected agents that have this entry, in its place in the tables.
pub(super) fn by(tables: &Tables, entry: &IndexedEntry, connected: &Streams) -> Vec<Arc<str>> {
    walk(tables, parents(tables, entry, connected), connected)
}

/// The connected agents that have what stands below this ID, the agent with the ID among them.
pub(super) fn above(tables: &Tables, id: &str, connected: &Streams) -> Vec<Arc<str>> {
    walk(tables, vec![id.into()], connected)
}

fn walk(tables: &Tables, mut above: Vec<Arc<str>>, connected: &Streams) -> Vec<Arc<str>> {
    let mut agents = Vec::new();
    let mut visited = HashSet::new();
    while let Some(id) = above.pop() {
        if !visited.insert(Arc::clone(&id)) {
            continue;
        }
        agents.extend(connected.get(&id).cloned());
        for named in tables.named.get(&id).iter().flat_map(|named| named.iter()) {
            above.extend(parents(tables, named, connected));
        }
    }
    agents
}

/// The IDs right above an entry: its parent, or the agents that it is an alias of. Of those agents, the ones matter that
/// are connected, and the ones that stand below another.
fn parents(tables: &Tables, entry: &IndexedEntry, connected: &Streams) -> Vec<Arc<str>> {
    if *entry.parent_id != *tables.server_id {
        return vec![Arc::clone(&entry.parent_id)];
    }
    let applies = |agent: &str| tables.agents.get(agent).is_some_and(|state| state.matches(entry));
    let mut agents: Vec<_> = connected.agents().filter(|agent| applies(agent)).cloned().collect();
    agents.extend(tables.nested.iter().filter(|agent| applies(agent)).map(|agent| Arc::clone(&agent)));
    agents
}
