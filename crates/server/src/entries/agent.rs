//! An agent as the index keeps it.

use std::collections::HashSet;

use steeple_datastore::{Node, Selector};

use super::{IndexedEntry, Seen};

/// What is known of an agent, apart from its entries.
#[derive(Debug)]
pub struct AgentState {
    /// Serial number of the SVID in use, decimal; empty when the agent is banned.
    pub serial: String,
    /// Serial number of a renewed SVID that has not been seen yet, or of the one in use if it answered a join token and has
    /// not been seen; empty when there is none.
    pub new_serial: String,
    expires_at: i64,
    new_expires_at: Option<i64>,
    attestation_type: Box<str>,
    agent_version: Box<str>,
    can_reattest: bool,
    selectors: HashSet<(String, String)>,
    pub(super) seen: Seen,
}

impl AgentState {
    /// Whether the agent is banned.
    pub fn is_banned(&self) -> bool {
        self.serial.is_empty()
    }

    pub(super) fn new(node: Node, round: u32) -> Self {
        let Node {
            spiffe_id: _,
            attestation_type,
            serial,
            expires_at,
            new_serial,
            new_expires_at,
            can_reattest,
            agent_version,
            selectors,
        } = node;
        Self {
            serial: serial.unwrap_or_default(),
            new_serial,
            expires_at,
            new_expires_at,
            attestation_type: attestation_type.into(),
            agent_version: agent_version.into(),
            can_reattest,
            selectors: selectors.into_iter().map(|selector| (selector.kind, selector.value)).collect(),
            seen: Seen::new(round),
        }
    }

    /// The row that it was read from.
    pub(super) fn row(&self, id: &str) -> Node {
        let Self {
            serial,
            new_serial,
            expires_at,
            new_expires_at,
            attestation_type,
            agent_version,
            can_reattest,
            selectors,
            seen: _,
        } = self;
        Node {
            spiffe_id: id.to_owned(),
            attestation_type: attestation_type.to_string(),
            serial: Some(serial.clone()),
            expires_at: *expires_at,
            new_serial: new_serial.clone(),
            new_expires_at: *new_expires_at,
            can_reattest: *can_reattest,
            agent_version: agent_version.to_string(),
            selectors: selectors.iter().map(|(kind, value)| Selector::new(kind, value)).collect(),
        }
    }

    /// Whether the row says the same.
    pub(super) fn is_of(&self, node: &Node) -> bool {
        let Self {
            serial,
            new_serial,
            expires_at,
            new_expires_at,
            attestation_type,
            agent_version,
            can_reattest,
            selectors,
            seen: _,
        } = self;
        let others: HashSet<(&str, &str)> =
            node.selectors.iter().map(|selector| (&*selector.kind, &*selector.value)).collect();
        *serial == *node.serial.as_deref().unwrap_or_default()
            && *new_serial == node.new_serial
            && (*expires_at, *new_expires_at) == (node.expires_at, node.new_expires_at)
            && **attestation_type == *node.attestation_type
            && **agent_version == *node.agent_version
            && *can_reattest == node.can_reattest
            && selectors.len() == others.len()
            && selectors.iter().all(|(kind, value)| others.contains(&(kind, value)))
    }

    /// Whether an alias with these selectors applies: all of them are the agent's. One that has lost its selectors is nobody's.
    pub(super) fn matches(&self, alias: &IndexedEntry) -> bool {
        let has = |kind: &str, value: &str| self.selectors.contains(&(kind.to_owned(), value.to_owned()));
        !alias.alias_of.is_empty() && alias.alias_of.iter().all(|(kind, value)| has(kind, value))
    }

    pub(super) fn selectors(&self) -> &HashSet<(String, String)> {
        &self.selectors
    }

    /// When the last of its SVIDs ends, in seconds since 1970.
    pub(super) fn last_end(&self) -> i64 {
        self.new_expires_at.map_or(self.expires_at, |end| end.max(self.expires_at))
    }
}
