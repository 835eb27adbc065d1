//! What templates compute with.

use std::collections::BTreeMap;
use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    /// A dictionary: a key that is not there is an error, as for a structure, but it can be ranged over.
    Map(BTreeMap<String, Value>),
    /// A dictionary of texts: a key that is not there is an empty text to `index`. sprig's functions of dictionaries do not
    /// take it.
    Texts(BTreeMap<String, String>),
    /// A structure with fields, and methods without arguments.
    Struct {
        /// How it is printed.
        text: String,
        fields: BTreeMap<String, Value>,
    },
}

impl Value {
    pub(crate) fn structure<const N: usize>(text: &str, fields: [(&str, Self); N]) -> Self {
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        Self::Struct { text: text.to_owned(), fields: fields.into() }
    }

    /// Whether a condition with it holds.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Texts(map) => !map.is_empty(),
            Self::Struct { .. } => true,
        }
    }

    /// As errors name its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Bytes(_) => "[]byte",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Texts(_) => "map[string]string",
            Self::Struct { .. } => "struct",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// As Go's `%v` prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |f: &mut fmt::Formatter<'_>, items: &mut dyn Iterator<Item = String>| {
            write!(f, "[")?;
            for (n, item) in items.enumerate() {
                write!(f, "{}{item}", if n == 0 { "" } else { " " })?;
            }
            write!(f, "]")
        };
        match self {
            Self::Nil => write!(f, "<nil>"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => f.write_str(&float(*number)),
            Self::Text(text) | Self::Struct { text, .. } => f.write_str(text),
            Self::Bytes(bytes) => listed(f, &mut bytes.iter().map(u8::to_string)),
            Self::List(list) => listed(f, &mut list.iter().map(Self::to_string)),
            Self::Map(map) => {
                f.write_str("map")?;
                listed(f, &mut map.iter().map(|(key, value)| format!("{key}:{value}")))
            }
            Self::Texts(map) => {
                f.write_str("map")?;
                listed(f, &mut map.iter().map(|(key, value)| format!("{key}:{value}")))
            }
        }
    }
}

/// The shortest digits that lead back, with an exponent where it is below -4 or above 5.
fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(-4..=5) => number.to_string(),
        Ok(exponent) => format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
        Err(_) => scientific,
    }
}
