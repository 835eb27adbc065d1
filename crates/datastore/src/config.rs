use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::Deserialize;
use steeple_config::decode;
use steeple_config::duration::Duration;
use steeple_config::hcl::{Body, Item, Value};

use crate::database::{MySqlServer, PasswordFile, PostgresServer, TlsFiles, sqlite};
use crate::store::READERS;
use crate::{Error, Options, Source};

/// The `plugin_data` of `DataStore "sql"`, as it is written. Keys that are not here are ignored, as in the reference.
/// `TryFrom` makes [`Options`] of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SqlConfig {
    /// `sqlite3`, `postgres` or `mysql`; or a block `aws_postgres` or `aws_mysql`, which is refused by name.
    pub database_type: String,
    /// For SQLite a path or a `file:` URI, for PostgreSQL pairs or a URL, for MySQL what its Go driver reads.
    pub connection_string: String,
    /// A replica, spelled like `connection_string`. It is not used, because the primary alone tells of changes what is new; of
    /// a SQLite file there is none.
    pub ro_connection_string: String,
    /// MySQL: a file with the authorities of the server's certificate.
    pub root_ca_path: String,
    /// MySQL: a file with the client's certificate.
    pub client_cert_path: String,
    /// MySQL: a file with the client's key.
    pub client_key_path: String,
    /// The most connections, 100 unless given. For SQLite: of those for reading, up to a few.
    pub max_open_conns: Option<i64>,
    /// The most connections that are kept while nobody needs them, 100 unless given, none with 0 and less. SQLite's all are.
    pub max_idle_conns: Option<i64>,
    /// A Go duration after which a connection is replaced. SQLite's never are.
    pub conn_max_lifetime: Option<String>,
    /// Refuse to change the schema of an existing database.
    pub disable_migration: bool,
    /// Log each statement at debug level.
    pub log_sql: bool,
    /// What may change from release to release.
    pub experimental: Experimental,
}

/// `experimental` of the block.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Experimental {
    /// What the reference does not know, and ignores.
    pub steeple: Steeple,
}

/// `experimental.steeple` of the block.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steeple {
    /// A file with the password of the account, and nothing else. It goes before all other passwords. SQLite has none.
    pub password_path: String,
}

/// A block `database_type "aws_postgres" { ... }`, or what JSON has for it.
const DATABASE_TYPE: &str = "database_type";

impl SqlConfig {
    /// Reads the block.
    ///
    /// # Errors
    /// A value is of the wrong kind; there are several databases ([`Error::DatabaseTypesSeveral`]).
    pub fn read(body: &Body) -> Result<Self, Error> {
        let is_block = |item: &&Item| {
            item.keys.first().is_some_and(|key| key.text == DATABASE_TYPE) && matches!(item.value, Value::Object(_))
        };
        // The name is the label; without one it is the key of a block within.
        let names = body.items.iter().filter(is_block).flat_map(|item| match (&item.keys[1..], &item.value) {
            ([name, ..], _) => vec![name.text.clone()],
            ([], Value::Object(within)) => within.items.iter().map(|item| item.keys[0].text.clone()).collect(),
            ([], _) => Vec::new(),
        });
        let names: Vec<String> = names.collect();
        let rest = Body { pos: body.pos, items: body.items.iter().filter(|item| !is_block(item)).cloned().collect() };
        let mut config: Self = decode::decode(&rest).map_err(|error| Error::Config(error.to_string()))?.value;
        match names.as_slice() {
            [] => {}
            [name] if config.database_type.is_empty() => config.database_type.clone_from(name),
            _ => return Err(Error::DatabaseTypesSeveral),
        }
        Ok(config)
    }
}

impl TryFrom<SqlConfig> for Options {
    type Error = Error;

