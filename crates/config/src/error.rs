//! What can be wrong with a configuration.

use crate::duration::QuotedBytes;
use crate::hcl::Pos;
use crate::quote::Quoted;

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

    /// A value that its key cannot take.
    #[error("At {pos}: {key}: {reason}")]
    Mismatch {
        /// Where the value is.
        pos: Pos,
        /// Path of the key from `root`, joined by dots.
        key: String,
        /// What is wrong with it.
        reason: String,
        /// What the key takes. The text does not say it, as the reference's does not; [`Error::expected`] does.
        expected: Option<&'static str>,
    },

    /// A single value where a list belongs. The text does not name the key, as the reference's does not.
    #[error("At {pos}: unknown slice type: {found}")]
    NotAList {
        /// Where the value is.
        pos: Pos,
        /// Path of the key from `root`, joined by dots.
        key: String,
        /// What was found, by the reference's name for it.
        found: &'static str,
    },

    /// Something in the `plugins` section that declares no plugin.
    #[error("At {pos}: plugins are declared as Type \"name\" {{ ... }}")]
    NoPlugin {
        /// Where.
        pos: Pos,
    },

    /// A type and name that were declared before.
    #[error("plugin {}/{} declared more than once", Quoted(kind), Quoted(name))]
    DuplicatePlugin {
        /// The type.
        kind: String,
        /// The name.
        name: String,
    },

    /// A declaration with a value that does not fit.
    #[error("failed to decode plugin config for {}/{}: {reason}", Quoted(kind), Quoted(name))]
    PluginBlock {
        /// The type.
        kind: String,
        /// The name.
        name: String,
        /// The value.
        #[source]
        reason: Box<Self>,
    },

    /// A declaration with both `plugin_data` and `plugin_data_file`.
    #[error(
        "failed to create plugin config for {}/{}: only one of [plugin_data, plugin_data_file] can be used",
        Quoted(kind),
        Quoted(name)
    )]
    PluginDataTwice {
        /// The type.
        kind: String,
        /// The name.
        name: String,
    },

    /// A checksum that is not hexadecimal.
    #[error("checksum is not a valid hex string")]
    ChecksumNotHex,

    /// A checksum with the wrong number of digits, which is given.
    #[error("expected checksum of length 64; got {0}")]
    ChecksumLength(usize),

    /// A duration, given, that is not made of numbers and units, or that is longer than 292 years.
    #[error("time: invalid duration {}", QuotedBytes(.0))]
    InvalidDuration(String),

    /// A duration, given, that ends with a number.
    #[error("time: missing unit in duration {}", QuotedBytes(.0))]
    MissingUnit(String),

    /// A duration with a unit that there is not. Days are one.
    #[error("time: unknown unit {} in duration {}", QuotedBytes(unit), QuotedBytes(duration))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole duration.
        duration: String,
    },

    /// A flag, given, that the command does not have.
    #[error("flag provided but not defined: -{0}")]
    FlagUndefined(String),

    /// A flag, given, at the end of the arguments, where its value is missing.
    #[error("flag needs an argument: -{0}")]
    FlagNeedsArgument(String),

    /// An argument, given, that begins like a flag and is none.
    #[error("bad flag syntax: {0}")]
    FlagSyntax(String),

    /// A value that the flag cannot take.
    #[error("invalid value {} for flag -{flag}: {reason}", Quoted(value))]
    FlagValue {
        /// The flag.
        flag: String,
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },

    /// A value that a flag cannot take which is on or off.
    #[error("invalid boolean value {} for -{flag}: {reason}", Quoted(value))]
    SwitchValue {
        /// The flag.
        flag: String,
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },

    /// Not a mistake: someone wants to see the usage.
    #[error("flag: help requested")]
    HelpRequested,
}

impl Error {
    /// Where in the text the error is, if it has a place.
    #[must_use]
    pub fn pos(&self) -> Option<Pos> {
        match self {
            Self::Hcl { pos, .. }
            | Self::JsonToken { pos, .. }
            | Self::Json { pos, .. }
            | Self::Mismatch { pos, .. }
            | Self::NotAList { pos, .. }
            | Self::NoPlugin { pos } => Some(*pos),
            Self::PluginBlock { reason, .. } => reason.pos(),
            _ => None,
        }
    }

    /// What belongs where a value of the wrong type is, in words.
    #[must_use]
    pub fn expected(&self) -> Option<&'static str> {
        match self {
            Self::Mismatch { expected, .. } => *expected,
            Self::NotAList { .. } => Some("a list: [ ... ]"),
            Self::PluginBlock { reason, .. } => reason.expected(),
            _ => None,
        }
    }
}
