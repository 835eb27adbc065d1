use std::fmt;

use crate::sql::Value;

/// A fact about a workload or a node: the attestor's name for the kind, and the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// For example `unix`.
    pub kind: String,
    /// For example `uid:1000`.
    pub value: String,
}

impl Selector {
    /// The selector `kind:value`.
    pub fn new(kind: impl Into<String>, value: impl Into<String>) -> Self {
        Self { kind: kind.into(), value: value.into() }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// The selectors as a set: sorted by kind and value, each once.
pub(crate) fn set(selectors: &[Selector]) -> Vec<Selector> {
    let mut set = selectors.to_vec();
    set.sort();
    set.dedup();
    set
}

/// The set as rows of two columns.
pub(crate) fn pairs(selectors: &[Selector]) -> Vec<[Value; 2]> {
    set(selectors).into_iter().map(|Selector { kind, value }| [kind.into(), value.into()]).collect()
}
