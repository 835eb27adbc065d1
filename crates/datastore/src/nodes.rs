//! Attested nodes: the agents that have proved where they run, the SVIDs they may use, and their selectors.

mod attest;
mod change;
mod delete;
mod put_back;

use std::collections::HashMap;

use steeple_runtime::clock::{from_unix_seconds, unix_seconds};
use steeple_runtime::metrics::measure;

pub use attest::{AttestNode, CreateNode, SetNodeSelectors};
pub use change::{ActivateNodeSerial, RenewNode, UpdateNode};
pub use delete::{DeleteNode, PruneNodes};
pub use put_back::PutBackNodes;

use crate::connection::{Connection, Row};
use crate::dialect::Dialect;
use crate::listing::{Cursor, Listing, MatchSet, Page, Sets};
use crate::sql::{Conditions, Sql, Value};
use crate::store::DataStore;
use crate::{Error, Selector, selector};

/// An attested node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The agent's identity, `spiffe://td/spire/agent/...`.
    pub spiffe_id: String,
    /// The attestor that let it in, for example `join_token`.
    pub attestation_type: String,
    /// Serial number of the SVID in use, in decimal. Empty says that the node is banned; a row of another program may
    /// have None, which reads as banned but which no filter by ban finds.
    pub serial: Option<String>,
    /// End of that SVID in seconds since 1970.
    pub expires_at: i64,
    /// Serial number of the next SVID, which was given out but not yet seen in use; empty when there is none. After
    /// attestation by a join token it is that of the one in use, until the agent is seen with it.
    pub new_serial: String,
    /// End of the next SVID.
    pub new_expires_at: Option<i64>,
    /// Whether the agent attests again where others renew.
    pub can_reattest: bool,
    /// The version that the agent reported; empty before its first report.
    pub agent_version: String,
    /// What the attestor found out about the node, in the order of creation. Empty where a list was asked for without.
    pub selectors: Vec<Selector>,
}

impl Node {
    /// Whether the agent is shut out until its row is deleted.
    pub fn is_banned(&self) -> bool {
        self.serial.as_deref().unwrap_or_default().is_empty()
    }

    /// End of the SVID that ends last, in seconds since 1970.
    pub fn last_end(&self) -> i64 {
        self.new_expires_at.map_or(self.expires_at, |next| next.max(self.expires_at))
    }

    /// Whether it was given an SVID after `row`, the same node, had been written. A row that is banned is never the older
    /// one, for a ban ends no other way than by deletion.
    pub fn is_newer_than(&self, row: &Self) -> bool {
        !row.is_banned() && row.last_end() < self.last_end()
    }
}

/// Which nodes to list. All conditions must hold; the default lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Those that this attestor let in.
    pub by_attestation_type: Option<String>,
    /// Those whose selectors match.
    pub by_selectors: Option<MatchSet<Selector>>,
    /// The banned ones, or the others.
    pub by_banned: Option<bool>,
    /// Those that attest again, or the others.
    pub by_can_reattest: Option<bool>,
    /// Those whose SVID in use ends before this, in seconds since 1970.
    pub by_expires_before: Option<i64>,
}

impl DataStore {
    /// The node with this identity, and its selectors.
    pub async fn fetch_node(&self, spiffe_id: &str) -> Result<Option<Node>, Error> {
        measure("datastore.node.fetch", async {
            let mut reader = self.pool().snapshot_in_a_crowd().await?;
            let node = by_spiffe_ids(&mut reader.db, &[spiffe_id.to_owned()]).await?.pop();
            reader.done().await?;
            Ok(node)
        })
        .await
    }

