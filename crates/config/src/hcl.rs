//! HCL 1, the language of the configuration files, and its JSON form.
//!
//! [`parse`] reads either form into a [`Body`]; a text whose first character that is not a space is `{` is JSON.
//! Printing a [`Body`] gives HCL text that reads back to the same values; that is how an external plugin receives its
//! data. Neither direction loses the order of items.
//!
//! The grammar has no written standard: what is accepted, and each error text, follows HashiCorp's Go reader, which
//! the reference uses. `tests/data/hcl.jsonl` holds what that reader answered.

use std::fmt;

use crate::Error;

mod cursor;
mod json;
mod native;
mod print;
mod token;

/// Objects and lists may nest this deep. Real configurations stay below ten.
pub const MAX_DEPTH: usize = 100;

/// Longest text in bytes that is read.
pub const MAX_LENGTH: usize = 16 << 20;

/// Reads HCL or JSON text.
///
/// # Errors
///
/// [`Error::Hcl`], [`Error::JsonToken`] or [`Error::Json`], depending on the form of the text.
pub fn parse(text: impl AsRef<[u8]>) -> Result<Body, Error> {
    let bytes = text.as_ref();
    if bytes.len() > MAX_LENGTH {
        return Err(Error::Hcl { pos: Pos::START, reason: format!("text is longer than {MAX_LENGTH} bytes") });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Error::Hcl {
        pos: Pos::behind(&bytes[..error.valid_up_to()]),
        reason: "illegal UTF-8 encoding".into(),
    })?;
    if text.trim_start().starts_with('{') {
        json::parse(text)
    } else {
        // The reader counts and prints lines that end in "\n" alone.
        native::parse(&text.replace("\r\n", "\n"))
    }
}

/// Whether a text is JSON that ends before its outermost object does. [`parse`] may take it all the same, as the reference
/// does, so that what is told of it is what is missing then.
pub fn is_cut_short(text: &str) -> bool {
    text.len() <= MAX_LENGTH && text.trim_start().starts_with('{') && json::is_cut_short(text)
}

/// What stands between braces, or the whole text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// Where the opening brace stands; the start of the text for the whole.
    pub pos: Pos,
    /// In the order of the text. A key may come more than once.
    pub items: Vec<Item>,
}

/// `key = value`, `key { ... }` or `key "label" { ... }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key and its labels; never empty. Only an object can have labels. JSON has none, so an object that holds
    /// objects alone is read as a labelled one: `{"a": {"b": {}}}` is `a "b" {}`.
    pub keys: Vec<Key>,
    /// What the keys name.
    pub value: Value,
}

/// A key or a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it starts.
    pub pos: Pos,
    /// How it was written.
    pub style: KeyStyle,
    /// Without quotes and escapes.
    pub text: String,
}

/// How a key was written. It matters for one thing: whether an unknown key is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStyle {
    /// `key` in HCL text.
    Bare,
    /// `"key"` in HCL text.
    Quoted,
    /// `"key"` in JSON text.
    Json,
}

/// What stands on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Literal(Literal),
    /// `[...]`
    List(List),
    /// `{...}`
    Object(Body),
}

/// A single value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// Where it starts.
    pub pos: Pos,
    /// The value.
    pub scalar: Scalar,
}

/// The kinds of single values. Numbers keep their text, because only the receiver knows what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number: decimal, `0x` hexadecimal or `0` octal, with an optional minus.
    Number(String),
    /// A number with a fraction or an exponent.
    Float(String),
    /// A quoted string, without quotes and escapes. `${...}` inside stays as it was written.
    String(String),
    /// `<<X` or `<<-X`: the lines between the anchors.
    Heredoc(String),
    /// JSON's `null`; HCL has none.
    Null,
}

/// `[...]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Where the opening bracket stands.
    pub pos: Pos,
    /// In order.
    pub values: Vec<Value>,
}

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Body {
    /// Whether nothing stands between the braces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Value {
    /// Where the value starts.
    #[must_use]
    pub fn pos(&self) -> Pos {
        match self {
            Self::Literal(literal) => literal.pos,
            Self::List(list) => list.pos,
            Self::Object(body) => body.pos,
        }
    }

    /// Whether this is JSON's `null`, which means the same as leaving the key out.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Literal(Literal { scalar: Scalar::Null, .. }))
    }
}

impl Pos {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The character behind `text`, which is valid UTF-8.
    fn behind(text: &[u8]) -> Self {
        let line = text.iter().filter(|byte| **byte == b'\n').count();
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let column = text[start..].iter().filter(|byte| (**byte & 0xC0) != 0x80).count();
        Self { line: count(line) + 1, column: count(column) + 1 }
    }
}

/// Texts are bounded far below the range of `u32`.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Default for Pos {
    fn default() -> Self {
        Self::START
    }
}

/// `line:column`
impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests;
