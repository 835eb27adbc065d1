//! The functions that templates call: Go's own, and those of sprig that the reference lets in. The last argument is the
//! one that a pipeline passes on.

mod cases;
mod encode;
mod lists;
mod logic;
mod maps;
mod patterns;
mod print;
mod text;

use std::ops::RangeInclusive;

use super::Value;

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub name: &'static str,
    /// How many arguments it takes.
    pub takes: RangeInclusive<usize>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Computed from its arguments.
    Function(fn(&[Value]) -> Result<Value, String>),
    /// `or` (true) and `and` (false): ends at the first argument that decides.
    Choice(bool),
}

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    [
        logic::FUNCTIONS,
        print::FUNCTIONS,
        text::FUNCTIONS,
        lists::FUNCTIONS,
        maps::FUNCTIONS,
        encode::FUNCTIONS,
        patterns::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
    .find(|function| function.name == name)
}

/// Functions that the reference has and templates here do not: they change a dictionary that others hold, are made for
/// pages of text, or have a result that depends on the finer points of the library they come from.
pub(super) const UNSUPPORTED: &[&str] = &[
    "abbrevboth",
    "call",
    "camelcase",
    "html",
    "js",
    "kebabcase",
    "merge",
    "mergeOverwrite",
    "mustMerge",
    "mustMergeOverwrite",
    "set",
    "snakecase",
    "unset",
    "urlJoin",
    "urlParse",
    "urlquery",
    "wrap",
    "wrapWith",
];

/// Any number of arguments.
const MANY: usize = usize::MAX;

/// A row of a table of functions.
const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    call: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, takes: RangeInclusive::new(least, most), kind: Kind::Function(call) }
}

fn text_of(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.kind())),
    }
}

fn int_of(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(format!("wrong type for value; expected int; got {}", other.kind())),
    }
}

fn list_of(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::List(list) => Ok(list),
        other => Err(format!("wrong type for value; expected list; got {}", other.kind())),
    }
}

fn texts<'a>(list: impl IntoIterator<Item = &'a str>) -> Value {
    Value::List(list.into_iter().map(Value::from).collect())
}

/// How sprig turns anything into text. Bytes that are none make no ID.
fn as_text(value: &Value) -> Result<String, String> {
    match value {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).map_err(|error| error.to_string()),
        other => Ok(other.to_string()),
    }
}

/// A list's members as texts; anything else is one text. Nil is left out.
fn as_texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(list) => list.iter().filter(|value| **value != Value::Nil).map(as_text).collect(),
        Value::Bytes(bytes) => Ok(bytes.iter().map(u8::to_string).collect()),
        Value::Nil => Ok(Vec::new()),
        other => Ok(vec![as_text(other)?]),
    }
}

/// An index or length out of a template.
fn size(number: i64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| format!("number {number} must not be negative"))
}
