use super::{Node, time};
use crate::Error;
use crate::sql::{Conditions, Sql, Value};
use crate::writer::{Mutation, Tx};

/// Replaces columns of a node. None leaves a column as it is. To ban a node, set both serials to the empty string.
#[derive(Clone, Debug, Default)]
pub struct UpdateNode {
    /// The agent's identity.
    pub spiffe_id: String,
    /// [`Node::serial`].
    pub serial: Option<String>,
    /// [`Node::expires_at`].
    pub expires_at: Option<i64>,
    /// [`Node::new_serial`].
    pub new_serial: Option<String>,
    /// [`Node::new_expires_at`]; `Some(None)` clears it.
    pub new_expires_at: Option<Option<i64>>,
    /// [`Node::can_reattest`].
    pub can_reattest: Option<bool>,
    /// [`Node::agent_version`].
    pub agent_version: Option<String>,
}

/// Gives a node its next SVID, if it has none but the one that is known; else changes nothing. An agent that has had no answer
/// asks again, and what it asked for first may still be written: that must not take the place of what it was given then.
#[derive(Clone, Debug)]
pub struct RenewNode {
    /// The agent's identity.
    pub spiffe_id: String,
    /// [`Node::new_serial`], as it was read before.
    pub known: String,
    /// The serial number of the next SVID, in decimal.
    pub serial: String,
    /// Its end in seconds since 1970.
    pub expires_at: i64,
}

/// Makes the next SVID of a node the one in use, if its serial number is still the one given; else changes nothing. So a
/// node that was banned, or attested again, in the meantime stays as it is.
#[derive(Clone, Debug)]
pub struct ActivateNodeSerial {
    /// The agent's identity.
    pub spiffe_id: String,
    /// The serial number that the agent used, in decimal.
    pub serial: String,
}

impl Mutation for UpdateNode {
    /// The node after the update.
    type Output = Node;
    const KEY: &'static str = "datastore.node.update";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Node, Error> {
        let Self { spiffe_id, serial, expires_at, new_serial, new_expires_at, can_reattest, agent_version } = self;
        let columns: [(&str, Option<Value>); 6] = [
            ("serial_number", serial.as_ref().map(Into::into)),
            ("expires_at", expires_at.map(time)),
            ("new_serial_number", new_serial.as_ref().map(Into::into)),
            ("new_expires_at", new_expires_at.map(|at| at.map(time).into())),
            ("can_reattest", can_reattest.map(Into::into)),
            ("agent_version", agent_version.as_ref().map(Into::into)),
        ];
        let sql = columns
            .into_iter()
            .filter_map(|(column, value)| value.map(|value| (column, value)))
            .fold(Sql::new("UPDATE attested_node_entries SET updated_at = ?").bind(tx.now), |sql, (column, value)| {
                sql.push(", ").push(column).push(" = ?").bind(value)
            })
            .push(" WHERE spiffe_id = ?")
            .bind(spiffe_id);
        if tx.db.execute(sql).await? == 0 {
            return Err(Error::NotFound);
        }
        tx.node_events([spiffe_id.as_str()]).await?;
        super::by_spiffe_ids(tx.db, std::slice::from_ref(spiffe_id)).await?.pop().ok_or(Error::NotFound)
    }
}

impl Mutation for RenewNode {
    /// The node as it is stored now, without its selectors; its next serial tells whether it was given.
    type Output = Node;
    const KEY: &'static str = "datastore.node.update";
    const IS_OF_A_CROWD: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Node, Error> {
        let Self { spiffe_id, known, serial, expires_at } = self;
        // What another program has written may be NULL.
        let update = "UPDATE attested_node_entries SET updated_at = ?, new_serial_number = ?, new_expires_at = ? \
                      WHERE spiffe_id = ? AND COALESCE(new_serial_number, '') = ?";
        let sql = Sql::new(update).bind(tx.now).bind(serial).bind(time(*expires_at)).bind(spiffe_id).bind(known);
        changed(tx, sql, spiffe_id).await
    }
}

impl Mutation for ActivateNodeSerial {
    /// The node as it is stored now, without its selectors; its serial tells whether the one given is in use.
    type Output = Node;
    const KEY: &'static str = "datastore.node.update";
    const IS_OF_A_CROWD: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Node, Error> {
        let Self { spiffe_id, serial } = self;
        // An empty serial is that of a banned node: it must not match an empty next one.
        let update = "UPDATE attested_node_entries SET updated_at = ?, serial_number = new_serial_number, \
                      expires_at = new_expires_at, new_serial_number = '', new_expires_at = NULL \
                      WHERE spiffe_id = ? AND new_serial_number = ? AND new_serial_number <> '' AND serial_number <> ''";
        changed(tx, Sql::new(update).bind(tx.now).bind(spiffe_id).bind(serial), spiffe_id).await
    }
}

/// Runs an update of one node, which may not apply to it; the node as it is then, without its selectors.
async fn changed(tx: &mut Tx<'_>, update: Sql, spiffe_id: &String) -> Result<Node, Error> {
    let mut node = None;
    let is_changed = if tx.db.dialect().returns() {
        let returning = update.push(" RETURNING ").push(super::COLUMNS);
        node = tx.db.row(returning, |row| super::read(row, 0)).await?;
        node.is_some()
    } else {
        tx.db.execute(update).await? > 0
    };
    if is_changed {
        tx.node_events([spiffe_id.as_str()]).await?;
    }
    if node.is_none() {
        let mut named = Conditions::default();
        named.add(Sql::new("n.spiffe_id = ?").bind(spiffe_id));
        node = super::load(tx.db, named, None, false).await?.pop();
    }
    node.map(|(_, node)| node).ok_or(Error::NotFound)
}
