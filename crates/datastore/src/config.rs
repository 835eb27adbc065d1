use serde::Deserialize;
use steeple_config::duration::Duration;

use crate::sqlite;
use crate::store::READERS;
use crate::{Error, Options};

/// The `plugin_data` of `DataStore "sql"`, as it is written. Keys that are not here are ignored, as in the reference.
/// `TryFrom` makes [`Options`] of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SqlConfig {
    /// `sqlite3`. The reference's blocks `aws_postgres` and `aws_mysql` are not read yet.
    pub database_type: String,
    /// For SQLite a path or a `file:` URI.
    pub connection_string: String,
    /// A replica that reads may go to. There is none of a SQLite file.
    pub ro_connection_string: String,
    /// MySQL: a file with the authorities of the server's certificate.
    pub root_ca_path: String,
    /// MySQL: a file with the client's certificate.
    pub client_cert_path: String,
    /// MySQL: a file with the client's key.
    pub client_key_path: String,
    /// The most connections. For SQLite: of those for reading, up to a few.
    pub max_open_conns: Option<i64>,
    /// Idle connections that are kept. SQLite's all are.
    pub max_idle_conns: Option<i64>,
    /// A Go duration after which a connection is replaced. SQLite's never are.
    pub conn_max_lifetime: Option<String>,
    /// Refuse to change the schema of an existing database.
    pub disable_migration: bool,
    /// Log each statement at debug level.
    pub log_sql: bool,
}

impl TryFrom<SqlConfig> for Options {
    type Error = Error;

    fn try_from(config: SqlConfig) -> Result<Self, Error> {
        let SqlConfig {
            database_type,
            connection_string,
            ro_connection_string,
            root_ca_path: _,
            client_cert_path: _,
            client_key_path: _,
            max_open_conns,
            max_idle_conns: _,
            conn_max_lifetime,
            disable_migration,
            log_sql,
        } = config;
        if database_type.is_empty() {
            return Err(Error::DatabaseTypeMissing);
        }
        if connection_string.is_empty() {
            return Err(Error::ConnectionStringMissing);
        }
        if let Some(text) = conn_max_lifetime {
            text.parse::<Duration>().map_err(|error| Error::ConnMaxLifetime { reason: error.to_string(), text })?;
        }
        match database_type.as_str() {
            "sqlite3" => {}
            "postgres" | "mysql" | "aws_postgres" | "aws_mysql" => {
                return Err(Error::DatabaseTypeNotBuiltIn(database_type));
            }
            _ => return Err(Error::DatabaseTypeUnknown(database_type)),
        }
        if !ro_connection_string.is_empty() {
            tracing::warn!(target: "sql", "Read-only connection is not applicable for sqlite3. Falling back to primary connection");
        }
        let most = max_open_conns.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
        Ok(Self {
            readers: most.unwrap_or(READERS).min(READERS),
            disable_migration,
            log_statements: log_sql,
            ..Self::sqlite(sqlite::path_of(&connection_string)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(database_type: &str, connection_string: &str) -> Result<Options, Error> {
        SqlConfig {
            database_type: database_type.to_owned(),
            connection_string: connection_string.to_owned(),
            ..SqlConfig::default()
        }
        .try_into()
    }

    #[test]
    fn reads_the_block_of_a_configuration() {
        let text = r#"
            database_type = "sqlite3"
            connection_string = "/opt/spire/data/server/datastore.sqlite3"
            max_open_conns = 2
            conn_max_lifetime = "90s"
            disable_migration = true
            unknown_key = "ignored"
        "#;
        let body = steeple_config::hcl::parse(text).unwrap();
        let config: SqlConfig = steeple_config::decode::decode(&body).unwrap().value;
        let Options { path, readers, disable_migration, log_statements, zone: _ } = config.clone().try_into().unwrap();
        assert_eq!(path, std::path::Path::new("/opt/spire/data/server/datastore.sqlite3"));
        assert_eq!((readers, disable_migration, log_statements), (2, true, false));

        let lifetime = Some("soon".to_owned());
        let error = Options::try_from(SqlConfig { conn_max_lifetime: lifetime, ..config }).unwrap_err();
        let text = "datastore-sql: failed to parse conn_max_lifetime \"soon\": time: invalid duration \"soon\"";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn accepts_sqlite3_only_and_refuses_the_others_by_name() {
        assert_eq!(options("sqlite3", "file:a.db").unwrap().path, std::path::Path::new("a.db"));
        for (database_type, text) in [
            ("", "datastore-sql: database_type must be set"),
            ("oracle", "datastore-sql: unsupported database_type: oracle"),
            ("postgres", r#"datastore-sql: database_type "postgres" is not built in yet"#),
            ("mysql", r#"datastore-sql: database_type "mysql" is not built in yet"#),
        ] {
            assert_eq!(options(database_type, "a").unwrap_err().to_string(), text);
        }
        let error = options("sqlite3", "").unwrap_err();
        assert_eq!(error.to_string(), "datastore-sql: connection_string must be set");
    }
}
