//! One recorded call, and the values in it that stand for those of other calls.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap};

use super::ports::with_ports;

/// A line of a file of records.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Action(Action),
    Record(Box<Record>),
}

impl Line {
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Action(_) => None,
        }
    }
}

/// Something that is started or stopped.
#[derive(Deserialize)]
pub struct Action {
    /// `start-server`, `start-agent` or `stop`.
    pub action: String,
    /// What the process is called.
    pub process: String,
    /// The file that it is configured by; empty for one that is stopped.
    #[serde(default)]
    pub conf: String,
    /// What an agent attests by, if it needs one.
    #[serde(default)]
    pub join_token: Option<String>,
}

/// A call and its answer.
#[derive(Clone, Deserialize)]
pub struct Record {
    /// Its name, which no other of its file has.
    pub name: String,
    /// The process that is called; empty for the one that such a caller calls.
    #[serde(default)]
    pub process: String,
    /// Who calls: `local`, `anonymous`, `workload`, `agent-admin`, or anything else over TLS.
    pub caller: String,
    /// The path of the method.
    pub method: String,
    /// What is sent, with values that stand for those of answers.
    pub requests: Vec<Value>,
    /// What the caller shows over TLS.
    #[serde(default)]
    pub identity: Option<Identity>,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) r#await: Vec<usize>,
    #[serde(default)]
    pub(super) max_responses: Option<usize>,
    #[serde(default)]
    pub(super) hold_ms: u64,
    #[serde(default)]
    pub(super) timeout_ms: Option<u64>,
    /// Seconds that were waited before it, for caches or for time itself.
    #[serde(default)]
    pub pause: f64,
    #[serde(default)]
    pub(super) until: Option<String>,
    #[serde(default)]
    pub(super) handshake_fails: bool,
    /// The end; `OPEN` for a stream that had none.
    pub code: String,
    pub(super) message: String,
    pub(super) details: Value,
    /// What was answered.
    pub responses: Vec<Value>,
    #[serde(default)]
    pub(super) volatile_fields: Vec<String>,
    #[serde(default)]
    pub(super) decoded: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) same_as: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) unordered: bool,
}

impl Record {
    /// What is sent beside the messages; a list is several values of one name.
    pub(super) fn metadata(&self) -> MetadataMap {
        let mut map = MetadataMap::new();
        for (name, values) in &self.metadata {
            let values = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
            for value in values {
                let name: MetadataKey<Ascii> = name.parse().unwrap();
                map.append(name, value.as_str().unwrap().parse().unwrap());
            }
        }
        map
    }

    /// The same call, answered as ours is.
    pub(super) fn answered(&self, ours: &Ours) -> Self {
        let Ours { code, message, details, responses, volatile_fields, decoded } = ours.clone();
        Self {
            code,
            message,
            details: details.unwrap_or_else(|| Value::Array(Vec::new())),
            responses,
            volatile_fields,
            decoded,
            same_as: BTreeMap::new(),
            handshake_fails: false,
            ..self.clone()
        }
    }

    /// As if the items of these names had not been in the lists of the answers.
    pub(super) fn without(&self, names: &BTreeMap<String, String>) -> Self {
        let mut record = self.clone();
        record.responses.iter_mut().for_each(|response| take_out(response, names));
        record
    }
}

/// What ours answers where it is not what was recorded, told as in a [`Record`].
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ours {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Option<Value>,
    #[serde(default)]
    responses: Vec<Value>,
    #[serde(default)]
    volatile_fields: Vec<String>,
    #[serde(default)]
    decoded: BTreeMap<String, Value>,
}

fn take_out(value: &mut Value, names: &BTreeMap<String, String>) {
    let is_named = |item: &Value| item["name"].as_str().is_some_and(|name| names.contains_key(name));
    match value {
        Value::Array(items) => {
            items.retain(|item| !is_named(item));
            items.iter_mut().for_each(|item| take_out(item, names));
        }
        Value::Object(members) => members.values_mut().for_each(|member| take_out(member, names)),
        _ => {}
    }
}

