//! Databases before a store opens them, and the way of other programs to them.

#![allow(dead_code, reason = "of two programs, each opens some kinds of databases")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use steeple_datastore::{DataStore, MySqlServer, Options, PostgresServer, Source, TlsFiles};
use steeple_runtime::Clock;
use steeple_testkit::database::{USER, mariadb, pgbouncer, postgres, restore_mariadb, restore_postgres};
use tempfile::TempDir;

use crate::opened::Opened;

/// A database of a case's own.
pub(crate) struct Unopened {
    pub(crate) options: Options,
    pub(crate) place: Place,
    directory: Option<TempDir>,
}

/// Where other programs find the database.
pub(crate) enum Place {
    File(PathBuf),
    Postgres(String),
    MySql(String),
}

impl Unopened {
    /// No file, in a directory of its own.
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("datastore.sqlite3");
        Self { options: Options::sqlite(&path), place: Place::File(path), directory: Some(directory) }
    }

    /// An empty database.
    pub(crate) async fn postgres() -> Self {
        let new = Self::of_postgres(&name());
        let Place::Postgres(url) = &new.place else { unreachable!() };
        let database = new.place.database();
        postgres_rows(&url.replace(&format!("/{database}"), "/postgres"), &format!("CREATE DATABASE {database}")).await;
        new
    }

    /// An empty database, to which PgBouncer lends connections by transaction. Other programs go there directly.
    pub(crate) async fn pgbouncer() -> Self {
        let mut empty = Self::postgres().await;
        let url =
            format!("postgres://{USER}@127.0.0.1:{}/{}?sslmode=disable", pgbouncer().port, empty.place.database());
        empty.options.source = Source::Postgres(PostgresServer::parse(&url).unwrap());
        empty
    }

    /// An empty database.
    pub(crate) async fn mariadb() -> Self {
        let new = Self::of_mariadb(&name());
        let Place::MySql(url) = &new.place else { unreachable!() };
        let database = new.place.database();
        let create = format!("CREATE DATABASE {database} CHARACTER SET utf8");
        mysql_rows(&url.replace(&format!("/{database}"), "/mysql"), &create).await;
        new
    }

    fn of_postgres(name: &str) -> Self {
        let url = format!("postgres://{USER}@127.0.0.1:{}/{name}?sslmode=disable", postgres().port);
        let mut options = Options::of(Source::Postgres(PostgresServer::parse(&url).unwrap()));
        options.connections = 8;
        Self { options, place: Place::Postgres(url), directory: None }
    }

    fn of_mariadb(name: &str) -> Self {
        let port = mariadb().port;
        let url = format!("mysql://{USER}@127.0.0.1:{port}/{name}?ssl-mode=disabled");
        let dsn = format!("{USER}@tcp(127.0.0.1:{port})/{name}?parseTime=true");
        let mut options = Options::of(Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap()));
        options.connections = 8;
        Self { options, place: Place::MySql(url), directory: None }
    }

    /// A copy of a database that the reference wrote.
    pub(crate) fn left_behind(what: &str) -> Self {
        match what {
            "postgres" => {
                let name = name();
                restore_postgres(&name, &data("postgres.sql"));
                Self::of_postgres(&name)
            }
            "mysql" => {
                let name = name();
                restore_mariadb(&name, &data("mysql.sql"));
                Self::of_mariadb(&name)
            }
            file => {
                let empty = Self::sqlite();
                let Place::File(path) = &empty.place else { unreachable!() };
                std::fs::copy(data(&format!("{file}.sqlite3")), path).unwrap();
                empty
            }
        }
    }

    pub(crate) async fn open(self) -> Opened {
        let Self { options, place, directory } = self;
        let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
        Opened { store, options, place, _directory: directory }
    }
}

impl Place {
    /// What another program sees or does: rows of text columns.
    pub(crate) async fn sql(&self, text: &str) -> Vec<Vec<String>> {
        match self {
            Self::File(path) => rows(path, text).await,
            Self::Postgres(url) => postgres_rows(url, text).await,
            Self::MySql(url) => mysql_rows(url, text).await,
        }
    }

    /// The same database by an account that has nothing but these rights on its tables.
    pub(crate) async fn limited(&self, options: &Options, rights: &str) -> Options {
        let database = self.database();
        let source = match self {
            Self::File(_) => panic!("a file has no accounts"),
            Self::Postgres(url) => {
                let user = format!("of_{database}");
                let statements = format!(
                    "CREATE ROLE {user} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
                     GRANT {rights} ON ALL TABLES IN SCHEMA public TO {user}; \
                     GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"
                );
                self.sql(&statements).await;
                Source::Postgres(PostgresServer::parse(&url.replace(&format!("{USER}@"), &format!("{user}@"))).unwrap())
            }
            Self::MySql(_) => {
                let user = format!("of_{database}");
                self.sql(&format!("CREATE USER {user}@127.0.0.1")).await;
                self.sql(&format!("GRANT {rights} ON {database}.* TO {user}@127.0.0.1")).await;
                let dsn = format!("{user}@tcp(127.0.0.1:{})/{database}?parseTime=true", mariadb().port);
                Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap())
            }
        };
        Options { source, ..options.clone() }
    }

    /// The name of a server's database.
    pub(crate) fn database(&self) -> &str {
        match self {
            Self::File(_) => panic!("a file"),
            Self::Postgres(url) | Self::MySql(url) => url.rsplit_once('/').unwrap().1.split_once('?').unwrap().0,
        }
    }
}

/// Opens a copy of a database that the reference wrote.
pub(crate) async fn fixture(name: &str, change: impl FnOnce(&mut Options)) -> Opened {
    let mut unopened = Unopened::left_behind(name);
    change(&mut unopened.options);
    unopened.open().await
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The name of a database that no other case has.
fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("case_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Runs a statement on a connection of its own to a file; NULL reads as `NULL`.
pub(crate) async fn rows(path: &Path, text: &str) -> Vec<Vec<String>> {
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(text.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let text = |row: &SqliteRow, column| {
        let bytes = row.try_get_unchecked::<Option<Vec<u8>>, _>(column).unwrap();
        bytes.map_or_else(|| "NULL".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect()
}

/// Without preparing it, so that all columns come as text.
async fn postgres_rows(url: &str, text: &str) -> Vec<Vec<String>> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let text = |row: &PgRow, column| {
        let text = row.try_get_unchecked::<Option<String>, _>(column).unwrap();
        text.unwrap_or_else(|| "NULL".to_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect()
}

/// Likewise.
async fn mysql_rows(url: &str, text: &str) -> Vec<Vec<String>> {
    let mut connection = MySqlConnection::connect(url).await.unwrap();
    let rows = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let text = |row: &MySqlRow, column| {
        let bytes = row.try_get_unchecked::<Option<Vec<u8>>, _>(column).unwrap();
        bytes.map_or_else(|| "NULL".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect()
}
