use steeple_runtime::clock::from_unix_seconds;

use super::Node;
use crate::Error;
use crate::connection::Row;
use crate::entries;
use crate::sql::Sql;
use crate::writer::{Mutation, Tx};

/// Deletes a node and its selectors. With a node that attested by join token go the entries that gave it another
/// identity: those below it whose only selector is the node's own identity.
#[derive(Clone, Debug)]
pub struct DeleteNode {
    /// The agent's identity.
    pub spiffe_id: String,
}

/// Deletes nodes whose SVID has ended, in the way of [`DeleteNode`]. Banned nodes stay: deleting one would end the ban.
#[derive(Clone, Debug)]
pub struct PruneNodes {
    /// Nodes whose SVID in use ended before this go, in seconds since 1970.
    pub expires_before: i64,
    /// Also those that cannot attest again. Without their row they can.
    pub include_non_reattestable: bool,
    /// The most nodes that go, so that one transaction does not hold others up for long.
    pub limit: u32,
}

/// What servers lock that prune at the same time, so that each row goes once and is told of once.
const PRUNING: u64 = 0x7072_756e_652d_6e6f;

impl Mutation for DeleteNode {
    /// The node that went.
    type Output = Node;
    const KEY: &'static str = "datastore.node.delete";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Node, Error> {
        let node = super::by_spiffe_ids(tx.db, std::slice::from_ref(&self.spiffe_id)).await?.pop();
        let node = node.ok_or(Error::NotFound)?;
        delete(tx, &node.spiffe_id, &node.attestation_type).await?;
        Ok(node)
    }
}

impl Mutation for PruneNodes {
    /// The identities that went.
    type Output = Vec<String>;
    const KEY: &'static str = "datastore.node.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<String>, Error> {
        tx.db.lock([PRUNING]).await?;
        let Self { expires_before, include_non_reattestable, limit } = self;
        let expired = tx.db.dialect().earlier("expires_at", from_unix_seconds(*expires_before));
        let select = "SELECT spiffe_id, data_type FROM attested_node_entries WHERE serial_number <> '' AND ";
        let sql = Sql::new(select).append(expired);
        let sql = if *include_non_reattestable { sql } else { sql.push(" AND can_reattest = ?").bind(true) };
        // Whoever is banning or renewing one of them comes first, and then it is not one of them any more. In the order of the
        // index of what is over: in another one MySQL would lock what it passes by.
        let sql = sql.push(" ORDER BY expires_at, id LIMIT ?").bind(i64::from(*limit)).push(tx.db.dialect().row_lock());
        let nodes = tx.db.rows(sql, |row| Ok((row.text(0)?, row.text(1)?))).await?;
        for (spiffe_id, attestation_type) in &nodes {
            delete(tx, spiffe_id, attestation_type).await?;
        }
        Ok(nodes.into_iter().map(|(spiffe_id, _)| spiffe_id).collect())
    }
}

async fn delete(tx: &mut Tx<'_>, spiffe_id: &str, attestation_type: &str) -> Result<(), Error> {
    tx.db.execute(Sql::new("DELETE FROM attested_node_entries WHERE spiffe_id = ?").bind(spiffe_id)).await?;
    tx.db.execute(Sql::new("DELETE FROM node_resolver_map_entries WHERE spiffe_id = ?").bind(spiffe_id)).await?;
    if attestation_type == "join_token" {
        let select = "SELECT e.id, e.entry_id FROM registered_entries e \
                      JOIN selectors s ON s.registered_entry_id = e.id \
                      WHERE e.parent_id = ? AND s.type = 'spiffe_id' AND s.value = ? \
                      AND (SELECT COUNT(*) FROM selectors t WHERE t.registered_entry_id = e.id) = 1";
        let read = |row: &Row| Ok((row.integer(0)?, row.text(1)?));
        let aliases = tx.db.rows(Sql::new(select).bind(spiffe_id).bind(spiffe_id), read).await?;
        entries::delete_rows(tx, &aliases).await?;
    }
    tx.node_events([spiffe_id]).await
}