/// Who calls over TLS.
#[derive(Clone, Deserialize)]
pub struct Identity {
    /// DER, base64; or what stands for it.
    pub cert_chain: Value,
    /// The name of a key.
    pub key: String,
}

/// The answers so far, by the names of their records: `{"responses": [...]}`.
#[derive(Default)]
pub(super) struct Answers(Map<String, Value>);

impl Answers {
    pub(super) fn keep(&mut self, name: &str, responses: &[Value]) {
        self.0.insert(name.to_owned(), serde_json::json!({ "responses": responses }));
    }

    /// The value at `NAME.responses.0.field`.
    pub(super) fn at(&self, path: &str) -> Option<&Value> {
        let (name, path) = path.split_once('.')?;
        at(self.0.get(name)?, path)
    }

    /// A request with values in place of what stands for them. None when one of them is not there, because the record that
    /// it is of was not answered.
    pub(super) fn fill(&self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::String(text) => self.fill_text(text)?,
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect::<Option<_>>()?,
            Value::Object(members) => {
                let filled = members.iter().map(|(name, value)| Some((name.clone(), self.fill(value)?)));
                filled.collect::<Option<_>>()?
            }
            other => other.clone(),
        })
    }

    fn fill_text(&self, text: &str) -> Option<Value> {
        let own = std::fs::metadata("/proc/self").unwrap();
        let text = text.replace("${uid}", &own.uid().to_string()).replace("${gid}", &own.gid().to_string());
        let text = with_ports(&text);
        let text = text.as_str();
        if let Some(path) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
            && !path.starts_with("repeat:")
            && !path.contains('$')
        {
            return self.at(path).cloned();
        }
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${repeat:") {
            let (repeat, after) = after.split_once('}')?;
            let (count, part) = repeat.split_once(':')?;
            filled.push_str(before);
            filled.push_str(&part.repeat(count.parse().ok()?));
            rest = after;
        }
        filled.push_str(rest);
        Some(filled.into())
    }
}

/// The value at a path of keys and indexes, joined by dots. A key may have dots of its own.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let (value, rest) = match value {
        Value::Array(items) => {
            let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
            (items.get(index.parse::<usize>().ok()?)?, rest)
        }
        other => {
            let (key, rest) = split(path).find(|(key, _)| other.get(*key).is_some())?;
            (other.get(key)?, rest)
        }
    };
    rest.map_or(Some(value), |rest| at(value, rest))
}

/// As [`at`], to be changed.
pub(super) fn at_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let (value, rest) = match value {
        Value::Array(items) => {
            let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
            (items.get_mut(index.parse::<usize>().ok()?)?, rest)
        }
        other => {
            let (key, rest) = split(path).find(|(key, _)| other.get(*key).is_some())?;
            (other.get_mut(key)?, rest)
        }
    };
    match rest {
        Some(rest) => at_mut(value, rest),
        None => Some(value),
    }
}

/// Each way to take a key off a path, the shortest first.
fn split(path: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let dots = path.match_indices('.').map(|(dot, _)| (&path[..dot], Some(&path[dot + 1..])));
    dots.chain([(path, None)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_keys_that_have_dots() {
        let mut value = json!({"bundles": {"spiffe://example.org": [{"a": 1}], "other": 2}});
        assert_eq!(at(&value, "bundles.spiffe://example.org.0.a"), Some(&json!(1)));
        assert_eq!(at(&value, "bundles.spiffe://example.org.1"), None);
        *at_mut(&mut value, "bundles.spiffe://example.org.0").unwrap() = "*".into();
        assert_eq!(value["bundles"]["spiffe://example.org"], json!(["*"]));
    }

    #[test]
    fn a_request_is_filled_with_answers() {
        let mut answers = Answers::default();
        answers.keep("one", &[json!({"list": [1, 2]})]);
        let request = json!({"all": "${one.responses.0.list}", "much": "a${repeat:3:b}c"});
        assert_eq!(answers.fill(&request).unwrap(), json!({"all": [1, 2], "much": "abbbc"}));
        assert_eq!(answers.fill(&json!("${two.responses.0}")), None);
    }
}
