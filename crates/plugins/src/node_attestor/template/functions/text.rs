//! Functions of texts and paths.

use steeple_config::quote::Quoted;

use super::super::{LONGEST_TEXT, Value};
use super::{Function, MANY, as_text, as_texts, cases, function, int_of, size, text_of, texts};

pub(super) const FUNCTIONS: &[Function] = &[
    function("abbrev", 2, 2, |args| {
        let (width, text) = (int_of(&args[0])?, text_of(&args[1])?);
        match size(width) {
            Ok(width) if width >= 4 && text.len() > width => {
                Ok(Value::Text(format!("{}...", part(text, 0, width - 3)?)))
            }
            _ => Ok(Value::from(text)),
        }
    }),
    function("trunc", 2, 2, |args| {
        let (count, text) = (int_of(&args[0])?, text_of(&args[1])?);
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        match text.len().checked_sub(wanted) {
            Some(rest) if count < 0 => part(text, rest, text.len()).map(Value::from),
            Some(_) if count >= 0 => part(text, 0, wanted).map(Value::from),
            _ => Ok(Value::from(text)),
        }
    }),
    function("trim", 1, 1, |args| Ok(Value::from(text_of(&args[0])?.trim()))),
    function("upper", 1, 1, |args| Ok(Value::Text(text_of(&args[0])?.chars().map(cases::upper).collect()))),
    function("lower", 1, 1, |args| Ok(Value::Text(text_of(&args[0])?.chars().map(cases::lower).collect()))),
    function("title", 1, 1, |args| {
        // Beyond ASCII only white space separates words.
        let is_inside = |c: char| match c.is_ascii() {
            true => c.is_ascii_alphanumeric() || c == '_',
            false => !c.is_whitespace(),
        };
        Ok(Value::Text(by_position(text_of(&args[0])?, |c, before| match before.is_some_and(is_inside) {
            true => c,
            false => cases::title(c),
        })))
    }),
    function("untitle", 1, 1, |args| {
        let is_inside = |before: Option<char>| before.is_some_and(|c| !c.is_whitespace());
        Ok(Value::Text(by_position(text_of(&args[0])?, |c, before| match is_inside(before) {
            true => c,
            false => cases::lower(c),
        })))
    }),
    function("swapcase", 1, 1, |args| {
        let begins = |before: Option<char>| before.is_none_or(char::is_whitespace);
        Ok(Value::Text(by_position(text_of(&args[0])?, |c, before| match c {
            c if c.is_lowercase() && begins(before) => cases::title(c),
            c if c.is_lowercase() => cases::upper(c),
            c => cases::lower(c),
        })))
    }),
    function("initials", 1, 1, |args| {
        let words = ascii_of(&args[0])?.split_whitespace();
        Ok(Value::Text(words.filter_map(|word| word.chars().next()).collect()))
    }),
    function("nospace", 1, 1, |args| {
        Ok(Value::Text(ascii_of(&args[0])?.chars().filter(|c| !c.is_whitespace()).collect()))
    }),
    function("substr", 3, 3, |args| {
        let (start, end, text) = (int_of(&args[0])?, int_of(&args[1])?, text_of(&args[2])?);
        let until = size(end).ok().filter(|end| *end <= text.len());
        match (size(start), until) {
            (Err(_), Some(end)) => part(text, 0, end).map(Value::from),
            (Ok(start), None) => part(text, start, text.len()).map(Value::from),
            (Ok(start), Some(end)) => part(text, start, end).map(Value::from),
            (Err(error), None) => Err(error),
        }
    }),
    function("repeat", 2, 2, |args| {
        let (count, text) = (size(int_of(&args[0])?)?, text_of(&args[1])?);
        match text.len().checked_mul(count) {
            Some(length) if length <= LONGEST_TEXT => Ok(Value::Text(text.repeat(count))),
            _ => Err("the result is too long".to_owned()),
        }
    }),
    function("trimAll", 2, 2, |args| {
        let (cutset, text) = (text_of(&args[0])?, text_of(&args[1])?);
        Ok(Value::from(text.trim_matches(|c| cutset.contains(c))))
    }),
    function("trimSuffix", 2, 2, |args| {
        let (suffix, text) = (text_of(&args[0])?, text_of(&args[1])?);
        Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
    }),
    function("trimPrefix", 2, 2, |args| {
        let (prefix, text) = (text_of(&args[0])?, text_of(&args[1])?);
        Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
    }),
    function("contains", 2, 2, |args| Ok(Value::Bool(text_of(&args[1])?.contains(text_of(&args[0])?)))),
    function("hasPrefix", 2, 2, |args| Ok(Value::Bool(text_of(&args[1])?.starts_with(text_of(&args[0])?)))),
    function("hasSuffix", 2, 2, |args| Ok(Value::Bool(text_of(&args[1])?.ends_with(text_of(&args[0])?)))),
    function("quote", 0, MANY, |args| joined(args, |value| Ok(Quoted(&as_text(value)?).to_string()))),
    function("squote", 0, MANY, |args| joined(args, |value| Ok(format!("'{value}'")))),
    function("cat", 0, MANY, |args| joined(args, |value| Ok(value.to_string()))),
    function("indent", 2, 2, |args| indent(args).map(Value::Text)),
    function("nindent", 2, 2, |args| indent(args).map(|text| Value::Text(format!("\n{text}")))),
    function("replace", 3, 3, |args| {
        Ok(Value::Text(text_of(&args[2])?.replace(text_of(&args[0])?, text_of(&args[1])?)))
    }),
    function("plural", 3, 3, |args| Ok(args[usize::from(int_of(&args[2])? != 1)].clone())),
    function("toString", 1, 1, |args| as_text(&args[0]).map(Value::Text)),
    function("splitList", 2, 2, |args| {
        let (separator, text) = (text_of(&args[0])?, text_of(&args[1])?);
        if separator.is_empty() {
            return Ok(Value::List(text.chars().map(|c| Value::Text(c.into())).collect()));
        }
        Ok(texts(text.split(separator)))
    }),
    function("join", 2, 2, |args| Ok(Value::Text(as_texts(&args[1])?.join(text_of(&args[0])?)))),
    function("seq", 0, 3, |args| seq(args).map(Value::Text)),
    function("base", 1, 1, |args| {
        let path = text_of(&args[0])?;
        let trimmed = path.trim_end_matches('/');
        let last = trimmed.rsplit('/').next().unwrap_or_default();
        Ok(Value::from(match (path, last) {
            ("", _) => ".",
            (_, "") => "/",
            (_, last) => last,
        }))
    }),
    function("dir", 1, 1, |args| {
        let path = text_of(&args[0])?;
        Ok(Value::Text(clean(path.rfind('/').map_or("", |at| &path[..=at]))))
    }),
    function("clean", 1, 1, |args| Ok(Value::Text(clean(text_of(&args[0])?)))),
    function("ext", 1, 1, |args| {
        let name = text_of(&args[0])?.rsplit('/').next().unwrap_or_default();
        Ok(Value::from(name.rfind('.').map_or("", |at| &name[at..])))
    }),
    function("isAbs", 1, 1, |args| Ok(Value::Bool(text_of(&args[0])?.starts_with('/')))),
];

