//! Whether an answer is the recorded one.

use serde_json::{Map, Value};

use super::record::{Answers, Record, at, at_mut};
use super::{Answer, decoded};

pub(super) enum Comparison {
    Equal,
    /// How.
    Different(String),
}

/// Texts that come from Go's standard library or from its SQLite driver: what stands before them counts.
const OF_GO: &[&str] = &[
    "asn1: ",
    "x509: ",
    "invalid character '",
    "unexpected end of JSON input",
    "go-jose/go-jose: ",
    "parse \"https://",
    "json: error calling ",
    "UNIQUE constraint failed: ",
];

pub(super) fn compare(record: &Record, answer: &Answer, answers: &Answers) -> Comparison {
    if record.handshake_fails {
        return if answer.refused { Comparison::Equal } else { Comparison::Different("the handshake succeeds".into()) };
    }
    match differences(record, answer, answers) {
        Ok(()) => Comparison::Equal,
        Err(how) => Comparison::Different(how),
    }
}

fn differences(record: &Record, answer: &Answer, answers: &Answers) -> Result<(), String> {
    let equal = |what: &str, expected: &Value, actual: &Value| {
        if expected == actual { Ok(()) } else { Err(format!("{what}\n  expected {expected}\n  answered {actual}")) }
    };
    let end = |code: &str, message: &str| Value::from(format!("{code} {message}"));
    let expected = end(&record.code, &record.message);
    let actual = end(answer.code, &alike(&record.message, &answer.message));
    equal("end", &expected, &actual)?;
    equal("details", &record.details, &answer.details)?;

    let expected = serde_json::json!({ "responses": record.responses });
    let actual = serde_json::json!({ "responses": answer.responses });
    if record.unordered {
        return equal("responses", &sorted(&expected), &sorted(&actual));
    }
    let masked = |value: &Value| {
        let mut value = value.clone();
        record.volatile_fields.iter().for_each(|path| mask(&mut value, path));
        value
    };
    equal("responses", &masked(&expected), &masked(&parts_alike(&expected, &actual)))?;

    for (path, facts) in &record.decoded {
        let value = at(&actual, path).ok_or_else(|| format!("nothing at {path}"))?;
        decoded::check(facts, value, answer.called_at).map_err(|how| format!("{path}: {how}"))?;
    }
    for (path, other) in &record.same_as {
        // Or of the same answer.
        let other = answers.at(other).or_else(|| at(&actual, other.strip_prefix(&format!("{}.", record.name))?));
        // That record may not have been answered.
        if let Some(other) = other {
            equal(path, other, at(&actual, path).unwrap_or(&Value::Null))?;
        }
    }
    Ok(())
}

/// The actual text, or the expected one if they differ in Go's part only.
fn alike(expected: &str, actual: &str) -> String {
    let before = OF_GO.iter().filter_map(|text| expected.find(text)).min();
    match before {
        Some(before) if actual.starts_with(&expected[..before]) => expected.to_owned(),
        _ => actual.to_owned(),
    }
}

/// The actual answer, but as expected where a message of an item differs in Go's part only, or the time that a process has
/// run by less than a replay may be faster or slower than the recording.
fn parts_alike(expected: &Value, actual: &Value) -> Value {
    match (expected, actual) {
        (Value::Array(expected), Value::Array(actual)) => actual
            .iter()
            .enumerate()
            .map(|(i, actual)| expected.get(i).map_or_else(|| actual.clone(), |it| parts_alike(it, actual)))
            .collect(),
        (Value::Object(expected), Value::Object(actual)) => {
            let mut members: Map<String, Value> = actual
                .iter()
                .map(|(name, actual)| {
                    let value = match (expected.get(name), actual) {
                        (Some(Value::String(expected)), Value::String(actual)) if name == "message" => {
                            alike(expected, actual).into()
                        }
                        (Some(expected), actual) => parts_alike(expected, actual),
                        (None, actual) => actual.clone(),
                    };
                    (name.clone(), value)
                })
                .collect();
            // Nothing stands for 0.
            let seconds = |members: &Map<String, Value>| members.get("uptime").map_or(Some(0), Value::as_i64);
            if let (Some(recorded), Some(run)) = (seconds(expected), seconds(actual))
                && recorded.abs_diff(run) <= decoded::TOLERANCE.unsigned_abs()
            {
                members.remove("uptime");
                members.extend(expected.get("uptime").map(|uptime| ("uptime".to_owned(), uptime.clone())));
            }
            members.into()
        }
        (_, actual) => actual.clone(),
    }
}

/// Replaces the value at a path, if there is one.
fn mask(value: &mut Value, path: &str) {
    if let Some(target) = at_mut(value, path) {
        *target = "*".into();
    }
}

/// With lists in one fixed order, and without what changes from run to run.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(members) => {
            let is_time = |name: &str, value: &Value| {
                ["created_at", "expires_at", "issued_at"].contains(&name)
                    && value.as_str().is_some_and(|text| text.len() == 10)
            };
            let member = |(name, value): (&String, &Value)| {
                (name.clone(), if is_time(name, value) { "*".into() } else { sorted(value) })
            };
            members.iter().map(member).collect()
        }
        other => other.clone(),
    }
}