    /// The nodes that `filter` lets through, in order of creation, with their selectors if asked for.
    pub async fn list_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
        with_selectors: bool,
    ) -> Result<Listing<Node>, Error> {
        measure("datastore.node.list", async {
            let cursor = page.cursor(Error::PageToken)?;
            let mut reader = self.pool().snapshot().await?;
            let conditions = filter.conditions(reader.db.dialect(), Some(cursor))?;
            let rows = load(&mut reader.db, conditions, Some(cursor), with_selectors).await?;
            reader.done().await?;
            Ok(cursor.listing(rows))
        })
        .await
    }

    /// How many nodes `filter` lets through.
    pub async fn count_nodes(&self, filter: &NodeFilter) -> Result<u64, Error> {
        measure("datastore.node.count", async {
            let mut reader = self.pool().one().await?;
            let conditions = filter.conditions(reader.db.dialect(), None)?;
            let sql = conditions.append_to(Sql::new("SELECT COUNT(*) FROM attested_node_entries n"));
            let count = reader.db.row(sql, |row| row.integer(0)).await?.unwrap_or_default();
            reader.done().await?;
            Ok(count.unsigned_abs())
        })
        .await
    }
}

impl NodeFilter {
    fn conditions(&self, dialect: Dialect, cursor: Option<Cursor>) -> Result<Conditions, Error> {
        let Self { by_attestation_type, by_selectors, by_banned, by_can_reattest, by_expires_before } = self;
        let mut conditions = Conditions::default();
        if let Some(after) = cursor.and_then(|cursor| cursor.condition("n.id")) {
            conditions.add(after);
        }
        if let Some(attestation_type) = by_attestation_type {
            conditions.add(Sql::new("n.data_type = ?").bind(attestation_type));
        }
        if let Some(MatchSet { items, behavior }) = by_selectors {
            if items.is_empty() {
                return Err(Error::EmptySelectors);
            }
            conditions.add(SELECTORS.condition(dialect, "n.spiffe_id", selector::pairs(items), *behavior));
        }
        if let Some(banned) = by_banned {
            conditions.add(Sql::new(if *banned { "n.serial_number = ''" } else { "n.serial_number <> ''" }));
        }
        if let Some(can_reattest) = by_can_reattest {
            conditions.add(Sql::new("n.can_reattest = ?").bind(*can_reattest));
        }
        if let Some(before) = by_expires_before {
            conditions.add(dialect.earlier("n.expires_at", from_unix_seconds(*before)));
        }
        Ok(conditions)
    }
}

const SELECTORS: Sets<2> = Sets {
    table: "node_resolver_map_entries s",
    columns: ["s.type", "s.value"],
    join: "",
    owner: "s.spiffe_id",
    size: "(SELECT COUNT(*) FROM node_resolver_map_entries t WHERE t.spiffe_id = s.spiffe_id)",
};

/// The nodes with these identities and their selectors. A server may be far away and is asked once for both.
pub(crate) async fn by_spiffe_ids(db: &mut Connection, spiffe_ids: &[String]) -> Result<Vec<Node>, Error> {
    let mut nodes = Vec::with_capacity(spiffe_ids.len());
    for some in spiffe_ids.chunks(1_000) {
        if db.dialect().is_server() {
            nodes.append(&mut at_once(db, some).await?);
            continue;
        }
        let mut conditions = Conditions::default();
        conditions.add(Sql::new("n.spiffe_id IN ").list(some));
        nodes.extend(load(db, conditions, None, true).await?.into_iter().map(|(_, node)| node));
    }
    Ok(nodes)
}

/// The same in one statement: the rows of the nodes, then their selectors, which have columns of their own behind those of
/// the nodes, since MySQL refuses to put columns of two collations into one.
async fn at_once(db: &mut Connection, spiffe_ids: &[String]) -> Result<Vec<Node>, Error> {
    let select = format!("SELECT 0, {COLUMNS}, NULL, NULL, NULL FROM attested_node_entries WHERE spiffe_id IN ");
    let selectors = " UNION ALL SELECT 1, id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, spiffe_id, type, value \
                     FROM node_resolver_map_entries WHERE spiffe_id IN ";
    let sql = Sql::new(select).list(spiffe_ids).push(selectors).list(spiffe_ids).push(" ORDER BY 1, 2");
    let mut nodes: Vec<Node> = Vec::with_capacity(spiffe_ids.len());
    let mut places = HashMap::new();
    let add = |row: &Row| {
        if row.integer(0)? == 0 {
            let (_, node) = read(row, 1)?;
            places.insert(node.spiffe_id.clone(), nodes.len());
            nodes.push(node);
        } else if let Some(place) = places.get(&row.text(10)?) {
            nodes[*place].selectors.push(Selector { kind: row.text(11)?, value: row.text(12)? });
        }
        Ok(())
    };
    db.rows(sql, add).await?;
    Ok(nodes)
}

