//! The JSON form. It reads more than JSON, and less, as the reference does: commas may be missing at an end, braces
//! may stay open, what stands behind the outer object is not looked at, `true` and `false` vanish from lists, and
//! lists within lists are not understood.

use super::cursor::Cursor;
use super::token::{Token, TokenKind, unquote};
use super::{Body, Item, Key, KeyStyle, List, Literal, MAX_DEPTH, Scalar, Value};
use crate::Error;

/// Reads a text whose first character that is not a space is `{`.
pub(super) fn parse(text: &str) -> Result<Body, Error> {
    let mut parser = Parser { cursor: Cursor::new(text), token: Token::END, depth: 0 };
    parser.next();
    let object = parser.object();
    // A fault of the scanner is the cause of whatever the parser says.
    if let Some(fault) = parser.cursor.fault() {
        let reason = match fault.found {
            Some(found) => format!("{}: {found}", fault.reason),
            None => fault.reason.into(),
        };
        return Err(Error::JsonToken { pos: fault.pos, reason });
    }
    let mut body = object.map_err(|Wrong(reason)| Error::Json { pos: parser.token.pos, reason })?;
    label(&mut body);
    Ok(body)
}

/// Whether the text ended while the outermost object was being read: between two tokens, in a string, or in a word.
pub(super) fn is_cut_short(text: &str) -> bool {
    let mut parser = Parser { cursor: Cursor::new(text), token: Token::END, depth: 0 };
    parser.next();
    // What is wrong with the object is told by [`parse`].
    let _ = parser.object();
    let is_read = text[parser.cursor.offset()..].trim().is_empty();
    let Token { kind, pos: _, text: last } = parser.token;
    let in_string = parser.cursor.fault().is_some_and(|fault| fault.reason == UNTERMINATED);
    let in_word = kind == TokenKind::Illegal && last.starts_with(char::is_alphabetic);
    kind == TokenKind::End || is_read && (in_string || in_word)
}

/// A string without its closing quote.
const UNTERMINATED: &str = "literal not terminated";

struct Parser<'a> {
    cursor: Cursor<'a>,
    /// The token that was read last.
    token: Token<'a>,
    depth: usize,
}

/// Why an item was not read.
enum Halt {
    /// The text ended where a key or a value could begin.
    EndOfText,
    Wrong(Wrong),
}

/// What is wrong with the last token.
struct Wrong(String);

impl From<Wrong> for Halt {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl<'a> Parser<'a> {
    /// Reads an object behind its opening brace. Whatever does not go on with a comma ends it, and so does a closing
    /// brace at any place.
    fn object(&mut self) -> Result<Body, Wrong> {
        let pos = self.token.pos;
        self.enter()?;
        let mut items = Vec::new();
        loop {
            match self.item() {
                Ok(item) => items.push(item),
                Err(Halt::EndOfText) => break,
                Err(Halt::Wrong(_)) if self.token.kind == TokenKind::RightBrace => break,
                Err(Halt::Wrong(wrong)) => return Err(wrong),
            }
            if self.next().kind != TokenKind::Comma {
                break;
            }
        }
        self.depth -= 1;
        Ok(Body { pos, items })
    }

    /// The reference takes several strings before the colon for a key and its labels. Here they are an error, but all
    /// are read, because a fault behind the first is the one to report.
    fn item(&mut self) -> Result<Item, Halt> {
        let mut keys = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::String => keys.push(token),
                TokenKind::Colon if !keys.is_empty() => break,
                TokenKind::End => return Err(Halt::EndOfText),
                TokenKind::Illegal => return Err(Wrong("illegal".into()).into()),
                kind => return Err(Wrong(format!("expected: STRING got: {kind}")).into()),
            }
        }
        let [key] = keys.as_slice() else { return Err(Wrong("expected: COLON got: STRING".into()).into()) };
        let key = Key { pos: key.pos, style: KeyStyle::Json, text: self.text(*key)? };
        Ok(Item { keys: vec![key], value: self.value()? })
    }

    fn value(&mut self) -> Result<Value, Halt> {
        let token = self.next();
        let scalar = match token.kind {
            TokenKind::LeftBrace => return Ok(Value::Object(self.object()?)),
            TokenKind::LeftBracket => return Ok(Value::List(self.list()?)),
            TokenKind::End => return Err(Halt::EndOfText),
            TokenKind::Bool => Scalar::Bool(token.text == "true"),
            TokenKind::Number => Scalar::Number(token.text.into()),
            TokenKind::Float => Scalar::Float(token.text.into()),
            TokenKind::String => Scalar::String(self.text(token)?),
            TokenKind::Null => Scalar::Null,
            _ => {
                let Token { kind, pos, text } = token;
                return Err(Wrong(format!("Expected object value, got unknown token: {pos} {kind} {text}")).into());
            }
        };
        Ok(Value::Literal(Literal { pos: token.pos, scalar }))
    }

    /// Reads a list behind its opening bracket. The bracket of a list within is skipped, so that the end of that one
    /// is the end of all.
    fn list(&mut self) -> Result<List, Wrong> {
        let pos = self.token.pos;
        let mut values = Vec::new();
        loop {
            let token = self.next();
            let scalar = match token.kind {
                TokenKind::RightBracket => return Ok(List { pos, values }),
                TokenKind::Comma | TokenKind::Bool | TokenKind::LeftBracket => continue,
                TokenKind::LeftBrace => {
                    values.push(Value::Object(self.object()?));
                    continue;
                }
                TokenKind::Number => Scalar::Number(token.text.into()),
                TokenKind::Float => Scalar::Float(token.text.into()),
                TokenKind::String => Scalar::String(self.text(token)?),
                kind => return Err(Wrong(format!("unexpected token while parsing list: {kind}"))),
            };
            values.push(Value::Literal(Literal { pos: token.pos, scalar }));
        }
    }

    fn enter(&mut self) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Wrong(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }

    fn text(&self, token: Token<'a>) -> Result<String, Wrong> {
        match unquote(token.text, false) {
            Some(text) => Ok(text),
            // Half a string: read on for the last fault, which is the one to report.
            None if self.cursor.fault().is_some() => Ok(String::new()),
            None => Err(Wrong(format!("invalid escape in {}", token.text))),
        }
    }

    fn next(&mut self) -> Token<'a> {
        self.token = scan(&mut self.cursor);
        self.token
    }
}

