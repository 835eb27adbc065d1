//! Regular expressions, in the language that Go and the crate `regex` share. Those of `must…` fail as the others do.

mod syntax;

use regex::{Captures, NoExpand, Regex, RegexBuilder};

use super::super::Value;
use super::{Function, function, int_of, size, text_of, texts};

pub(super) const FUNCTIONS: &[Function] = &[
    function("regexMatch", 2, 2, is_match),
    function("mustRegexMatch", 2, 2, is_match),
    function("regexFind", 2, 2, find),
    function("mustRegexFind", 2, 2, find),
    function("regexFindAll", 3, 3, find_all),
    function("mustRegexFindAll", 3, 3, find_all),
    function("regexReplaceAll", 3, 3, replace_all),
    function("mustRegexReplaceAll", 3, 3, replace_all),
    function("regexReplaceAllLiteral", 3, 3, replace_all_literal),
    function("mustRegexReplaceAllLiteral", 3, 3, replace_all_literal),
    function("regexSplit", 3, 3, split),
    function("mustRegexSplit", 3, 3, split),
    function("regexQuoteMeta", 1, 1, |args| Ok(Value::Text(quote(text_of(&args[0])?)))),
];

fn is_match(args: &[Value]) -> Result<Value, String> {
    Ok(Value::Bool(compiled(&args[0])?.is_match(text_of(&args[1])?)))
}

fn find(args: &[Value]) -> Result<Value, String> {
    let text = text_of(&args[1])?;
    Ok(Value::from(compiled(&args[0])?.find(text).map_or("", |found| found.as_str())))
}

fn find_all(args: &[Value]) -> Result<Value, String> {
    let (text, most) = (text_of(&args[1])?, limit(&args[2])?);
    Ok(texts(compiled(&args[0])?.find_iter(text).take(most).map(|found| found.as_str())))
}

fn replace_all(args: &[Value]) -> Result<Value, String> {
    let (text, by) = (text_of(&args[1])?, text_of(&args[2])?);
    let by = |captures: &Captures<'_>| expanded(by, captures);
    Ok(Value::Text(compiled(&args[0])?.replace_all(text, by).into_owned()))
}

fn replace_all_literal(args: &[Value]) -> Result<Value, String> {
    let (text, by) = (text_of(&args[1])?, text_of(&args[2])?);
    Ok(Value::Text(compiled(&args[0])?.replace_all(text, NoExpand(by)).into_owned()))
}

/// A match at the very beginning that is empty separates nothing, and one at the end leaves nothing behind it.
fn split(args: &[Value]) -> Result<Value, String> {
    let (pattern, text, most) = (text_of(&args[0])?, text_of(&args[1])?, limit(&args[2])?);
    let compiled = compiled(&args[0])?;
    if most == 0 {
        return Ok(texts([]));
    }
    if text.is_empty() && !pattern.is_empty() {
        return Ok(texts([""]));
    }
    let (mut parts, mut begin, mut end) = (Vec::new(), 0, 0);
    for found in compiled.find_iter(text).take(most) {
        if parts.len() == most - 1 {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(&text[begin..end]);
        }
        begin = found.end();
    }
    if end != text.len() {
        parts.push(&text[begin..]);
    }
    Ok(texts(parts))
}

/// A replacement with the groups that it names: `$1`, `$name`, `${name}`, `$$`. A name is as long as it can be; a group
/// that there is not is empty, and a dollar before anything else is one.
fn expanded(replacement: &str, captures: &Captures<'_>) -> String {
    let (mut text, mut rest) = (String::new(), replacement);
    while let Some((before, after)) = rest.split_once('$') {
        text += before;
        let (name, behind) = match after.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some((name, behind)) if name.chars().all(is_of_name) => (name, behind),
                _ => ("", after),
            },
            None => after.split_at(after.find(|c| !is_of_name(c)).unwrap_or(after.len())),
        };
        let number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let group = match name.parse() {
            Ok(number_of) if number => captures.get(number_of),
            _ => captures.name(name),
        };
        match name {
            "" => {
                text.push('$');
                rest = after.strip_prefix('$').unwrap_or(after);
            }
            _ => {
                text += group.map_or("", |group| group.as_str());
                rest = behind;
            }
        }
    }
    text + rest
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How many; a negative number means all.
fn limit(value: &Value) -> Result<usize, String> {
    Ok(size(int_of(value)?).unwrap_or(usize::MAX))
}

fn compiled(pattern: &Value) -> Result<Regex, String> {
    const MEMORY: usize = 1 << 20;
    let pattern = syntax::translated(text_of(pattern)?)?;
    RegexBuilder::new(&pattern).size_limit(MEMORY).build().map_err(|error| error.to_string())
}

/// Go's set of characters that mean something, which is smaller than that of the crate.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}
