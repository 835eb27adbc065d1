//! One recorded call, and the values in it that stand for those of other calls.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A line of a file of records.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Action(Action),
    Record(Box<Record>),
}

/// Something that is started or stopped.
#[derive(Deserialize)]
pub(crate) struct Action {
    pub(crate) action: String,
    pub(crate) process: String,
    #[serde(default)]
    pub(crate) conf: String,
}

/// A call and its answer.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) caller: String,
    pub(crate) method: String,
    pub(crate) requests: Vec<Value>,
    #[serde(default)]
    pub(crate) identity: Option<Identity>,
    #[serde(default)]
    pub(crate) r#await: Vec<usize>,
    #[serde(default)]
    pub(crate) pause: f64,
    #[serde(default)]
    pub(crate) handshake_fails: bool,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) details: Value,
    pub(crate) responses: Vec<Value>,
    #[serde(default)]
    pub(crate) volatile_fields: Vec<String>,
    #[serde(default)]
    pub(crate) decoded: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) same_as: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) unordered: bool,
}

/// Who calls over TLS.
#[derive(Deserialize)]
pub(crate) struct Identity {
    /// DER, base64; or what stands for it.
    pub(crate) cert_chain: Value,
    /// The name of a key.
    pub(crate) key: String,
}

/// The answers so far, by the names of their records: `{"responses": [...]}`.
#[derive(Default)]
pub(crate) struct Answers(Map<String, Value>);

impl Answers {
    pub(crate) fn keep(&mut self, name: &str, responses: &[Value]) {
        self.0.insert(name.to_owned(), serde_json::json!({ "responses": responses }));
    }

    /// The value at `NAME.responses.0.field`.
    pub(crate) fn at(&self, path: &str) -> Option<&Value> {
        let (name, path) = path.split_once('.')?;
        at(self.0.get(name)?, path)
    }

    /// A request with values in place of what stands for them. None when one of them is not there, because the record that
    /// it is of was not answered.
    pub(crate) fn fill(&self, value: &Value) -> Option<Value> {
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

/// The value at a path of keys and indexes, joined by dots.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}
