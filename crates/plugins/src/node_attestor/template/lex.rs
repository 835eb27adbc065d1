//! From a template's text to pieces: text, and the tokens of actions.

use steeple_config::integer;

use super::TemplateError;

/// One piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { line: usize, tokens: Vec<Token> },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A function or keyword.
    Name(String),
    /// `$` and a name, which may be empty.
    Variable(String),
    /// `.` and a name, directly behind what it is a field of if `joined`.
    Field {
        name: String,
        joined: bool,
    },
    /// `.` alone.
    Dot,
    Text(String),
    Int(i64),
    Float(f64),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Takes a template apart. `{{-` and `-}}` take the white space of the text beside them away.
pub(super) fn split(mut rest: &str) -> Result<Vec<Piece>, TemplateError> {
    let (mut pieces, mut line, mut trim) = (Vec::new(), 1, false);
    loop {
        let (text, after) = match rest.find("{{") {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        line += text.matches('\n').count();
        let text = if trim { text.trim_start_matches(WHITE) } else { text };
        let Some(after) = after else {
            push(&mut pieces, text);
            return Ok(pieces);
        };
        let trimmed = after.strip_prefix('-').filter(|rest| rest.starts_with(WHITE));
        push(&mut pieces, if trimmed.is_some() { text.trim_end_matches(WHITE) } else { text });
        let (tokens, left, trims) = action(trimmed.unwrap_or(after), line)?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { line, tokens });
        }
        line += after[..after.len() - left.len()].matches('\n').count();
        (rest, trim) = (left, trims);
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The tokens of one action (None for a comment), what stands behind it, and whether it takes white space away there.
fn action(text: &str, line: usize) -> Result<(Option<Vec<Token>>, &str, bool), TemplateError> {
    let malformed = |what: &str| TemplateError::Malformed { line, what: what.to_owned() };
    if let Some(comment) = text.trim_start_matches(WHITE).strip_prefix("/*") {
        let (_, rest) = comment.split_once("*/").ok_or_else(|| malformed("unclosed comment"))?;
        let (rest, trim) = end(rest).ok_or_else(|| malformed("comment ends before closing delimiter"))?;
        return Ok((None, rest, trim));
    }
    let (mut rest, mut tokens, mut joined) = (text, Vec::new(), false);
    loop {
        if let Some((left, trim)) = end(rest) {
            return Ok((Some(tokens), left, trim));
        }
        let first = rest.chars().next().ok_or_else(|| malformed("unclosed action"))?;
        if WHITE.contains(&first) {
            rest = rest.trim_start_matches(WHITE);
            joined = false;
            continue;
        }
        let (token, left) = token(rest, joined).map_err(|what| malformed(&what))?;
        if joined && begins_operand(&token) {
            return Err(malformed("missing space between operands"));
        }
        // A field belongs to what stands directly before it.
        joined = !matches!(token, Token::Pipe | Token::Comma | Token::Open | Token::Declare | Token::Assign);
        tokens.push(token);
        rest = left;
    }
}

fn begins_operand(token: &Token) -> bool {
    use Token as T;
    matches!(token, T::Name(_) | T::Variable(_) | T::Dot | T::Text(_) | T::Int(_) | T::Float(_) | T::Open)
}

/// What stands behind an action's end, if it ends here.
fn end(text: &str) -> Option<(&str, bool)> {
    let trimmed = text.trim_start_matches(WHITE);
    if trimmed.len() < text.len()
        && let Some(rest) = trimmed.strip_prefix("-}}")
    {
        return Some((rest, true));
    }
    text.strip_prefix("}}").map(|rest| (rest, false))
}

fn token(text: &str, joined: bool) -> Result<(Token, &str), String> {
    for (mark, token) in [
        (":=", Token::Declare),
        ("=", Token::Assign),
        ("(", Token::Open),
        (")", Token::Close),
        ("|", Token::Pipe),
        (",", Token::Comma),
    ] {
        if let Some(rest) = text.strip_prefix(mark) {
            return Ok((token, rest));
        }
    }
    let mut chars = text.chars();
    match chars.next() {
        Some('.') if !chars.as_str().starts_with(|next: char| next.is_ascii_digit()) => {
            let (name, rest) = word(chars.as_str());
            Ok((if name.is_empty() { Token::Dot } else { Token::Field { name, joined } }, rest))
        }
        Some('$') => {
            let (name, rest) = word(chars.as_str());
            Ok((Token::Variable(name), rest))
        }
        Some('"') => quoted(chars.as_str()),
        Some('`') => {
            let (raw, rest) = chars.as_str().split_once('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Text(raw.to_owned()), rest))
        }
        Some(first) if first.is_ascii_digit() || ['+', '-', '.'].contains(&first) => number(text),
        Some(first) if first.is_alphabetic() || first == '_' => {
            let (name, rest) = word(text);
            Ok((Token::Name(name), rest))
        }
        Some(other) => Err(format!("unexpected {other:?} in action")),
        None => Err("unclosed action".to_owned()),
    }
}

fn word(text: &str) -> (String, &str) {
    let end = text.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

/// An integer in any of Go's notations, or a decimal number with a point or exponent.
fn number(text: &str) -> Result<(Token, &str), String> {
    let mut before = None;
    let mut goes_on = |c: char| {
        let signs = before.replace(c).is_none_or(|before| ['e', 'E'].contains(&before)) && ['+', '-'].contains(&c);
        signs || c.is_alphanumeric() || ['.', '_'].contains(&c)
    };
    let (digits, rest) = text.split_at(text.find(|c| !goes_on(c)).unwrap_or(text.len()));
    let int = integer::parse(digits).map(Token::Int).ok();
    let is_float =
        digits.contains(['.', 'e', 'E']) && !digits.contains(|c: char| c.is_alphabetic() && !['e', 'E'].contains(&c));
    let float = || digits.parse().ok().filter(|number: &f64| is_float && number.is_finite()).map(Token::Float);
    let number = int.or_else(float).ok_or_else(|| format!("bad number syntax: {digits:?}"))?;
    Ok((number, rest))
}

/// A text in double quotes, with Go's escapes for characters. Those for single bytes beyond ASCII make no text.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next() {
            Some('"') => return Ok((Token::Text(value), chars.as_str())),
            Some('\\') => value.push(match chars.next() {
                Some('a') => '\u{7}',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some(same @ ('\\' | '"')) => same,
                Some('x') => numbered(&mut chars, 2).filter(char::is_ascii).ok_or("unsupported \\x in string")?,
                Some('u') => numbered(&mut chars, 4).ok_or("malformed \\u in string")?,
                Some('U') => numbered(&mut chars, 8).ok_or("malformed \\U in string")?,
                Some('0'..='7') => return Err("octal escapes in strings are not supported".to_owned()),
                other => return Err(format!("unsupported escape in string: {other:?}")),
            }),
            Some('\n') | None => return Err("unterminated quoted string".to_owned()),
            Some(other) => value.push(other),
        }
    }
}

/// The character whose number has so many hexadecimal digits, eight at most.
fn numbered(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let mut number = 0;
    for _ in 0..digits {
        number = number << 4 | chars.next()?.to_digit(16)?;
    }
    char::from_u32(number)
}
