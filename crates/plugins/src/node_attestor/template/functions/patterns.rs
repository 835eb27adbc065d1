//! Regular expressions, in the language that Go and the crate `regex` share. Those of `must…` fail as the others do.

use regex::{NoExpand, Regex, RegexBuilder};

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
    Ok(Value::Text(compiled(&args[0])?.replace_all(text, by).into_owned()))
}

fn replace_all_literal(args: &[Value]) -> Result<Value, String> {
    let (text, by) = (text_of(&args[1])?, text_of(&args[2])?);
    Ok(Value::Text(compiled(&args[0])?.replace_all(text, NoExpand(by)).into_owned()))
}

fn split(args: &[Value]) -> Result<Value, String> {
    let (text, most) = (text_of(&args[1])?, limit(&args[2])?);
    Ok(texts(compiled(&args[0])?.splitn(text, most)))
}

/// How many; a negative number means all.
fn limit(value: &Value) -> Result<usize, String> {
    Ok(size(int_of(value)?).unwrap_or(usize::MAX))
}

fn compiled(pattern: &Value) -> Result<Regex, String> {
    const MEMORY: usize = 1 << 20;
    RegexBuilder::new(text_of(pattern)?).size_limit(MEMORY).build().map_err(|error| error.to_string())
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
