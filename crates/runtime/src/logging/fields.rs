//! Fields of a line whose names the program does not know when it is written, such as those of an audit record.

use std::borrow::Cow;
use std::cell::RefCell;

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A number that has a name: the name in text, the number in JSON.
    Named(i32, &'static str),
}

/// A field and its name.
pub type Field = (Cow<'static, str>, Value);

thread_local! {
    static MORE: RefCell<Vec<Field>> = const { RefCell::new(Vec::new()) };
}

/// Gives the lines that `log` writes these fields besides their own. `log` must write them itself, on this thread.
pub fn with_fields(fields: Vec<Field>, log: impl FnOnce()) {
    let before = MORE.replace(fields);
    log();
    MORE.set(before);
}

/// What the line that is being written has by [`with_fields`]: for subscribers.
pub fn more_fields() -> Vec<Field> {
    MORE.with_borrow(Clone::clone)
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Named(_, name) => f.write_str(name),
        }
    }
}

impl Value {
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => i64::try_from(*number).map_or_else(|_| number.to_string().into(), Into::into),
            Self::Float(number) => (*number).into(),
            Self::Bool(value) => (*value).into(),
            Self::Named(number, _) => (*number).into(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! from_integer {
    ($($kind:ty)*) => {$(
        impl From<$kind> for Value {
            fn from(number: $kind) -> Self {
                Self::Integer(number.into())
            }
        }
    )*};
}

from_integer! { i32 u32 i64 u64 }