/// The rows and their selectors, with their ids, in order of creation. Run inside a transaction when selectors are read.
pub(crate) async fn load(
    db: &mut Connection,
    conditions: Conditions,
    cursor: Option<Cursor>,
    with_selectors: bool,
) -> Result<Vec<(i64, Node)>, Error> {
    let everything = conditions.is_empty() && cursor.is_none_or(|cursor| !cursor.is_paged());
    let sql = conditions.append_to(select());
    let sql = match cursor {
        Some(cursor) => cursor.order(sql, "n.id"),
        None => sql.push(" ORDER BY n.id"),
    };
    let nodes = db.rows(sql, |row| read(row, 0)).await?;
    if with_selectors { self::with_selectors(db, nodes, everything).await } else { Ok(nodes) }
}

/// The next rows after the one with the id `after`, at most so many, with their selectors.
pub(crate) async fn load_page(db: &mut Connection, after: i64, most: u32) -> Result<Vec<(i64, Node)>, Error> {
    let sql = select().push(" WHERE n.id > ? ORDER BY n.id LIMIT ?").bind(after).bind(i64::from(most));
    let nodes = db.rows(sql, |row| read(row, 0)).await?;
    with_selectors(db, nodes, false).await
}

/// The nodes with their selectors; `everything` says that there are no others.
async fn with_selectors(
    db: &mut Connection,
    mut nodes: Vec<(i64, Node)>,
    everything: bool,
) -> Result<Vec<(i64, Node)>, Error> {
    let places: HashMap<String, usize> =
        nodes.iter().enumerate().map(|(place, (_, node))| (node.spiffe_id.clone(), place)).collect();
    let add = |row: &Row| {
        // Selectors are stored before the row of a node that attests for the first time, so that there may be no row.
        if let Some(place) = places.get(&row.text(0)?) {
            nodes[*place].1.selectors.push(Selector { kind: row.text(1)?, value: row.text(2)? });
        }
        Ok(())
    };
    let select = "SELECT spiffe_id, type, value FROM node_resolver_map_entries";
    if everything {
        db.rows(Sql::new(format!("{select} ORDER BY id")), add).await?;
    } else {
        let spiffe_ids: Vec<_> = places.keys().map(String::as_str).collect();
        db.rows_in(&format!("{select} WHERE spiffe_id IN "), &spiffe_ids, " ORDER BY id", add).await?;
    }
    Ok(nodes)
}

const COLUMNS: &str = "id, spiffe_id, data_type, serial_number, expires_at, new_serial_number, new_expires_at, \
                       can_reattest, agent_version";

/// The SELECT of rows that [`read`] reads, without a condition.
fn select() -> Sql {
    Sql::new(format!("SELECT {COLUMNS} FROM attested_node_entries n"))
}

/// A row whose columns begin with `first`.
fn read(row: &Row, first: usize) -> Result<(i64, Node), Error> {
    let node = Node {
        spiffe_id: row.text(first + 1)?,
        attestation_type: row.text(first + 2)?,
        serial: row.text_or_null(first + 3)?,
        expires_at: row.time(first + 4)?.map(unix_seconds).unwrap_or_default(),
        new_serial: row.text(first + 5)?,
        new_expires_at: row.time(first + 6)?.map(unix_seconds),
        can_reattest: row.flag(first + 7)?,
        agent_version: row.text(first + 8)?,
        selectors: Vec::new(),
    };
    Ok((row.integer(first)?, node))
}

/// A time column that holds whole seconds.
pub(crate) fn time(seconds: i64) -> Value {
    from_unix_seconds(seconds).into()
}
