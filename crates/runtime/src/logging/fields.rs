//! Fields of a line whose names the program does not know when it is written, such as those of an audit record.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::SystemTime;

use crate::clock::rfc3339;

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
    /// A moment, in UTC: as Go prints it in text, as RFC 3339 in JSON.
    Time(SystemTime),
    /// Texts: in brackets in text, an array in JSON; of none, null.
    List(Vec<String>),
    /// What is another thing in JSON than in text.
    Twofold {
        /// The text.
        text: String,
        /// The value in JSON.
        json: serde_json::Value,
    },
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
            Self::Time(at) => f.write_str(&rfc3339(*at).replace('T', " ").replace('Z', " +0000 UTC")),
            Self::List(texts) => write!(f, "[{}]", texts.join(" ")),
            Self::Twofold { text, json: _ } => f.write_str(text),
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
            Self::Time(at) => rfc3339(*at).into(),
            Self::List(texts) if texts.is_empty() => serde_json::Value::Null,
            Self::List(texts) => texts.as_slice().into(),
            Self::Twofold { text: _, json } => json.clone(),
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

impl From<SystemTime> for Value {
    fn from(at: SystemTime) -> Self {
        Self::Time(at)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::List(texts)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_value_is_written_as_go_writes_it_in_text_and_in_json() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_795_538_896, 429_000_000);
        let list = |texts: &[&str]| Value::List(texts.iter().map(ToString::to_string).collect());
        let twofold = Value::Twofold { text: "1m0s".to_owned(), json: 60_000_000_000_u64.into() };
        for (value, text, json) in [
            (Value::Time(at), "2026-11-24 16:48:16.429 +0000 UTC", r#""2026-11-24T16:48:16.429Z""#),
            (list(&[]), "[]", "null"),
            (list(&["a", "b"]), "[a b]", r#"["a","b"]"#),
            (Value::Named(14, "Unavailable"), "Unavailable", "14"),
            (twofold, "1m0s", "60000000000"),
        ] {
            assert_eq!((value.to_string().as_str(), value.to_json().to_string().as_str()), (text, json));
        }
    }
}
