//! Which settings two files state otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::hcl::{Body, Item, List, Value};
use crate::plugins::{PluginBlock, PluginData};

/// What a file says of each setting that has a value of its own: `server.log_level`, and for a plugin
/// `plugins.NodeAttestor "x509pop"`, which is one setting. What only the form of a file says, order of keys and comments,
/// is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stated(BTreeMap<String, String>);

impl Stated {
    /// Of a file and its plugins.
    pub fn of(file: &Body, plugins: &[PluginBlock]) -> Self {
        let mut stated = Self::default();
        for Item { keys, value } in &file.items {
            if keys.first().is_some_and(|section| !section.text.eq_ignore_ascii_case("plugins")) {
                stated.read(keys.iter().map(|key| key.text.to_ascii_lowercase()).collect(), value);
            }
        }
        for plugin in plugins {
            let PluginBlock { kind, name, line: _, cmd, args, checksum, enabled, data } = plugin;
            let data = match data {
                PluginData::None => String::new(),
                PluginData::File(path) => path.display().to_string(),
                PluginData::Fixed(body) => {
                    let mut of_plugin = Self::default();
                    of_plugin.read(Vec::new(), &Value::Object(body.clone()));
                    format!("{of_plugin:?}")
                }
            };
            let said = format!("{cmd:?} {args:?} {checksum:?} {enabled} {data}");
            stated.0.insert(format!("plugins.{kind} {name:?}"), said);
        }
        stated
    }

    fn read(&mut self, path: Vec<String>, value: &Value) {
        match value {
            Value::Object(body) => {
                for Item { keys, value } in &body.items {
                    let keys = keys.iter().map(|key| key.text.to_ascii_lowercase());
                    self.read(path.iter().cloned().chain(keys).collect(), value);
                }
            }
            // JSON may write a section as a list of one.
            Value::List(List { values, .. }) if values.iter().any(|value| matches!(value, Value::Object(_))) => {
                for value in values {
                    self.read(path.clone(), value);
                }
            }
            value if value.is_null() => {}
            // A key that stands there twice has both values, in their order.
            value => self.0.entry(path.join(".")).or_default().push_str(&format!("{value}\n")),
        }
    }

    /// Those that `other` has otherwise, or that only one of them has, in their order.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }

    /// Takes over from `other` what it says of this setting.
    pub fn take_over(&mut self, name: &str, other: &Self) {
        match other.0.get(name) {
            Some(value) => self.0.insert(name.to_owned(), value.clone()),
            None => self.0.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hcl, plugins};

    fn stated(text: &str) -> Stated {
        let body = hcl::parse(text).unwrap();
        Stated::of(&body, &plugins::read(&body).unwrap().unwrap_or_default())
    }

    #[test]
    fn form_is_no_setting() {
        let hcl = "server { log_level = \"INFO\" ratelimit { signing = false } }\n\
                   plugins { KeyManager \"disk\" { plugin_data { keys_path = \"k\" } } }";
        let json = r#"{"plugins": [{"KeyManager": [{"disk": [{"plugin_data": [{"keys_path": "k"}]}]}]}],
                       "server": [{"ratelimit": [{"signing": false}], "LOG_LEVEL": "INFO"}]}"#;
        assert_eq!(stated(hcl).changed(&stated(json)), [""; 0]);
    }

    #[test]
    fn what_differs_is_named() {
        let old = stated(
            "server { log_level = \"INFO\" admin_ids = [\"a\"] experimental { require_pq_kem = true } }\n\
             plugins { KeyManager \"disk\" { plugin_data { keys_path = \"k\" } } NodeAttestor \"x509pop\" {} }",
        );
        let new = stated(
            "server { log_level = \"INFO\" admin_ids = [\"a\", \"b\"] ratelimit { signing = false } }\n\
             plugins { KeyManager \"disk\" { plugin_data { keys_path = \"l\" } } NodeAttestor \"x509pop\" {} }",
        );
        let changed = [
            "plugins.KeyManager \"disk\"",
            "server.admin_ids",
            "server.experimental.require_pq_kem",
            "server.ratelimit.signing",
        ];
        assert_eq!(old.changed(&new), changed);
        assert_eq!(new.changed(&old), changed);
        let mut running = old.clone();
        for name in &changed[1..] {
            running.take_over(name, &new);
        }
        assert_eq!(running.changed(&new), changed[..1]);
    }
}
