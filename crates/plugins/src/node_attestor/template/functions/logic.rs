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
        Value::Texts(map) => map.len(),
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
        Value::Texts(map) => Ok(Value::from(map.get(text_of(at)?).map_or("", String::as_str))),
        other => Err(format!("can't index item of type {}", other.kind())),
    }
}
