//! What can be wrong with a configuration.

use crate::hcl::Pos;

/// Everything that this crate refuses. The texts are the reference's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// HCL text that does not follow the grammar.
    #[error("At {pos}: {reason}")]
    Hcl {
        /// Where.
        pos: Pos,
        /// What was expected or found.
        reason: String,
    },

    /// JSON text with a character that no token can hold.
    #[error("{pos}: {reason}")]
    JsonToken {
        /// Where.
        pos: Pos,
        /// What was found.
        reason: String,
    },

    /// JSON text whose tokens come in a wrong order. The text has no position, as the reference's has none;
    /// [`Error::pos`] knows it.
    #[error("{reason}")]
    Json {
        /// Where.
        pos: Pos,
        /// What was expected or found.
        reason: String,
    },
}

impl Error {
    /// Where in the text the error is, if it has a place.
    #[must_use]
    pub fn pos(&self) -> Option<Pos> {
        match self {
            Self::Hcl { pos, .. } | Self::JsonToken { pos, .. } | Self::Json { pos, .. } => Some(*pos),
        }
    }
}
