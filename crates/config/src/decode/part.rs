//! What a key was given, before it is known what the key's field makes of it.

use crate::Error;
use crate::hcl::{Body, Item, Key, List, Literal, Pos, Value};

/// One of the values that a key was given.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    Literal(&'a Literal),
    List(&'a List),
    Block(&'a Body),
    /// What stands behind a label: the rest of the keys (not empty) and the value. It is a block with one item.
    Labelled(&'a [Key], &'a Value),
}

impl<'a> Part<'a> {
    /// `None` for `null`.
    pub(crate) fn new(labels: &'a [Key], value: &'a Value) -> Option<Self> {
        match value {
            value if value.is_null() => None,
            value if !labels.is_empty() => Some(Self::Labelled(labels, value)),
            Value::Literal(literal) => Some(Self::Literal(literal)),
            Value::List(list) => Some(Self::List(list)),
            Value::Object(body) => Some(Self::Block(body)),
        }
    }

    pub(crate) fn pos(&self) -> Pos {
        match self {
            Self::Literal(literal) => literal.pos,
            Self::List(list) => list.pos,
            Self::Block(body) => body.pos,
            Self::Labelled(_, value) => value.pos(),
        }
    }

    /// The type names of the reference's error texts.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Literal(_) => "*ast.LiteralType",
            Self::List(_) => "*ast.ListType",
            Self::Block(_) => "*ast.ObjectType",
            Self::Labelled(..) => "*ast.ObjectList",
        }
    }
}

/// An item of a block, without the keys that led to it.
pub(crate) struct Member<'a> {
    /// Never empty.
    pub(crate) keys: &'a [Key],
    pub(crate) value: &'a Value,
    /// Whether it comes first.
    pub(crate) first: bool,
}

impl<'a> Member<'a> {
    pub(crate) fn part(&self) -> Option<Part<'a>> {
        Part::new(&self.keys[1..], self.value)
    }

    pub(crate) fn name(&self) -> &'a Key {
        &self.keys[0]
    }
}

/// The items of all blocks that a key was given. `path` and `target` are for the error: where it is, and what the
/// items are for.
pub(crate) fn members<'a>(parts: &[Part<'a>], path: &str, target: &str) -> Result<Vec<Member<'a>>, Error> {
    let mut members = Vec::new();
    let mut labels = 0;
    for part in parts {
        match *part {
            Part::Block(body) => extend(&mut members, body),
            Part::Labelled(keys, value) => {
                members.push(Member { keys, value, first: labels == 0 });
                labels += 1;
            }
            Part::List(List { pos: _, values }) if values.iter().all(|v| matches!(v, Value::Object(_))) => {
                for value in values {
                    if let Value::Object(body) = value {
                        extend(&mut members, body);
                    }
                }
            }
            Part::List(_) | Part::Literal(_) => {
                let reason = format!("not an object type for {target} ({})", part.kind());
                return Err(mismatch(part.pos(), path, reason, Some("a block: { ... }")));
            }
        }
    }
    Ok(members)
}

fn extend<'a>(members: &mut Vec<Member<'a>>, body: &'a Body) {
    let items = body.items.iter().enumerate();
    members.extend(items.map(|(at, Item { keys, value })| Member { keys, value, first: at == 0 }));
}

pub(crate) fn mismatch(pos: Pos, path: &str, reason: String, expected: Option<&'static str>) -> Error {
    Error::Mismatch { pos, key: root(path), reason, expected }
}

/// The reference's name for a path.
pub(crate) fn root(path: &str) -> String {
    if path.is_empty() { "root".into() } else { format!("root.{path}") }
}
