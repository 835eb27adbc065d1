//! `experimental.steeple.inventory`

use std::path::PathBuf;
use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_datastore::{Options, Source};

use super::ConfigError;
use super::file::{Inventory, Server};
use crate::inventory::{Files, InventoryConfig, Place};

/// Ninety days.
const KEEP: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// One that is shorter deletes what was just written.
const LEAST_KEEP: Duration = Duration::from_secs(24 * 60 * 60);
const FILE_SIZE: u64 = 64 << 20;
const LEAST_FILE_SIZE: u64 = 1 << 20;

/// None where there is to be no inventory.
pub(super) fn checked(server: &Server, datastore: &Options) -> Result<Option<InventoryConfig>, ConfigError> {
    let Some(inventory) = server.experimental.steeple.as_ref().and_then(|steeple| steeple.inventory.as_ref()) else {
        return Ok(None);
    };
    let Inventory { directory, fail_closed, keep, max_file_size, sink } = inventory;
    let refused = |why: String| Err(ConfigError::Inventory(why));
    let place = match sink.as_str() {
        "log" => Place::Log,
        "file" => {
            let max_file_size = match u64::try_from(*max_file_size) {
                Ok(0) => FILE_SIZE,
                Ok(size) if size >= LEAST_FILE_SIZE => size,
                _ => return refused(format!("max_file_size must be at least {LEAST_FILE_SIZE}")),
            };
            let beside = || PathBuf::from(&server.data_dir).join("inventory");
            let directory = if directory.is_empty() { beside() } else { directory.into() };
            Place::Files(Files { directory, max_file_size })
        }
        "table" => Place::Table(table(server, datastore)),
        _ => return refused(format!("sink must be \"file\", \"log\" or \"table\", not {sink:?}")),
    };
    let keep = match keep.as_str() {
        "" => KEEP,
        text => match text.parse::<GoDuration>() {
            Ok(length) => match length.to_std().filter(|length| *length >= LEAST_KEEP) {
                Some(length) => length,
                None => return refused("keep must be at least 24h".to_owned()),
            },
            Err(error) => return refused(format!("keep: {error}")),
        },
    };
    Ok(Some(InventoryConfig { place, fail_closed: *fail_closed, keep }))
}

/// Beside a file of SQLite, which has one writer at a time, stands another one.
fn table(server: &Server, datastore: &Options) -> Options {
    let path = || PathBuf::from(&server.data_dir).join("inventory.sqlite3");
    match &datastore.source {
        Source::Sqlite { .. } => Options { disable_migration: false, ..Options::sqlite(path()) },
        Source::Postgres(_) | Source::MySql(_) => datastore.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    use super::*;

    fn parse(keys: &str) -> Result<Option<InventoryConfig>, String> {
        let text = format!(
            "server {{ trust_domain = \"example.org\" data_dir = \"data\" experimental {{ steeple {{ {keys} }} }} }}\n\
             plugins {{ DataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" connection_string = \"x\" }} }} }}"
        );
        let config = Config::parse(&text, "server.conf", Flags::default());
        config.map(|config| config.inventory).map_err(|error| error.to_string())
    }

    #[test]
    fn each_key_of_the_inventory_has_its_effect() {
        assert!(parse("").unwrap().is_none());
        let inventory = |keys: &str| parse(&format!("inventory {{ {keys} }}")).unwrap().unwrap();
        let InventoryConfig { place, fail_closed, keep } = inventory("sink = \"file\"");
        let Place::Files(files) = place else { panic!("{place:?}") };
        assert_eq!(files, Files { directory: "data/inventory".into(), max_file_size: FILE_SIZE });
        assert_eq!((fail_closed, keep), (false, KEEP));

        let keys = "sink = \"file\" directory = \"/d\" max_file_size = 2000000 keep = \"48h\" fail_closed = true";
        let InventoryConfig { place, fail_closed, keep } = inventory(keys);
        let Place::Files(files) = place else { panic!("{place:?}") };
        assert_eq!(files, Files { directory: "/d".into(), max_file_size: 2_000_000 });
        assert_eq!((fail_closed, keep), (true, LEAST_KEEP * 2));

        assert!(matches!(inventory("sink = \"log\"").place, Place::Log));
        let Place::Table(options) = inventory("sink = \"table\"").place else { panic!("no table") };
        let Source::Sqlite { path, .. } = options.source else { panic!("no file") };
        assert_eq!(path, PathBuf::from("data/inventory.sqlite3"));
    }

    #[test]
    fn an_inventory_that_cannot_be_meant_is_refused() {
        for (keys, why) in [
            ("", "sink must be \"file\", \"log\" or \"table\", not \"\""),
            ("sink = \"file\" keep = \"1h\"", "keep must be at least 24h"),
            ("sink = \"file\" keep = \"-48h\"", "keep must be at least 24h"),
            ("sink = \"file\" keep = \"x\"", "keep: time: invalid duration \"x\""),
            ("sink = \"file\" max_file_size = 7", "max_file_size must be at least 1048576"),
            ("sink = \"file\" max_file_size = -7", "max_file_size must be at least 1048576"),
        ] {
            let refused = parse(&format!("inventory {{ {keys} }}")).unwrap_err();
            assert_eq!(refused, format!("experimental.steeple.inventory: {why}"));
        }
    }
}
