//! Fills structs from a [`Body`].
//!
//! The structs say what a section holds: plain `#[derive(Deserialize)]` with `#[serde(default)]` or `Option` fields,
//! whose names are the keys. What a field makes of its values depends on its type alone:
//!
//! | Field | Takes |
//! |---|---|
//! | `String` | a string, a heredoc, or the text of a whole number |
//! | integer | a whole number or a quoted one: decimal, `0x1F91`, `017` |
//! | float | any number |
//! | `bool` | `true` or `false` without quotes |
//! | `Vec` of single values | a list |
//! | struct | a block; its fields may be spread over several |
//! | `Vec` of structs | a list of objects, or blocks; an empty block adds nothing |
//! | [`Labelled`] or a map | `key "label" { ... }` or `key { label { ... } }` |
//! | `Option` | the same; an empty block is `Some`, an absent one `None` |
//! | [`serde::de::IgnoredAny`] | anything: a section that is known here and read elsewhere |
//!
//! Keys match without regard to ASCII case. A key that comes again replaces a single value, extends a list, and adds
//! to a block. Where an object is expected, a list of objects is as good. JSON's `null` is the same as no key.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Error;
use crate::hcl::Body;

mod node;
mod part;

use node::Node;
pub(crate) use part::{Part, members};

/// Fills a `T`, and says which keys it has no field for.
///
/// # Errors
///
/// [`Error::Mismatch`] and [`Error::NotAList`].
pub fn decode<T: DeserializeOwned>(body: &Body) -> Result<Decoded<T>, Error> {
    decode_parts(vec![Part::Block(body)], "")
}

/// Fills a `T` from what one key was given. `section` is its path, which errors and unknown keys name.
pub(crate) fn decode_parts<T: DeserializeOwned>(parts: Vec<Part<'_>>, section: &str) -> Result<Decoded<T>, Error> {
    let unknown = RefCell::default();
    let value = Node { path: section.to_owned(), parts, unknown: &unknown }.fill(PhantomData)?;
    Ok(Decoded { value, unknown: unknown.into_inner() })
}

/// A filled struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<T> {
    /// The struct.
    pub value: T,
    /// Keys without a field, by section, a section before what is in it. It is for the caller to refuse or ignore
    /// them: the reference refuses unknown keys in some sections only.
    pub unknown: Vec<UnknownKeys>,
}

/// The keys of one section that have no field.
///
/// Not reported, as the reference does not: keys in quotes (unless the text is JSON), and keys with a label that do
/// not come first in their block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKeys {
    /// Names of fields from the outside in, joined by dots; empty for the whole text. A label is a name too, and an
    /// element of a list has its index: `server.ca_subject`, `telemetry.Statsd[1]`.
    pub section: String,
    /// Sorted by name, then line.
    pub keys: Vec<UnknownKey>,
}

/// A key that has no field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownKey {
    /// As it was written, without quotes.
    pub name: String,
    /// The line it stands on.
    pub line: u32,
}

/// What the blocks `key "label" { ... }` of one key hold: pairs of label and value, in the order of the text. Blocks
/// with the same label are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled<T>(pub Vec<(String, T)>);

impl<T> Default for Labelled<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Labelled<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Labelled<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labelled blocks")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Labelled(pairs))
            }
        }

        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

#[cfg(test)]
mod tests;
