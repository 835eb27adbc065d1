//! Protobuf messages as JSON in the reference's mapping: what a command line's own mapping of its messages is made of.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// A message. Members whose value is null are left out.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// A repeated field.
pub fn list<T>(items: &[T], json: impl Fn(&T) -> Value) -> Value {
    items.iter().map(json).collect()
}

/// A field that is a message.
pub fn message<T>(message: &Option<T>, json: impl Fn(&T) -> Value) -> Value {
    message.as_ref().map_or(Value::Null, json)
}

/// A field that is text.
pub fn text(text: &str) -> Value {
    text.into()
}

/// A field of 64 bits: as text, which every reader keeps exact.
pub fn long(number: i64) -> Value {
    number.to_string().into()
}

/// A field of bytes: as base64.
pub fn bytes(bytes: &[u8]) -> Value {
    BASE64_STANDARD.encode(bytes).into()
}
