//! HCL text: from characters to tokens.

use crate::hcl::cursor::Cursor;
use crate::hcl::token::{Token, TokenKind};

/// Reads a token; comments are skipped.
pub(super) fn scan<'a>(cursor: &mut Cursor<'a>) -> Token<'a> {
    loop {
        let mut first = cursor.bump();
        while first.is_some_and(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
            first = cursor.bump();
        }
        let pos = cursor.pos();
        let start = cursor.offset() - first.map_or(0, char::len_utf8);
        let kind = match first {
            None => TokenKind::End,
            Some('#') => {
                line_comment(cursor);
                continue;
            }
            Some('/') => {
                comment(cursor);
                continue;
            }
            Some(c) if is_letter(c) => {
                cursor.bump_while(|c| is_letter(c) || is_digit(c) || c == '-' || c == '.');
                match cursor.text_from(start) {
                    "true" | "false" => TokenKind::Bool,
                    _ => TokenKind::Ident,
                }
            }
            Some(c @ '0'..='9') => number(cursor, c),
            Some('-') => match cursor.peek() {
                Some(c @ '0'..='9') => {
                    cursor.bump();
                    number(cursor, c)
                }
                _ => TokenKind::Sub,
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
            Some('<') => {
                heredoc(cursor);
                TokenKind::Heredoc
            }
            Some('[') => TokenKind::LeftBracket,
            Some(']') => TokenKind::RightBracket,
            Some('{') => TokenKind::LeftBrace,
            Some('}') => TokenKind::RightBrace,
            Some(',') => TokenKind::Comma,
            Some('=') => TokenKind::Assign,
            Some('+') => TokenKind::Add,
            Some(_) => {
                cursor.fail("illegal char");
                TokenKind::Illegal
            }
        };
        return Token { kind, pos, text: cursor.text_from(start) };
    }
}

fn line_comment(cursor: &mut Cursor<'_>) {
    cursor.bump_while(|c| c != '\n');
}

/// A comment behind its first slash.
fn comment(cursor: &mut Cursor<'_>) {
    if cursor.bump_if('/') {
        return line_comment(cursor);
    }
    if !cursor.bump_if('*') {
        return cursor.fail("expected '/' for comment");
    }
    let mut star = false;
    loop {
        match cursor.bump() {
            None => return cursor.fail("comment not terminated"),
            Some('/') if star => return,
            Some(c) => star = c == '*',
        }
    }
}

/// A number behind its first digit.
fn number(cursor: &mut Cursor<'_>, first: char) -> TokenKind {
    if first == '0' && (cursor.bump_if('x') || cursor.bump_if('X')) {
        if !cursor.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
            cursor.fail_ahead("illegal hexadecimal number");
        }
        cursor.bump_while(|c| c.is_ascii_hexdigit());
        return TokenKind::Number;
    }
    let start = cursor.offset();
    cursor.bump_while(|c| c.is_ascii_digit());
    let digits = cursor.text_from(start);
    if cursor.bump_fraction() {
        return TokenKind::Float;
    }
    // The first digit behind the zero is not looked at (an oddity of the reference): `08` fails only when it is read
    // as a number.
    if first == '0' && digits.chars().skip(1).any(|c| matches!(c, '8' | '9')) {
        cursor.fail_ahead("illegal octal number");
    }
    cursor.bump_end();
    TokenKind::Number
}

/// A string behind its opening quote. Quotes and newlines inside of `${...}` belong to it.
fn string(cursor: &mut Cursor<'_>) {
    let mut braces = 0_usize;
    loop {
        match cursor.bump() {
            None => return cursor.fail("literal not terminated"),
            Some('\n') if braces == 0 => return cursor.fail("literal not terminated"),
            Some('"') if braces == 0 => return,
            Some('$') if braces == 0 => braces += usize::from(cursor.bump_if('{')),
            Some('{') if braces > 0 => braces += 1,
            Some('}') if braces > 0 => braces -= 1,
            Some('\\') => cursor.bump_escape(&[]),
            Some(_) => {}
        }
    }
}

/// A heredoc behind its first `<`. The closing anchor stands alone on its line, and that line must end.
fn heredoc(cursor: &mut Cursor<'_>) {
    if !cursor.bump_if('<') {
        cursor.bump();
        return cursor.fail("heredoc expected second '<', didn't see it");
    }
    cursor.bump_if('-');
    let start = cursor.offset();
    while cursor.peek().is_some_and(|c| is_letter(c) || is_digit(c)) {
        cursor.bump();
    }
    let anchor = cursor.text_from(start);
    match cursor.bump() {
        None => return cursor.fail("heredoc not terminated"),
        Some('\n') if anchor.is_empty() => return cursor.fail("zero-length heredoc anchor"),
        Some('\n') => {}
        Some(_) => return cursor.fail("invalid characters in heredoc anchor"),
    }
    let mut line = cursor.offset();
    loop {
        match cursor.bump() {
            None => return cursor.fail("heredoc not terminated"),
            Some('\n') => {
                let text = cursor.text_from(line);
                if text.trim_end_matches(['\r', '\n']).trim_start_matches(is_blank) == anchor {
                    return;
                }
                line = cursor.offset();
            }
            Some(_) => {}
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{0B}' | '\u{0C}' | '\r')
}

/// Unicode letters. (The standard library's set is a little wider than the reference's: it has combining vowel signs
/// and letter numbers.)
fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_digit(c: char) -> bool {
    c.is_numeric()
}
