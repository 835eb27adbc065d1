//! Functions of dictionaries. Where Go has no order, keys are sorted.

use std::collections::BTreeMap;

use super::super::Value;
use super::{Function, MANY, as_text, function, text_of, texts};

pub(super) const FUNCTIONS: &[Function] = &[
    function("dict", 0, MANY, |args| {
        let pairs = args.chunks(2);
        let value = |pair: &[Value]| pair.get(1).cloned().unwrap_or_else(|| Value::from(""));
        pairs.map(|pair| Ok((as_text(&pair[0])?, value(pair)))).collect::<Result<_, String>>().map(Value::Map)
    }),
    function("get", 2, 2, |args| {
        Ok(map_of(&args[0])?.get(text_of(&args[1])?).cloned().unwrap_or_else(|| Value::from("")))
    }),
    function("hasKey", 2, 2, |args| Ok(Value::Bool(map_of(&args[0])?.contains_key(text_of(&args[1])?)))),
    function("pluck", 1, MANY, |args| {
        let key = text_of(&args[0])?;
        let maps = args[1..].iter().map(map_of).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::List(maps.into_iter().filter_map(|map| map.get(key).cloned()).collect()))
    }),
    function("keys", 0, MANY, |args| {
        let maps = args.iter().map(map_of).collect::<Result<Vec<_>, _>>()?;
        Ok(texts(maps.into_iter().flat_map(BTreeMap::keys).map(String::as_str)))
    }),
    function("values", 1, 1, |args| Ok(Value::List(map_of(&args[0])?.values().cloned().collect()))),
    function("pick", 1, MANY, |args| kept(args, true)),
    function("omit", 1, MANY, |args| kept(args, false)),
    function("dig", 3, MANY, |args| {
        let [keys @ .., default, map] = args else { return Err("dig needs keys, a default and a map".to_owned()) };
        let mut value = map;
        for key in keys {
            match map_of(value)?.get(text_of(key)?) {
                Some(inner) => value = inner,
                None => return Ok(default.clone()),
            }
        }
        Ok(value.clone())
    }),
];

fn map_of(value: &Value) -> Result<&BTreeMap<String, Value>, String> {
    match value {
        Value::Map(map) => Ok(map),
        other => Err(format!("wrong type for value; expected map; got {}", other.kind())),
    }
}

fn kept(args: &[Value], named: bool) -> Result<Value, String> {
    let keys = args[1..].iter().map(text_of).collect::<Result<Vec<_>, _>>()?;
    let map = map_of(&args[0])?.iter();
    let map = map.filter(|(key, _)| keys.contains(&key.as_str()) == named);
    Ok(Value::Map(map.map(|(key, value)| (key.clone(), value.clone())).collect()))
}
