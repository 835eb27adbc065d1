//! Tokens of both forms, and what string tokens stand for.

use std::fmt;

use super::Pos;

/// A token and the text that it was made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) pos: Pos,
    pub(super) text: &'a str,
}

impl Token<'_> {
    /// Stands in until the first token is read.
    pub(super) const END: Self = Self { kind: TokenKind::End, pos: Pos::START, text: "" };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Illegal,
    End,
    Ident,
    Number,
    Float,
    Bool,
    String,
    Heredoc,
    Null,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Comma,
    Period,
    Assign,
    Colon,
    Add,
    Sub,
}

/// The names that error texts use.
impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Illegal => "ILLEGAL",
            Self::End => "EOF",
            Self::Ident => "IDENT",
            Self::Number => "NUMBER",
            Self::Float => "FLOAT",
            Self::Bool => "BOOL",
            Self::String => "STRING",
            Self::Heredoc => "HEREDOC",
            Self::Null => "NULL",
            Self::LeftBracket => "LBRACK",
            Self::RightBracket => "RBRACK",
            Self::LeftBrace => "LBRACE",
            Self::RightBrace => "RBRACE",
            Self::Comma => "COMMA",
            Self::Period => "PERIOD",
            Self::Assign => "ASSIGN",
            Self::Colon => "COLON",
            Self::Add => "ADD",
            Self::Sub => "SUB",
        })
    }
}

/// What the text of a quoted string stands for; `None` if an escape names no character. `${...}` is copied as it is
/// if `interpolated`, which JSON text never is.
pub(super) fn unquote(quoted: &str, interpolated: bool) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        if interpolated && rest.starts_with("${") {
            let (copied, behind) = rest.split_at(interpolation_length(rest)?);
            text.extend_from_slice(copied.as_bytes());
            rest = behind;
        } else if c == '\\' {
            rest = unescape(&rest[1..], &mut text)?;
        } else {
            text.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
            rest = &rest[c.len_utf8()..];
        }
    }
    // `\xff` and `\377` are bytes; a text of this crate is UTF-8.
    String::from_utf8(text).ok()
}

/// How long the `${...}` is that `text` starts with, inner braces included; `None` if it does not end.
pub(super) fn interpolation_length(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 1 => return Some(at + 1),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// Appends what the escape `rest` (behind its backslash) stands for, and returns the text behind it.
fn unescape<'a>(rest: &'a str, text: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let behind = &rest[kind.len_utf8()..];
    let byte = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0C,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0B,
        '\\' | '"' | '/' => u8::try_from(kind).ok()?,
        '0'..='7' => {
            text.push(u8::try_from(digits(rest, 8, 3)?).ok()?);
            return rest.get(3..);
        }
        'x' => {
            text.push(u8::try_from(digits(behind, 16, 2)?).ok()?);
            return behind.get(2..);
        }
        'u' | 'U' => {
            let length = if kind == 'u' { 4 } else { 8 };
            let code = digits(behind, 16, length)?;
            let behind = behind.get(length..)?;
            let (c, behind) = match char::from_u32(code) {
                Some(c) => (c, behind),
                None => surrogate_pair(code, behind)?,
            };
            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(behind);
        }
        _ => return None,
    };
    text.push(byte);
    Some(behind)
}

/// JSON writes characters beyond U+FFFF as two escapes. The reference crashes on them.
fn surrogate_pair(high: u32, behind: &str) -> Option<(char, &str)> {
    let behind = behind.strip_prefix("\\u")?;
    let low = digits(behind, 16, 4)?;
    let high = u16::try_from(high).ok()?;
    let low = u16::try_from(low).ok()?;
    let c = char::decode_utf16([high, low]).next()?.ok()?;
    Some((c, behind.get(4..)?))
}

fn digits(text: &str, radix: u32, length: usize) -> Option<u32> {
    u32::from_str_radix(text.get(..length)?, radix).ok()
}

/// The lines of a heredoc; `None` if `text` is not a whole one.
pub(super) fn heredoc_lines(text: &str) -> Option<String> {
    let (anchor, rest) = text.strip_prefix("<<")?.split_once('\n')?;
    let rest = rest.strip_suffix('\n')?.trim_end_matches('\r');
    match anchor.strip_prefix('-') {
        // Whatever stands before the closing anchor belongs to the value (an oddity of the reference).
        None => Some(rest.strip_suffix(anchor)?.to_owned()),
        Some(anchor) => Some(unindent(rest.strip_suffix(anchor)?)),
    }
}

/// Takes the indentation of the closing anchor, which is the last line of `text`, off every line; if one line has
/// less, only that of the anchor itself.
fn unindent(text: &str) -> String {
    let indent = text.rsplit('\n').next().unwrap_or_default();
    let lines: Option<Vec<_>> = text.split('\n').map(|line| line.strip_prefix(indent)).collect();
    match lines {
        Some(lines) => lines.join("\n"),
        None => text.trim_end_matches([' ', '\t']).to_owned(),
    }
}
