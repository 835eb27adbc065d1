//! Functions of lists. Those that may fail have a twin of the name `must…`; here both fail in the same way.

use super::super::Value;
use super::{Function, MANY, as_texts, function, int_of, list_of, size};

pub(super) const FUNCTIONS: &[Function] = &[
    function("list", 0, MANY, |args| Ok(Value::List(args.to_vec()))),
    function("tuple", 0, MANY, |args| Ok(Value::List(args.to_vec()))),
    function("toStrings", 1, 1, |args| Ok(Value::List(as_texts(&args[0])?.into_iter().map(Value::Text).collect()))),
    function("sortAlpha", 1, 1, |args| {
        let mut texts = as_texts(&args[0])?;
        texts.sort();
        Ok(Value::List(texts.into_iter().map(Value::Text).collect()))
    }),
    function("compact", 1, 1, compact),
    function("mustCompact", 1, 1, compact),
    function("append", 2, 2, append),
    function("push", 2, 2, append),
    function("mustAppend", 2, 2, append),
    function("mustPush", 2, 2, append),
    function("prepend", 2, 2, prepend),
    function("mustPrepend", 2, 2, prepend),
    function("first", 1, 1, first),
    function("mustFirst", 1, 1, first),
    function("rest", 1, 1, rest),
    function("mustRest", 1, 1, rest),
    function("last", 1, 1, last),
    function("mustLast", 1, 1, last),
    function("initial", 1, 1, initial),
    function("mustInitial", 1, 1, initial),
    function("reverse", 1, 1, reverse),
    function("mustReverse", 1, 1, reverse),
    function("uniq", 1, 1, uniq),
    function("mustUniq", 1, 1, uniq),
    function("without", 1, MANY, without),
    function("mustWithout", 1, MANY, without),
    function("has", 2, 2, has),
    function("mustHas", 2, 2, has),
    function("slice", 1, 3, slice),
    function("mustSlice", 1, 3, slice),
    function("concat", 0, MANY, |args| {
        let lists = args.iter().map(list_of).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::List(lists.concat()))
    }),
    function("chunk", 2, 2, chunk),
    function("mustChunk", 2, 2, chunk),
];

fn compact(args: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_of(&args[0])?.iter().filter(|value| value.is_true()).cloned().collect()))
}

fn append(args: &[Value]) -> Result<Value, String> {
    Ok(Value::List([list_of(&args[0])?, &args[1..]].concat()))
}

fn prepend(args: &[Value]) -> Result<Value, String> {
    Ok(Value::List([&args[1..], list_of(&args[0])?].concat()))
}

fn first(args: &[Value]) -> Result<Value, String> {
    Ok(list_of(&args[0])?.first().cloned().unwrap_or(Value::Nil))
}

fn rest(args: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_of(&args[0])?.iter().skip(1).cloned().collect()))
}

fn last(args: &[Value]) -> Result<Value, String> {
    Ok(list_of(&args[0])?.last().cloned().unwrap_or(Value::Nil))
}

fn initial(args: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_of(&args[0])?.split_last().map_or_else(Vec::new, |(_, initial)| initial.to_vec())))
}

fn reverse(args: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_of(&args[0])?.iter().rev().cloned().collect()))
}

fn uniq(args: &[Value]) -> Result<Value, String> {
    let mut kept: Vec<Value> = Vec::new();
    for value in list_of(&args[0])? {
        if !kept.contains(value) {
            kept.push(value.clone());
        }
    }
    Ok(Value::List(kept))
}

fn without(args: &[Value]) -> Result<Value, String> {
    let omitted = &args[1..];
    Ok(Value::List(list_of(&args[0])?.iter().filter(|value| !omitted.contains(value)).cloned().collect()))
}

fn has(args: &[Value]) -> Result<Value, String> {
    match &args[1] {
        Value::Nil => Ok(Value::Bool(false)),
        list => Ok(Value::Bool(list_of(list)?.contains(&args[0]))),
    }
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0])?;
    let bound = |at: usize, default: usize| args.get(at).map_or(Ok(default), |value| size(int_of(value)?));
    let (start, end) = (bound(1, 0)?, bound(2, list.len())?);
    let part = list.get(start..end).ok_or_else(|| format!("slice bounds out of range [{start}:{end}]"))?;
    Ok(if list.is_empty() { Value::Nil } else { Value::List(part.to_vec()) })
}

fn chunk(args: &[Value]) -> Result<Value, String> {
    match size(int_of(&args[0])?)? {
        0 => Err("chunks must have a length".to_owned()),
        length => {
            let chunks = list_of(&args[1])?.chunks(length).map(|chunk| Value::List(chunk.to_vec()));
            Ok(Value::List(chunks.collect()))
        }
    }
}
