//! Which agents a changed entry concerns: the same closure as `authorized`, walked upwards.

use std::collections::HashSet;
use std::sync::Arc;

use super::IndexedEntry;
use super::tables::Tables;

/// The connected agents that have this entry, in its place in the tables.
pub(super) fn by(tables: &Tables, entry: &IndexedEntry, connected: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
    let mut agents = Vec::new();
    let mut visited = HashSet::new();
    let mut above: Vec<&str> = Vec::new();
    if entry.row.parent_id == tables.server_id {
        agents.extend(matching(tables, entry, connected));
    } else {
        above.push(&entry.row.parent_id);
    }
    while let Some(id) = above.pop() {
        if !visited.insert(id) {
            continue;
        }
        agents.extend(connected.get(id).cloned());
        for named in tables.named.get(id).into_iter().flatten() {
            if named.row.parent_id == tables.server_id {
                agents.extend(matching(tables, named, connected));
            } else {
                above.push(&named.row.parent_id);
            }
        }
    }
    agents
}

/// The connected agents that an alias applies to.
fn matching<'a>(
    tables: &'a Tables,
    alias: &'a IndexedEntry,
    connected: &'a HashSet<Arc<str>>,
) -> impl Iterator<Item = Arc<str>> + 'a {
    let applies = |agent: &&Arc<str>| tables.agents.get(&***agent).is_some_and(|state| state.matches(alias));
    connected.iter().filter(applies).cloned()
}
