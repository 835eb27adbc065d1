use super::{Node, time};
use crate::sql::Sql;
use crate::writer::{Mutation, Tx};
use crate::{Error, Selector, selector};

/// Stores a node that has attested: its selectors and its row, in one transaction. A known node keeps its attestation
/// type and agent version, and loses the next SVID if it was given one.
///
/// A banned node is refused ([`Error::Banned`]), so that a ban which comes while an agent attests is not undone.
#[derive(Clone, Debug)]
pub struct AttestNode {
    /// The agent's identity.
    pub spiffe_id: String,
    /// The attestor's name; stored for a new node only.
    pub attestation_type: String,
    /// Serial number of its SVID, in decimal.
    pub serial: String,
    /// End of its SVID in seconds since 1970.
    pub expires_at: i64,
    /// Whether it attests again where others renew.
    pub can_reattest: bool,
    /// What the attestor found out. Stored sorted, each once, in place of what was stored.
    pub selectors: Vec<Selector>,
}

/// Creates a node's row. Its selectors are not read. One that exists is refused ([`Error::Constraint`]).
#[derive(Clone, Debug)]
pub struct CreateNode(pub Node);

/// Replaces the selectors of a node, whether or not it has a row. They are stored sorted, each once.
#[derive(Clone, Debug)]
pub struct SetNodeSelectors {
    /// The agent's identity.
    pub spiffe_id: String,
    /// The new selectors.
    pub selectors: Vec<Selector>,
}

impl Mutation for AttestNode {
    /// The node as it is stored now.
    type Output = Node;
    const KEY: &'static str = "datastore.node.create";
    const CONFLICT_IS_A_RACE: bool = true;
    const IS_OF_A_CROWD: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Node, Error> {
        let Self { spiffe_id, attestation_type, serial, expires_at, can_reattest, selectors } = self;
        let select = format!(
            "SELECT serial_number FROM attested_node_entries WHERE spiffe_id = ?{}",
            tx.db.dialect().row_lock()
        );
        let known = tx.db.row(Sql::new(select).bind(spiffe_id), |row| row.text(0)).await?;
        if known.as_ref().is_some_and(String::is_empty) {
            return Err(Error::Banned);
        }
        // Two events, as in the reference, which does this in two transactions.
        set_selectors(tx, spiffe_id, selectors).await?;
        if known.is_none() {
            let node = Node {
                spiffe_id: spiffe_id.clone(),
                attestation_type: attestation_type.clone(),
                serial: Some(serial.clone()),
                expires_at: *expires_at,
                can_reattest: *can_reattest,
                ..Node::default()
            };
            create(tx, &node).await?;
        } else {
            let update = "UPDATE attested_node_entries SET updated_at = ?, serial_number = ?, expires_at = ?, \
                          new_serial_number = '', new_expires_at = NULL, can_reattest = ? WHERE spiffe_id = ?";
            let sql = Sql::new(update).bind(tx.now).bind(serial).bind(time(*expires_at)).bind(*can_reattest);
            tx.db.execute(sql.bind(spiffe_id)).await?;
            tx.node_events([spiffe_id.as_str()]).await?;
        }
        super::by_spiffe_ids(tx.db, std::slice::from_ref(spiffe_id)).await?.pop().ok_or(Error::NotFound)
    }
}

impl Mutation for CreateNode {
    type Output = ();
    const KEY: &'static str = "datastore.node.create";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        create(tx, &self.0).await
    }
}

impl Mutation for SetNodeSelectors {
    type Output = ();
    const KEY: &'static str = "datastore.node.selectors.set";
    const CONFLICT_IS_A_RACE: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        set_selectors(tx, &self.spiffe_id, &self.selectors).await
    }
}

pub(super) async fn create(tx: &mut Tx<'_>, node: &Node) -> Result<(), Error> {
    let Node {
        spiffe_id,
        attestation_type,
        serial,
        expires_at,
        new_serial,
        new_expires_at,
        can_reattest,
        agent_version,
        selectors: _,
    } = node;
    let insert = "INSERT INTO attested_node_entries (created_at, updated_at, spiffe_id, data_type, serial_number, \
                  expires_at, new_serial_number, new_expires_at, can_reattest, agent_version) VALUES ";
    let row = [
        tx.now.into(),
        tx.now.into(),
        spiffe_id.into(),
        attestation_type.into(),
        serial.as_deref().into(),
        time(*expires_at),
        new_serial.into(),
        new_expires_at.map(time).into(),
        (*can_reattest).into(),
        agent_version.into(),
    ];
    tx.db.insert(insert, [row]).await?;
    tx.node_events([spiffe_id.as_str()]).await
}

pub(super) async fn set_selectors(tx: &mut Tx<'_>, spiffe_id: &str, selectors: &[Selector]) -> Result<(), Error> {
    tx.db.execute(Sql::new("DELETE FROM node_resolver_map_entries WHERE spiffe_id = ?").bind(spiffe_id)).await?;
    let now = tx.now;
    let rows: Vec<_> = selector::set(selectors)
        .into_iter()
        .map(|Selector { kind, value }| [now.into(), now.into(), spiffe_id.into(), kind.into(), value.into()])
        .collect();
    let insert = "INSERT INTO node_resolver_map_entries (created_at, updated_at, spiffe_id, type, value) VALUES ";
    tx.db.insert(insert, rows).await?;
    tx.node_events([spiffe_id]).await
}
