//! Writes HCL text.

use std::fmt::{self, Write as _};

use super::token::interpolation_length;
use super::{Body, Item, Key, KeyStyle, List, Literal, Scalar, Value};

/// HCL text that reads back to the same values: one item a line, objects as blocks, heredocs as quoted strings.
/// What is `null` is left out.
impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_items(f, self, 0)
    }
}

/// As it stands on the right of a key.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_value(f, self, 0)
    }
}

fn print_items(f: &mut fmt::Formatter<'_>, body: &Body, depth: usize) -> fmt::Result {
    let Body { pos: _, items } = body;
    for Item { keys, value } in items.iter().filter(is_printed) {
        indent(f, depth)?;
        for key in keys {
            print_key(f, key)?;
            f.write_char(' ')?;
        }
        if !matches!(value, Value::Object(_)) {
            f.write_str("= ")?;
        }
        print_value(f, value, depth)?;
        f.write_char('\n')?;
    }
    Ok(())
}

fn is_printed(item: &&Item) -> bool {
    !item.value.is_null()
}

fn print_value(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    match value {
        Value::Literal(Literal { pos: _, scalar }) => print_scalar(f, scalar),
        Value::List(List { pos: _, values }) => {
            f.write_char('[')?;
            for (at, value) in values.iter().enumerate() {
                f.write_str(if at == 0 { "" } else { ", " })?;
                print_value(f, value, depth)?;
            }
            f.write_char(']')
        }
        Value::Object(body) if !body.items.iter().any(|item| is_printed(&item)) => f.write_str("{}"),
        Value::Object(body) => {
            f.write_str("{\n")?;
            print_items(f, body, depth + 1)?;
            indent(f, depth)?;
            f.write_char('}')
        }
    }
}

fn print_scalar(f: &mut fmt::Formatter<'_>, scalar: &Scalar) -> fmt::Result {
    match scalar {
        Scalar::Bool(value) => write!(f, "{value}"),
        Scalar::Number(text) | Scalar::Float(text) => f.write_str(text),
        Scalar::String(text) | Scalar::Heredoc(text) => print_quoted(f, text),
        Scalar::Null => f.write_str("\"\""),
    }
}

/// Keys of JSON text become quoted ones, so that a reader which looks for unknown keys treats them as the reference's
/// own printer makes it do.
fn print_key(f: &mut fmt::Formatter<'_>, key: &Key) -> fmt::Result {
    let Key { pos: _, style, text } = key;
    match style {
        KeyStyle::Bare => f.write_str(text),
        KeyStyle::Quoted | KeyStyle::Json => print_quoted(f, text),
    }
}

/// Nothing inside of `${...}` is unescaped by a reader. It is written as it is if it can be, and else its dollar is
/// escaped, so that no reader sees it.
fn print_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '$' if rest.starts_with("${") => match interpolation_length(rest) {
                Some(end) if rest[..end].chars().all(is_plain) => {
                    f.write_str(&rest[..end])?;
                    length = end;
                }
                _ => f.write_str("\\u0024")?,
            },
            c if is_plain(c) => f.write_char(c)?,
            c => write!(f, "\\u{:04x}", u32::from(c))?,
        }
        rest = &rest[length..];
    }
    f.write_char('"')
}

/// Whether every reader takes the character as it is. Go's stumble over the last two.
fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '"' | '\\' | '\u{FFFD}' | '\u{E123}')
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("  "))
}
