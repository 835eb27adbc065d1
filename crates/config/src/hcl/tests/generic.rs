//! The generic maps of the recorded answers: what the reference makes of a text when it knows no types.
//!
//! A key that comes again is read into what it was before, and most of the errors here come from that.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::hcl::{Body, Item, Key, List, Literal, Scalar, Value};

/// The value of a whole text.
pub(super) fn value(body: &Body) -> Result<Json, String> {
    let mut map = BTreeMap::new();
    read_map("root", &parts(body), &mut map)?;
    Ok(json(Generic::Map(map)))
}

/// JSON knows no difference between 1000 and 1000.0.
pub(super) fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

type Map = BTreeMap<String, Generic>;

#[derive(Clone)]
enum Generic {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Map(Map),
    /// What blocks make: maps alone.
    Blocks(Vec<Self>),
    /// What a list makes.
    List(Vec<Self>),
}

fn json(value: Generic) -> Json {
    match value {
        Generic::Bool(value) => value.into(),
        Generic::Int(value) => value.into(),
        Generic::Float(value) => value.into(),
        Generic::String(value) => value.into(),
        Generic::Map(map) => Json::Object(map.into_iter().map(|(key, value)| (key, json(value))).collect()),
        Generic::Blocks(values) | Generic::List(values) => values.into_iter().map(json).collect(),
    }
}

/// An item, or what remains of it behind its first keys.
struct Part<'a> {
    keys: &'a [Key],
    value: &'a Value,
}

fn parts(body: &Body) -> Vec<Part<'_>> {
    body.items.iter().map(|Item { keys, value }| Part { keys, value }).collect()
}

/// What one key is given.
enum Node<'a> {
    /// Items that share their first key, which was taken off.
    Items(Vec<Part<'a>>),
    Value(&'a Value),
}

impl Node<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Items(_) => "*ast.ObjectList",
            Self::Value(Value::Literal(_)) => "*ast.LiteralType",
            Self::Value(Value::List(_)) => "*ast.ListType",
            Self::Value(Value::Object(_)) => "*ast.ObjectType",
        }
    }

    fn error<T>(&self, reason: &str) -> Result<T, String> {
        let place = match self {
            Self::Items(_) => "-".into(),
            Self::Value(value) => value.pos().to_string(),
        };
        Err(format!("At {place}: {reason} {}", self.kind()))
    }
}

fn read_map(name: &str, items: &[Part<'_>], map: &mut Map) -> Result<(), String> {
    let mut done: Vec<&str> = Vec::new();
    for item in items {
        let Some((first, rest)) = item.keys.split_first() else {
            return Err(format!("At -: {name}: map must have string keys"));
        };
        let key = first.text.as_str();
        if done.contains(&key) {
            continue;
        }
        let node = if rest.is_empty() {
            Node::Value(item.value)
        } else {
            done.push(key);
            let same = items.iter().filter(|item| item.keys.first().is_some_and(|first| first.text == key));
            Node::Items(same.map(|item| Part { keys: &item.keys[1..], value: item.value }).collect())
        };
        let value = read(&format!("{name}.{key}"), &node, map.get(key).cloned())?;
        map.insert(key.to_owned(), value);
    }
    Ok(())
}

fn read(name: &str, node: &Node<'_>, old: Option<Generic>) -> Result<Generic, String> {
    let scalar = match node {
        Node::Value(Value::Literal(Literal { scalar, .. })) => Some(scalar),
        _ => None,
    };
    match (old, scalar) {
        (None, Some(scalar)) => read_scalar(scalar),
        (None, None) if matches!(node, Node::Value(Value::List(_))) => read_list(name, node, Vec::new()),
        (None, None) => read_blocks(name, node, Vec::new()),
        (Some(Generic::Blocks(values)), _) => read_blocks(name, node, values),
        (Some(Generic::List(values)), _) => read_list(name, node, values),
        (Some(Generic::String(_)), Some(Scalar::Number(text))) => Ok(Generic::String(text.clone())),
        (Some(Generic::String(_)), Some(scalar @ (Scalar::String(_) | Scalar::Heredoc(_) | Scalar::Null))) => {
            read_scalar(scalar)
        }
        (Some(Generic::String(_)), _) => node.error(&format!("{name}: unknown type for string")),
        (Some(Generic::Bool(_)), Some(scalar @ Scalar::Bool(_))) => read_scalar(scalar),
        (Some(Generic::Float(_)), Some(Scalar::Number(text) | Scalar::Float(text))) => float(text),
        (Some(Generic::Int(_)), Some(Scalar::Number(text) | Scalar::String(text))) => int(text),
        (Some(_), _) => node.error(&format!("{name}: unknown type")),
    }
}

fn read_scalar(scalar: &Scalar) -> Result<Generic, String> {
    match scalar {
        Scalar::Bool(value) => Ok(Generic::Bool(*value)),
        Scalar::Number(text) => int(text),
        Scalar::Float(text) => float(text),
        Scalar::String(text) | Scalar::Heredoc(text) => Ok(Generic::String(text.clone())),
        Scalar::Null => Ok(Generic::String(String::new())),
    }
}

fn read_blocks(name: &str, node: &Node<'_>, mut values: Vec<Generic>) -> Result<Generic, String> {
    let map = |at: usize, items: &[Part<'_>]| {
        let mut map = Map::new();
        read_map(&format!("{name}[{at}]"), items, &mut map)?;
        Ok::<_, String>(Generic::Map(map))
    };
    match node {
        Node::Items(items) => {
            for (at, item) in items.iter().enumerate() {
                values.push(map(at, std::slice::from_ref(item))?);
            }
        }
        Node::Value(Value::Object(body)) => values.push(map(0, &parts(body))?),
        Node::Value(Value::List(List { values: new, .. })) => {
            for (at, value) in new.iter().enumerate() {
                match value {
                    Value::Object(body) => values.push(map(at, &parts(body))?),
                    value => return Node::Value(value).error(&format!("{name}[{at}]: not an object type for map")),
                }
            }
        }
        Node::Value(Value::Literal(_)) => return node.error("unknown slice type:"),
    }
    Ok(Generic::Blocks(values))
}

fn read_list(name: &str, node: &Node<'_>, mut values: Vec<Generic>) -> Result<Generic, String> {
    let new = match node {
        Node::Items(_) => return Err(format!("{name}[0]: cannot decode into interface: *ast.ObjectItem")),
        Node::Value(value @ Value::Object(_)) => std::slice::from_ref(*value),
        Node::Value(Value::List(List { values, .. })) => values,
        Node::Value(Value::Literal(_)) => return node.error("unknown slice type:"),
    };
    for (at, value) in new.iter().enumerate() {
        let name = format!("{name}[{at}]");
        values.push(match value {
            Value::Object(body) => {
                let mut map = Map::new();
                read_map(&name, &parts(body), &mut map)?;
                Generic::Map(map)
            }
            value => read(&name, &Node::Value(value), None)?,
        });
    }
    Ok(Generic::List(values))
}

fn int(text: &str) -> Result<Generic, String> {
    match crate::integer::parse(text) {
        Ok(value) => Ok(Generic::Int(value)),
        Err(error) => Err(format!("strconv.ParseInt: parsing {text:?}: {error}")),
    }
}

fn float(text: &str) -> Result<Generic, String> {
    text.parse().map(Generic::Float).map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}
