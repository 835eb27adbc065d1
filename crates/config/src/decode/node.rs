//! The deserializer.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::part::{Part, members, mismatch, root};
use super::{UnknownKey, UnknownKeys};
use crate::hcl::{Key, KeyStyle, List, Pos, Scalar};
use crate::quote::Quoted;
use crate::{Error, integer};

/// Everything that one key was given: a deserializer.
pub(super) struct Node<'a, 'u> {
    /// Names of fields from the outside in, joined by dots.
    pub(super) path: String,
    /// In the order of the text.
    pub(super) parts: Vec<Part<'a>>,
    /// Collects the keys that no field is there for.
    pub(super) unknown: &'u RefCell<Vec<UnknownKeys>>,
}

impl<'a, 'u> Node<'a, 'u> {
    /// Runs a type's own reading, and gives its complaints a place.
    pub(super) fn fill<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let pos = self.pos();
        let path = self.path.clone();
        seed.deserialize(self).map_err(|failure| match failure {
            Failure::Placed(error) => error,
            Failure::Unplaced(reason) => mismatch(pos, &path, reason, None),
        })
    }

    fn inner(&self, path: String, parts: Vec<Part<'a>>) -> Self {
        Self { path, parts, unknown: self.unknown }
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn pos(&self) -> Pos {
        self.parts.last().map_or(Pos::START, Part::pos)
    }

    /// The last single value. All are read, because a wrong one is an error also where another replaces it. `expected` says
    /// in words what it can be, `wanted` begins the reference's text about a value of another type.
    fn scalar<R>(
        &self,
        expected: &'static str,
        wanted: &str,
        read: impl Fn(&Scalar) -> Option<Result<R, String>>,
    ) -> Result<R, Failure> {
        let mut last = None;
        for part in &self.parts {
            let value = match part {
                Part::Literal(literal) => read(&literal.scalar),
                _ => None,
            };
            let value = value.unwrap_or_else(|| Err(format!("{wanted} {}", part.kind())));
            last = Some(value.map_err(|reason| mismatch(part.pos(), &self.path, reason, Some(expected)))?);
        }
        last.ok_or_else(|| Failure::Unplaced("no value".into()))
    }

    fn integer(&self) -> Result<i64, Failure> {
        self.scalar("a whole number", "unknown type", |scalar| match scalar {
            Scalar::Number(text) | Scalar::String(text) => Some(
                integer::parse(text).map_err(|error| format!("strconv.ParseInt: parsing {}: {error}", Quoted(text))),
            ),
            _ => None,
        })
    }

    fn float(&self) -> Result<f64, Failure> {
        self.scalar("a number", "unknown type", |scalar| match scalar {
            Scalar::Number(text) | Scalar::Float(text) => {
                Some(text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", Quoted(text))))
            }
            _ => None,
        })
    }

    fn text(&self) -> Result<String, Failure> {
        self.scalar("a text in quotes", "unknown type for string", |scalar| match scalar {
            Scalar::String(text) | Scalar::Heredoc(text) | Scalar::Number(text) => Some(Ok(text.clone())),
            _ => None,
        })
    }

    fn elements(&self) -> Result<Vec<Part<'a>>, Failure> {
        let mut elements = Vec::new();
        for part in &self.parts {
            match *part {
                Part::List(List { pos: _, values }) => elements.extend(values.iter().filter_map(|v| Part::new(&[], v))),
                Part::Block(body) if body.is_empty() => {}
                Part::Block(_) | Part::Labelled(..) => elements.push(*part),
                Part::Literal(literal) => {
                    let key = root(&self.path);
                    return Err(Error::NotAList { pos: literal.pos, key, found: part.kind() }.into());
                }
            }
        }
        Ok(elements)
    }

    fn report(&self, mut keys: Vec<UnknownKey>) {
        if !keys.is_empty() {
            keys.sort();
            self.unknown.borrow_mut().push(UnknownKeys { section: self.path.clone(), keys });
        }
    }
}

/// The field that a key fills: the one of its name, or else the one that differs in case only.
fn field(fields: &[&str], key: &str) -> Option<usize> {
    let exact = fields.iter().position(|field| *field == key);
    exact.or_else(|| fields.iter().position(|field| field.eq_ignore_ascii_case(key)))
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.visit_i64(self.integer()?)
        })*
    };
}

impl<'de> Deserializer<'de> for Node<'_, '_> {
    type Error = Failure;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_bool(self.scalar("true or false, without quotes", "unknown type", |scalar| match scalar {
            Scalar::Bool(value) => Some(Ok(*value)),
            _ => None,
        })?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let elements = self.elements()?.into_iter().enumerate();
        let nodes: Vec<_> = elements.map(|(at, part)| self.inner(format!("{}[{at}]", self.path), vec![part])).collect();
        visitor.visit_seq(Elements(nodes.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let mut entries: Vec<(&str, Node<'_, '_>)> = Vec::new();
        for member in members(&self.parts, &self.path, "map")? {
            let Some(part) = member.part() else { continue };
            let label = member.name().text.as_str();
            match entries.iter_mut().find(|(known, _)| *known == label) {
                Some((_, node)) => node.parts.push(part),
                None => entries.push((label, self.inner(self.key_path(label), vec![part]))),
            }
        }
        visitor.visit_map(Entries::new(entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let mut groups: Vec<Vec<Part<'_>>> = vec![Vec::new(); fields.len()];
        let mut unknown = Vec::new();
        for member in members(&self.parts, &self.path, "struct")? {
            let Key { pos, style, text } = member.name();
            match field(fields, text) {
                Some(at) => groups[at].extend(member.part()),
                None if *style != KeyStyle::Quoted && (member.first || member.keys.len() == 1) => {
                    unknown.push(UnknownKey { name: text.clone(), line: pos.line });
                }
                None => {}
            }
        }
        self.report(unknown);
        let given = fields.iter().zip(groups).filter(|(_, parts)| !parts.is_empty());
        let entries = given.map(|(field, parts)| (*field, self.inner(self.key_path(field), parts))).collect();
        visitor.visit_map(Entries::new(entries))
    }

    /// Without a type there is nothing to choose by.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let wanted: &dyn de::Expected = &visitor;
        Err(Failure::Unplaced(format!("no configuration value can be {wanted}")))
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Elements<'a, 'u>(std::vec::IntoIter<Node<'a, 'u>>);

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        Ok(self.0.next().map(|node| node.fill(seed)).transpose()?)
    }
}

/// Keys and what they were given, for structs and maps.
struct Entries<'a, 'u> {
    entries: std::vec::IntoIter<(&'a str, Node<'a, 'u>)>,
    /// The value of the key that was handed out last.
    value: Option<Node<'a, 'u>>,
}

impl<'a, 'u> Entries<'a, 'u> {
    fn new(entries: Vec<(&'a str, Node<'a, 'u>)>) -> Self {
        Self { entries: entries.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Failure;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some(node);
        let key: StrDeserializer<'_, Failure> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        match self.value.take() {
            Some(node) => Ok(node.fill(seed)?),
            None => Err(Failure::Unplaced("a value without a key".into())),
        }
    }
}

/// An error that may still lack its place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Placed(#[from] Error),
    /// Raised by a type, which does not know where it is.
    #[error("{0}")]
    Unplaced(String),
}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::Unplaced(reason.to_string())
    }
}
