//! Go's own functions, and sprig's that choose.

use std::cmp::Ordering;

use uuid::Uuid;

use super::super::Value;
use super::{Function, Kind, MANY, function, int_of, size, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "and", takes: 1..=MANY, kind: Kind::Choice(false) },
    Function { name: "or", takes: 1..=MANY, kind: Kind::Choice(true) },
    function("not", 1, 1, |args| Ok(Value::Bool(!args[0].is_true()))),
    function("eq", 2, MANY, |args| {
        let equal = args[1..].iter().map(|other| is_equal(&args[0], other)).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::Bool(equal.contains(&true)))
    }),
    function("ne", 2, 2, |args| Ok(Value::Bool(!is_equal(&args[0], &args[1])?))),
    function("lt", 2, 2, |args| Ok(Value::Bool(order(args)?.is_lt()))),
    function("le", 2, 2, |args| Ok(Value::Bool(order(args)?.is_le()))),
    function("gt", 2, 2, |args| Ok(Value::Bool(order(args)?.is_gt()))),
    function("ge", 2, 2, |args| Ok(Value::Bool(order(args)?.is_ge()))),
    function("len", 1, 1, len),
    function("index", 1, MANY, |args| args[1..].iter().try_fold(args[0].clone(), |value, at| index(&value, at))),
    function("print", 0, MANY, |args| Ok(Value::Text(print(args)))),
    function("println", 0, MANY, |args| {
        Ok(Value::Text(args.iter().map(Value::to_string).collect::<Vec<_>>().join(" ") + "\n"))
    }),
    function("printf", 1, MANY, |args| printf(text_of(&args[0])?, &args[1..]).map(Value::Text)),
    function("default", 1, 2, |args| Ok(args.iter().rev().find(|value| value.is_true()).unwrap_or(&args[0]).clone())),
    function("empty", 1, 1, |args| Ok(Value::Bool(!args[0].is_true()))),
    function("coalesce", 0, MANY, |args| Ok(args.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil))),
    function("all", 0, MANY, |args| Ok(Value::Bool(args.iter().all(Value::is_true)))),
    function("any", 0, MANY, |args| Ok(Value::Bool(args.iter().any(Value::is_true)))),
    function("ternary", 3, 3, |args| match &args[2] {
        Value::Bool(holds) => Ok(args[usize::from(!holds)].clone()),
        other => Err(format!("wrong type for value; expected bool; got {}", other.kind())),
    }),
    function("fail", 1, 1, |args| Err(text_of(&args[0])?.to_owned())),
    function("uuidv4", 0, 0, |_| Ok(Value::Text(Uuid::new_v4().to_string()))),
];

fn is_equal(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(*other == Value::Nil),
        (Value::Bool(_), Value::Bool(_))
        | (Value::Int(_), Value::Int(_))
        | (Value::Float(_), Value::Float(_))
        | (Value::Text(_), Value::Text(_)) => Ok(one == other),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn order(args: &[Value]) -> Result<Ordering, String> {
    match (&args[0], &args[1]) {
        (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other),
        (Value::Text(one), Value::Text(other)) => Some(one.cmp(other)),
        _ => None,
    }
    .ok_or_else(|| "incompatible types for comparison".to_owned())
}

fn len(args: &[Value]) -> Result<Value, String> {
    let len = match &args[0] {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        other => return Err(format!("len of type {}", other.kind())),
    };
    i64::try_from(len).map(Value::Int).map_err(|error| error.to_string())
}

fn index(value: &Value, at: &Value) -> Result<Value, String> {
    let out_of_range = || format!("index out of range: {at}");
    match value {
        Value::List(list) => list.get(size(int_of(at)?)?).cloned().ok_or_else(out_of_range),
        Value::Text(text) => {
            text.as_bytes().get(size(int_of(at)?)?).map(|byte| Value::Int((*byte).into())).ok_or_else(out_of_range)
        }
        Value::Bytes(bytes) => {
            bytes.get(size(int_of(at)?)?).map(|byte| Value::Int((*byte).into())).ok_or_else(out_of_range)
        }
        Value::Map(map) => Ok(map.get(text_of(at)?).cloned().unwrap_or(Value::Nil)),
        other => Err(format!("can't index item of type {}", other.kind())),
    }
}

/// A space stands between two values neither of which is text.
fn print(args: &[Value]) -> String {
    let mut text = String::new();
    for (n, value) in args.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if n > 0 && !is_text(value) && !is_text(&args[n - 1]) {
            text.push(' ');
        }
        text += &value.to_string();
    }
    text
}

/// `%v %s %d %x %X %q %t %%`, with a width that may begin with `0` or `-`.
fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    const WIDEST: usize = 256;
    let (mut text, mut rest, mut args) = (String::new(), format, args.iter());
    while let Some((before, after)) = rest.split_once('%') {
        text += before;
        let verb_at = after.find(|c: char| !c.is_ascii_digit() && c != '-').ok_or("%!(NOVERB)")?;
        let (flags, verb) = after.split_at(verb_at);
        let mut chars = verb.chars();
        let verb = chars.next().unwrap_or_default();
        rest = chars.as_str();
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = args.next().ok_or_else(|| format!("%!{verb}(MISSING)"))?;
        let printed = match (verb, value) {
            ('v', value) => value.to_string(),
            ('s', Value::Text(_) | Value::Struct { .. } | Value::List(_) | Value::Map(_)) => value.to_string(),
            ('s', Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            ('d', Value::Int(number)) => number.to_string(),
            ('x', Value::Int(number)) if *number >= 0 => format!("{number:x}"),
            ('X', Value::Int(number)) if *number >= 0 => format!("{number:X}"),
            ('x' | 'X', Value::Text(_) | Value::Bytes(_)) => {
                let bytes = if let Value::Bytes(bytes) = value { bytes } else { text_of(value)?.as_bytes() };
                let hex = steeple_spiffe::x509::hex(bytes);
                if verb == 'X' { hex.to_uppercase() } else { hex }
            }
            ('q', Value::Text(text)) => format!("{text:?}"),
            ('t', Value::Bool(value)) => value.to_string(),
            (verb, value) => return Err(format!("%!{verb}({}={value})", value.kind())),
        };
        let (left, digits) = flags.strip_prefix('-').map_or((false, flags), |digits| (true, digits));
        let width = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| "bad width".to_owned())? };
        if width > WIDEST {
            return Err(format!("width {width} is too large"));
        }
        let zeros = digits.starts_with('0') && !left && matches!(value, Value::Int(_));
        text += &match (left, zeros) {
            (true, _) => format!("{printed:<width$}"),
            (false, true) => match printed.strip_prefix('-') {
                Some(digits) => format!("-{digits:0>width$}", width = width.saturating_sub(1)),
                None => format!("{printed:0>width$}"),
            },
            (false, false) => format!("{printed:>width$}"),
        };
    }
    match args.next() {
        None => Ok(text + rest),
        Some(value) => Err(format!("%!(EXTRA {}={value})", value.kind())),
    }
}