    fn try_from(config: SqlConfig) -> Result<Self, Error> {
        let SqlConfig {
            database_type,
            connection_string,
            ro_connection_string,
            root_ca_path,
            client_cert_path,
            client_key_path,
            max_open_conns,
            max_idle_conns,
            conn_max_lifetime,
            disable_migration,
            log_sql,
            experimental: Experimental { steeple: Steeple { password_path } },
        } = config;
        if database_type.is_empty() {
            return Err(Error::DatabaseTypeMissing);
        }
        if connection_string.is_empty() {
            return Err(Error::ConnectionStringMissing);
        }
        let connection_lifetime = match conn_max_lifetime {
            None => None,
            Some(text) => {
                let lifetime = text.parse::<Duration>();
                let lifetime = lifetime.map_err(|error| Error::ConnMaxLifetime { reason: error.to_string(), text })?;
                // Not positive: no limit.
                lifetime.to_std().filter(|lifetime| !lifetime.is_zero())
            }
        };
        let file = |path: String| (!path.is_empty()).then(|| PathBuf::from(path));
        let (root_ca, client_certificate) = (file(root_ca_path), file(client_cert_path));
        let files = TlsFiles { root_ca, client_certificate, client_key: file(client_key_path) };
        let source_of = |text: &str| match database_type.as_str() {
            "sqlite3" => sqlite::path_of(text).map(|path| Source::Sqlite { path, zone: TimeZone::system() }),
            "postgres" => PostgresServer::parse(text).map(Source::Postgres),
            "mysql" => MySqlServer::parse(text, files.clone()).map(Source::MySql),
            "aws_postgres" | "aws_mysql" => Err(Error::DatabaseTypeNotBuiltIn(database_type.clone())),
            _ => Err(Error::DatabaseTypeUnknown(database_type.clone())),
        };
        let source = match (source_of(&connection_string)?, file(password_path).map(PasswordFile::at)) {
            (Source::Postgres(server), Some(file)) => Source::Postgres(server.with_password_of(file)),
            (Source::MySql(server), Some(file)) => Source::MySql(server.with_password_of(file)),
            (source, _) => source,
        };
        let is_file = matches!(source, Source::Sqlite { .. });
        let replica = !ro_connection_string.is_empty();
        if replica && !is_file {
            source_of(&ro_connection_string)?;
        }
        let mut options =
            Self { connection_lifetime, disable_migration, log_statements: log_sql, replica, ..Self::of(source) };
        // 0 and less is no limit to the reference; here there is one anyway.
        let most = max_open_conns.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
        if let Some(most) = most {
            options.connections = if is_file { most.min(READERS) } else { most };
        }
        // Here 0 and less says that none is kept.
        if let Some(most) = max_idle_conns.filter(|_| !is_file) {
            options.idle_connections = usize::try_from(most).unwrap_or_default();
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn path(options: &Options) -> &Path {
        match &options.source {
            Source::Sqlite { path, .. } => path,
            other => panic!("{other:?}"),
        }
    }

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
        let config = SqlConfig::read(&body).unwrap();
        let options = Options::try_from(config.clone()).unwrap();
        assert_eq!(path(&options), Path::new("/opt/spire/data/server/datastore.sqlite3"));
        assert_eq!((options.connections, options.disable_migration, options.log_statements), (2, true, false));
        assert_eq!(options.connection_lifetime, Some(std::time::Duration::from_secs(90)));

        let lifetime = Some("soon".to_owned());
        let error = Options::try_from(SqlConfig { conn_max_lifetime: lifetime, ..config }).unwrap_err();
        let text = "datastore-sql: failed to parse conn_max_lifetime \"soon\": time: invalid duration \"soon\"";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn the_file_with_the_password_is_a_key_that_the_reference_ignores() {
        let read = |database_type: &str, connection_string: &str| {
            let text = format!(
                "database_type = {database_type:?}\nconnection_string = {connection_string:?}\n\
                 experimental {{ steeple {{ password_path = \"/nowhere/password\" }} }}"
            );
            let config = SqlConfig::read(&steeple_config::hcl::parse(&text).unwrap()).unwrap();
            Options::try_from(config).unwrap().source
        };
        let Source::MySql(server) = read("mysql", "u@tcp(db)/d?parseTime=true") else { panic!("not MySQL") };
        let error = server.options().unwrap_err().to_string();
        assert_eq!(error, "datastore-sql: open /nowhere/password: no such file or directory");
        assert!(format!("{:?}", read("postgres", "host=db")).contains("/nowhere/password"));
        assert!(matches!(read("sqlite3", "a.db"), Source::Sqlite { .. }));
    }

    #[test]
    fn knows_three_databases_and_refuses_the_others_by_name() {
        assert_eq!(path(&options("sqlite3", "file:a.db").unwrap()), Path::new("a.db"));
        let postgres = options("postgres", "host=localhost sslmode=disable").unwrap();
        assert!(matches!(postgres.source, Source::Postgres(_)));
        assert_eq!((postgres.connections, postgres.idle_connections), (100, 100));
        let mysql = options("mysql", "spire:secret@tcp(localhost)/spire?parseTime=true").unwrap();
        assert!(matches!(mysql.source, Source::MySql(_)));
        for (database_type, text) in [
            ("", "datastore-sql: database_type must be set"),
            ("oracle", "datastore-sql: unsupported database_type: oracle"),
        ] {
            assert_eq!(options(database_type, "a").unwrap_err().to_string(), text);
        }
        let error = options("sqlite3", "").unwrap_err();
        assert_eq!(error.to_string(), "datastore-sql: connection_string must be set");
    }

    #[test]
    fn no_connection_that_nobody_needs_is_kept_with_a_limit_of_0() {
        let limits = |database_type: &str, connection_string: &str, most: i64| {
            let config = SqlConfig {
                database_type: database_type.to_owned(),
                connection_string: connection_string.to_owned(),
                max_open_conns: Some(most),
                max_idle_conns: Some(most),
                ..SqlConfig::default()
            };
            let options = Options::try_from(config).unwrap();
            (options.connections, options.idle_connections)
        };
        assert_eq!(limits("postgres", "host=db", 7), (7, 7));
        for none in [0, -1] {
            assert_eq!(limits("postgres", "host=db", none), (100, 0));
            assert_eq!(limits("sqlite3", "a.db", none), (READERS, READERS));
        }
    }

    #[test]
    fn a_replica_is_spelled_like_the_primary() {
        let with_replica = |database_type: &str, connection_string: &str, replica: &str| {
            Options::try_from(SqlConfig {
                database_type: database_type.to_owned(),
                connection_string: connection_string.to_owned(),
                ro_connection_string: replica.to_owned(),
                ..SqlConfig::default()
            })
        };
        let (postgres, mysql) = ("host=primary", "u@tcp(primary)/d?parseTime=true");
        assert!(with_replica("postgres", postgres, "host=replica").unwrap().replica);
        assert!(with_replica("mysql", mysql, "u@tcp(replica)/d?parseTime=true").unwrap().replica);
        assert!(with_replica("sqlite3", "a.db", "host=replica").unwrap().replica);
        assert!(!with_replica("postgres", postgres, "").unwrap().replica);
        let error = with_replica("postgres", postgres, "host=replica sslmode=maybe").unwrap_err().to_string();
        assert!(error.contains("maybe"), "{error}");
        let error = with_replica("mysql", mysql, "u@tcp(replica)/d").unwrap_err().to_string();
        let missing = "datastore-sql: invalid mysql config: missing parseTime=true param in connection_string";
        assert_eq!(error, missing);
    }

    #[test]
    fn reads_the_blocks_of_clouds_and_refuses_them_by_name() {
        let read = |text: &str| {
            let body = steeple_config::hcl::parse(text).unwrap();
            Options::try_from(SqlConfig::read(&body).unwrap()).unwrap_err().to_string()
        };
        let connection = r#"connection_string = "host=db""#;
        let aws = |name: &str| format!("database_type {name:?} is not built in yet");
        let text = format!(r#"database_type "aws_postgres" {{ region = "us-east-2" }} {connection}"#);
        assert!(read(&text).ends_with(&aws("aws_postgres")), "{}", read(&text));
        let text = r#"{"database_type": {"aws_postgres": {"region": "x"}}, "connection_string": "host=db"}"#;
        assert!(read(text).ends_with(&aws("aws_postgres")), "{}", read(text));
        let text = format!(r#"database_type "aws_mysql" {{ region = "us-east-2" }} {connection}"#);
        assert!(read(&text).ends_with(&aws("aws_mysql")));
    }
}
