//! The configuration of the datastore: its connection string and what goes with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_datastore::{Options, SqlConfig};

fuzz_target!(|text: &str| {
    for database_type in ["sqlite3", "postgres", "mysql"] {
        let config = SqlConfig {
            database_type: database_type.into(),
            connection_string: text.into(),
            conn_max_lifetime: Some(text.into()),
            ..SqlConfig::default()
        };
        let _ = Options::try_from(SqlConfig { conn_max_lifetime: None, ..config.clone() });
        let _ = Options::try_from(config);
    }
});