fn scan<'a>(cursor: &mut Cursor<'a>) -> Token<'a> {
    let mut first = cursor.bump();
    while first.is_some_and(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
        first = cursor.bump();
    }
    let pos = cursor.pos();
    let start = cursor.offset() - first.map_or(0, char::len_utf8);
    let kind = match first {
        None => TokenKind::End,
        Some(c) if c == '_' || c.is_alphabetic() => word(cursor, start),
        Some(c @ '0'..='9') => number(cursor, c),
        Some('-') => match cursor.peek() {
            Some(c @ '0'..='9') => {
                cursor.bump();
                number(cursor, c)
            }
            _ => {
                cursor.fail("illegal char");
                TokenKind::Illegal
            }
        },
        Some('.') => {
            if cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
                cursor.bump_while(|c| c.is_ascii_digit());
                cursor.bump_fraction();
                TokenKind::Float
            } else {
                TokenKind::Period
            }
        }
        Some('"') => {
            string(cursor);
            TokenKind::String
        }
        Some('[') => TokenKind::LeftBracket,
        Some(']') => TokenKind::RightBracket,
        Some('{') => TokenKind::LeftBrace,
        Some('}') => TokenKind::RightBrace,
        Some(',') => TokenKind::Comma,
        Some(':') => TokenKind::Colon,
        Some(c) => {
            cursor.fail_at("illegal char", c);
            TokenKind::Illegal
        }
    };
    Token { kind, pos, text: cursor.text_from(start) }
}

fn word(cursor: &mut Cursor<'_>, start: usize) -> TokenKind {
    cursor.bump_while(|c| c == '_' || c == '-' || c.is_alphanumeric());
    match cursor.text_from(start) {
        "true" | "false" => TokenKind::Bool,
        "null" => TokenKind::Null,
        _ => {
            cursor.fail("illegal char");
            TokenKind::Illegal
        }
    }
}

/// A number behind its first digit.
fn number(cursor: &mut Cursor<'_>, first: char) -> TokenKind {
    let more = cursor.bump_while(|c| c.is_ascii_digit());
    if cursor.bump_fraction() {
        return TokenKind::Float;
    }
    if first == '0' && more {
        cursor.fail("numbers cannot start with zero");
    }
    cursor.bump_end();
    TokenKind::Number
}

/// A string behind its opening quote.
fn string(cursor: &mut Cursor<'_>) {
    loop {
        match cursor.bump() {
            None | Some('\n') => return cursor.fail(UNTERMINATED),
            Some('"') => return,
            Some('\\') => cursor.bump_escape(&['/']),
            Some(_) => {}
        }
    }
}

/// JSON has no labels. So that `{"a": {"b": {...}}}` and `{"a": [{"b": {...}}]}` can mean `a "b" {...}`, every object
/// that holds objects alone is taken apart into items with one key more, and every list of objects into one item an
/// object. The depth of the text bounds the recursion.
fn label(body: &mut Body) {
    let mut items = Vec::with_capacity(body.items.len());
    for item in std::mem::take(&mut body.items) {
        take_apart(item, &mut items);
    }
    for item in &mut items {
        label_within(&mut item.value);
    }
    body.items = items;
}

fn label_within(value: &mut Value) {
    match value {
        Value::Literal(_) => {}
        Value::List(list) => list.values.iter_mut().for_each(label_within),
        Value::Object(body) => label(body),
    }
}

fn take_apart(item: Item, items: &mut Vec<Item>) {
    let Item { keys, value } = item;
    match value {
        Value::Object(body) if !body.is_empty() && body.items.iter().all(|item| is_object(&item.value)) => {
            for inner in body.items {
                let keys = keys.iter().cloned().chain(inner.keys).collect();
                take_apart(Item { keys, value: inner.value }, items);
            }
        }
        Value::List(list) if !list.values.is_empty() && list.values.iter().all(is_object) => {
            for value in list.values {
                take_apart(Item { keys: keys.clone(), value }, items);
            }
        }
        value => items.push(Item { keys, value }),
    }
}

fn is_object(value: &Value) -> bool {
    matches!(value, Value::Object(_))
}
