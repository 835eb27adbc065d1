//! Files in JSON as Go's reader reads them: names in any case, a member that is `null` as if it were not there, names that
//! mean nothing ignored.

use anyhow::bail;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a file says. The names of fields are in lower case.
///
/// # Errors
/// It is no JSON, or a member has another type.
pub(super) fn read<T: DeserializeOwned + Default>(json: &[u8]) -> anyhow::Result<T> {
    match as_go_reads(serde_json::from_slice(json)?) {
        Value::Null => Ok(T::default()),
        // Not as the values of the fields, in their order.
        Value::Array(_) => bail!("invalid type: sequence, expected an object"),
        // Read once more as it is, a wrong value is told with its line and column.
        value => serde_json::from_value(value)
            .map_err(|error| serde_json::from_slice::<T>(json).err().unwrap_or(error).into()),
    }
}

/// Names in lower case, and without members that are `null`.
fn as_go_reads(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(as_go_reads).collect(),
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (name.to_lowercase(), as_go_reads(value))).collect())
        }
        scalar => scalar,
    }
}
