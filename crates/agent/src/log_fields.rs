//! Values of log lines that are one thing in text and another in JSON.

use std::time::Duration;

use serde_json::json;
use steeple_config::duration::printed;
use steeple_runtime::logging::{Field, Value};
use steeple_transport::status::code_name;
use tonic::Status;

use crate::cache::{Selector, Selectors};

/// A length: as Go prints it, and in nanoseconds.
pub(crate) fn length(name: &'static str, length: Duration) -> Field {
    let text = printed(length);
    let nanoseconds = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    (name.into(), Value::Twofold { text, json: nanoseconds.into() })
}

/// What a server answered.
pub(crate) fn status(status: &Status) -> Vec<Field> {
    let code = status.code();
    vec![
        ("status_code".into(), Value::Named(code.into(), code_name(code))),
        ("status_message".into(), status.message().into()),
    ]
}

/// Selectors, each with its type.
pub(crate) fn selectors(selectors: &Selectors) -> Field {
    let told: Vec<_> =
        selectors.iter().map(|Selector { kind, value }| format!("type:{kind:?} value:{value:?}")).collect();
    let json = selectors.iter().map(|Selector { kind, value }| json!({ "type": **kind, "value": **value }));
    ("selectors".into(), Value::Twofold { text: format!("[{}]", told.join(" ")), json: json.collect() })
}

/// A Unix socket as Go's encoder writes its address.
pub(crate) fn socket(name: &'static str, path: &str) -> Field {
    (name.into(), Value::Twofold { text: path.to_owned(), json: json!({ "Name": path, "Net": "unix" }) })
}
