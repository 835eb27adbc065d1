//! Plugins that a file may well name, since the reference has them or would run them, and that there cannot be yet. All of
//! them are told at once, so that nobody has to try again for each.

use steeple_config::plugins::PluginBlock;

use super::{
    AgentBuiltIns, BuiltIn, JOIN_TOKEN, LoadError, OF_A_SERVER, OF_AN_AGENT, ServerBuiltIns, bundle_publisher,
    credential_composer, key_manager, node_attestor, upstream_authority, workload_attestor,
};

/// A plugin that there cannot be yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    kind: &'static str,
    name: String,
    is_external: bool,
}

/// Types, and names that the reference has of each.
pub(super) type Known = &'static [(&'static str, &'static [&'static str])];

impl Missing {
    /// None for one that there is, and for one that nobody has.
    pub(super) fn of(block: &PluginBlock, known: Known, is_built_in: impl Fn(&str, &str) -> bool) -> Option<Self> {
        let (kind, names) = known.iter().find(|(kind, _)| *kind == block.kind)?;
        let (name, is_external) = (&block.name, block.cmd.is_some());
        let is_missing = is_external || (names.contains(&name.as_str()) && !is_built_in(kind, name));
        is_missing.then(|| Self { kind, name: name.clone(), is_external })
    }
}

/// Of one sentence each: those that are built in elsewhere, and programs.
pub(super) fn in_words(missing: &[Missing]) -> String {
    let named = |external: bool| {
        let those = missing.iter().filter(|missing| missing.is_external == external);
        those.map(|Missing { kind, name, .. }| format!("{kind} {name:?}")).collect::<Vec<_>>().join(", ")
    };
    let sentences = [
        ("these plugins are not built in yet", named(false)),
        ("external plugins (plugin_cmd) are not supported yet", named(true)),
    ];
    let sentences = sentences.iter().filter(|(_, names)| !names.is_empty());
    sentences.map(|(what, names)| format!("{what}: {names}")).collect::<Vec<_>>().join("; ")
}

impl ServerBuiltIns {
    /// Whether there can be all plugins that the blocks name. Whatever else is wrong with them is not looked at.
    ///
    /// # Errors
    /// [`LoadError::Missing`]
    pub fn cover<'a>(&self, blocks: impl IntoIterator<Item = &'a PluginBlock>) -> Result<(), LoadError> {
        let is_built_in = |kind: &str, name: &str| match kind {
            key_manager::TYPE => has(self.key_managers, name),
            node_attestor::TYPE => has(self.node_attestors, name),
            upstream_authority::TYPE => has(self.upstream_authorities, name),
            bundle_publisher::TYPE => has(self.bundle_publishers, name),
            credential_composer::TYPE => has(self.credential_composers, name),
            // The caller's.
            "DataStore" => true,
            _ => false,
        };
        let blocks = blocks.into_iter().filter(|block| !overrides_join_token(block));
        cover(blocks, OF_A_SERVER, is_built_in)
    }
}

impl AgentBuiltIns {
    /// Whether there can be all plugins that the blocks name; a node attestor in whose place there is a join token may be
    /// any. Whatever else is wrong with them is not looked at.
    ///
    /// # Errors
    /// [`LoadError::Missing`]
    pub fn cover<'a>(
        &self,
        blocks: impl IntoIterator<Item = &'a PluginBlock>,
        has_join_token: bool,
    ) -> Result<(), LoadError> {
        let is_built_in = |kind: &str, name: &str| match kind {
            key_manager::TYPE => has(self.key_managers, name),
            node_attestor::TYPE => has(self.node_attestors, name),
            workload_attestor::TYPE => has(self.workload_attestors, name),
            _ => false,
        };
        let blocks = blocks.into_iter().filter(|block| !(has_join_token && block.kind == node_attestor::TYPE));
        cover(blocks, OF_AN_AGENT, is_built_in)
    }
}

/// Whether a program would stand in the place of the server's own join tokens, which is refused for good.
pub(super) fn overrides_join_token(block: &PluginBlock) -> bool {
    block.kind == node_attestor::TYPE && block.name == JOIN_TOKEN && block.cmd.is_some()
}

fn has<T: ?Sized>(built_ins: &[BuiltIn<T>], name: &str) -> bool {
    built_ins.iter().any(|built_in| built_in.name == name)
}

fn cover<'a>(
    blocks: impl Iterator<Item = &'a PluginBlock>,
    known: Known,
    is_built_in: impl Fn(&str, &str) -> bool,
) -> Result<(), LoadError> {
    let enabled = blocks.filter(|block| block.enabled);
    let missing: Vec<_> = enabled.filter_map(|block| Missing::of(block, known, &is_built_in)).collect();
    if missing.is_empty() { Ok(()) } else { Err(LoadError::Missing(missing)) }
}
