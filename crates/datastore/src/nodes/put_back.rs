use std::collections::{HashMap, HashSet};

use super::attest::{create, set_selectors};
use super::{Node, time};
use crate::Error;
use crate::events::NODE_EVENTS;
use crate::sql::Sql;
use crate::writer::{Mutation, Tx};

/// Writes back what a database that moved back has lost of nodes, as somebody knows them from before.
///
/// What was decided in the database since then stays: nothing is written of a node that is banned, that has an SVID which
/// ends as late, or that is gone while an event names it, since somebody has deleted it.
#[derive(Clone, Debug)]
pub struct PutBackNodes {
    /// The nodes with their selectors, each once. Of one whose row is there only the SVIDs are written.
    pub nodes: Vec<Node>,
}

/// What servers lock that notice the loss at the same time, so that each node is written once.
const PUTTING_BACK: u64 = 0x7075_7420_6261_636b;

impl Mutation for PutBackNodes {
    /// The identities that were written.
    type Output = Vec<String>;
    const KEY: &'static str = "datastore.node.update";
    const CONFLICT_IS_A_RACE: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<String>, Error> {
        tx.db.lock([PUTTING_BACK]).await?;
        let spiffe_ids: Vec<_> = self.nodes.iter().map(|node| node.spiffe_id.clone()).collect();
        let stored = super::by_spiffe_ids(tx.db, &spiffe_ids).await?;
        let stored: HashMap<_, _> = stored.iter().map(|node| (node.spiffe_id.as_str(), node)).collect();
        let missing: Vec<_> = spiffe_ids.iter().map(String::as_str).filter(|id| !stored.contains_key(id)).collect();
        let named = format!("SELECT DISTINCT spiffe_id FROM {NODE_EVENTS} WHERE spiffe_id IN ");
        let named: HashSet<_> = tx.db.rows_in(&named, &missing, "", |row| row.text(0)).await?.into_iter().collect();
        let mut written = Vec::new();
        for node in &self.nodes {
            let is_written = match stored.get(node.spiffe_id.as_str()) {
                Some(stored) => node.is_newer_than(stored) && renew(tx, node, stored).await?,
                None if named.contains(&node.spiffe_id) => false,
                None => {
                    set_selectors(tx, &node.spiffe_id, &node.selectors).await?;
                    create(tx, node).await?;
                    true
                }
            };
            if is_written {
                written.push(node.spiffe_id.clone());
            }
        }
        Ok(written)
    }
}

/// Writes the SVIDs of a node, unless its row has changed since it was read.
async fn renew(tx: &mut Tx<'_>, node: &Node, stored: &Node) -> Result<bool, Error> {
    let update = "UPDATE attested_node_entries SET updated_at = ?, serial_number = ?, expires_at = ?, \
                  new_serial_number = ?, new_expires_at = ? \
                  WHERE spiffe_id = ? AND serial_number = ? AND COALESCE(new_serial_number, '') = ?";
    let sql = Sql::new(update).bind(tx.now).bind(node.serial.as_deref()).bind(time(node.expires_at));
    let sql = sql.bind(&node.new_serial).bind(node.new_expires_at.map(time)).bind(&node.spiffe_id);
    let is_written = tx.db.execute(sql.bind(stored.serial.as_deref()).bind(&stored.new_serial)).await? > 0;
    if is_written {
        tx.node_events([node.spiffe_id.as_str()]).await?;
    }
    Ok(is_written)
}