/// Go cuts between bytes; half a character is no text that an ID could hold.
fn part(text: &str, start: usize, end: usize) -> Result<&str, String> {
    text.get(start..end).ok_or_else(|| format!("cannot cut {text:?} from {start} to {end}"))
}

/// sprig takes each byte of these for a character, which other texts do not survive.
fn ascii_of(value: &Value) -> Result<&str, String> {
    let text = text_of(value)?;
    if text.is_ascii() { Ok(text) } else { Err(format!("{text:?} is not ASCII, which is not supported here")) }
}

/// Each character, by what stands before it.
fn by_position(text: &str, mut turned: impl FnMut(char, Option<char>) -> char) -> String {
    let mut before = None;
    text.chars().map(|c| turned(c, before.replace(c))).collect()
}

fn joined(args: &[Value], write: impl Fn(&Value) -> Result<String, String>) -> Result<Value, String> {
    let args = args.iter().filter(|value| **value != Value::Nil);
    Ok(Value::Text(args.map(write).collect::<Result<Vec<_>, _>>()?.join(" ")))
}

fn indent(args: &[Value]) -> Result<String, String> {
    let (width, text) = (size(int_of(&args[0])?)?, text_of(&args[1])?);
    let length = text.lines().count().saturating_add(1).saturating_mul(width);
    if length > LONGEST_TEXT {
        return Err("the result is too long".to_owned());
    }
    let pad = " ".repeat(width);
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

/// As the command of that name: to, from and to, from step and to; on one line.
fn seq(args: &[Value]) -> Result<String, String> {
    const MOST: i64 = 4096;
    let numbers = args.iter().map(int_of).collect::<Result<Vec<_>, _>>()?;
    let direction = |from: i64, to: i64| if to < from { -1 } else { 1 };
    let (from, step, to) = match numbers[..] {
        [] => return Ok(String::new()),
        [to] => (1, direction(1, to), to),
        [from, to] => (from, direction(from, to), to),
        [from, step, to, ..] => (from, step, to),
    };
    if step == 0 || direction(from, to) != step.signum() && from != to {
        return Ok(String::new());
    }
    if to.abs_diff(from) / step.unsigned_abs() > MOST.unsigned_abs() {
        return Err("the result is too long".to_owned());
    }
    let count = i64::try_from(to.abs_diff(from) / step.unsigned_abs()).unwrap_or(MOST);
    let numbers = (0..=count).map(|n| (from + n * step).to_string());
    Ok(numbers.collect::<Vec<_>>().join(" "))
}

/// The shortest path that means the same.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if rooted => {}
            segment => kept.push(segment),
        }
    }
    match (rooted, kept.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}
