//! A store on a database of its own.

#![allow(dead_code, reason = "of two programs, each opens some kinds of databases")]

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use steeple_datastore::entries::{CreateEntry, Created};
use steeple_datastore::{DataStore, Entry, MySqlServer, Options, PostgresServer, Selector, Source, TlsFiles};
use steeple_runtime::Clock;
use steeple_testkit::database::{USER, mariadb, pgbouncer, postgres};
use tempfile::TempDir;

pub(crate) struct Opened {
    pub(crate) store: DataStore,
    pub(crate) options: Options,
    pub(crate) place: Place,
    _directory: Option<TempDir>,
}

/// Where other programs find the database.
pub(crate) enum Place {
    File(PathBuf),
    Postgres(String),
    MySql(String),
}

/// A transaction of another program that is still open.
pub(crate) enum Transaction {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

impl Transaction {
    pub(crate) async fn execute(&mut self, text: &str) {
        let statement = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
        match self {
            Self::Postgres(db) => statement.execute(db).await.map(drop).unwrap(),
            Self::MySql(db) => statement.execute(db).await.map(drop).unwrap(),
        }
    }

    pub(crate) async fn commit(mut self) {
        self.execute("COMMIT").await;
    }

    pub(crate) async fn roll_back(mut self) {
        self.execute("ROLLBACK").await;
    }
}

impl Deref for Opened {
    type Target = DataStore;

    fn deref(&self) -> &DataStore {
        &self.store
    }
}

/// A database that no server has used yet.
pub(crate) struct Unopened {
    pub(crate) options: Options,
    place: Place,
    directory: Option<TempDir>,
}

impl Unopened {
    pub(crate) async fn open(self) -> Opened {
        let Self { options, place, directory } = self;
        let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
        Opened { store, options, place, _directory: directory }
    }
}

pub(crate) async fn new_sqlite() -> Unopened {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    Unopened { options: Options::sqlite(&path), place: Place::File(path), directory: Some(directory) }
}

pub(crate) async fn on_sqlite() -> Opened {
    new_sqlite().await.open().await
}

/// The name of a database that no other case has.
fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("case_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn on_postgres() -> Opened {
    new_postgres().await.open().await
}

pub(crate) async fn new_postgres() -> Unopened {
    let (server, name) = (postgres(), name());
    let url = |name: &str| format!("postgres://{USER}@127.0.0.1:{}/{name}?sslmode=disable", server.port);
    postgres_rows(&url("postgres"), &format!("CREATE DATABASE {name}")).await;
    let mut options = Options::of(Source::Postgres(PostgresServer::parse(&url(&name)).unwrap()));
    options.connections = 8;
    Unopened { options, place: Place::Postgres(url(&name)), directory: None }
}

/// PostgreSQL, as PgBouncer lends it by transaction. Other programs go there directly.
pub(crate) async fn on_pgbouncer() -> Opened {
    let (server, name) = (postgres(), name());
    let url = |port: u16, name: &str| format!("postgres://{USER}@127.0.0.1:{port}/{name}?sslmode=disable");
    postgres_rows(&url(server.port, "postgres"), &format!("CREATE DATABASE {name}")).await;
    let source = PostgresServer::parse(&url(pgbouncer().port, &name)).unwrap();
    let mut options = Options::of(Source::Postgres(source));
    options.connections = 8;
    let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
    Opened { store, options, place: Place::Postgres(url(server.port, &name)), _directory: None }
}

pub(crate) async fn on_mariadb() -> Opened {
    new_mariadb().await.open().await
}

pub(crate) async fn new_mariadb() -> Unopened {
    let (server, name) = (mariadb(), name());
    let url = |name: &str| format!("mysql://{USER}@127.0.0.1:{}/{name}?ssl-mode=disabled", server.port);
    mysql_rows(&url("mysql"), &format!("CREATE DATABASE {name} CHARACTER SET utf8")).await;
    let dsn = format!("{USER}@tcp(127.0.0.1:{})/{name}?parseTime=true", server.port);
    let mut options = Options::of(Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap()));
    options.connections = 8;
    Unopened { options, place: Place::MySql(url(&name)), directory: None }
}

/// Opens a copy of a database that the reference wrote.
pub(crate) async fn fixture(name: &str, change: impl FnOnce(&mut Options)) -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    std::fs::copy(data(&format!("{name}.sqlite3")), &path).unwrap();
    let mut options = Options::sqlite(&path);
    change(&mut options);
    let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
    Opened { store, options, place: Place::File(path), _directory: Some(directory) }
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

impl Opened {
    /// Another store on the same database, as another server would have it.
    pub(crate) async fn another(&self) -> DataStore {
        DataStore::open(self.options.clone(), Clock::system()).await.unwrap()
    }

    /// What another program sees or does: rows of text columns.
    pub(crate) async fn sql(&self, text: &str) -> Vec<Vec<String>> {
        match &self.place {
            Place::File(path) => rows(path, text).await,
            Place::Postgres(url) => postgres_rows(url, text).await,
            Place::MySql(url) => mysql_rows(url, text).await,
        }
    }

    /// A transaction of another program.
    pub(crate) async fn transaction(&self) -> Transaction {
        let mut transaction = match &self.place {
            Place::File(_) => panic!("a file has one writer"),
            Place::Postgres(url) => Transaction::Postgres(PgConnection::connect(url).await.unwrap()),
            Place::MySql(url) => Transaction::MySql(MySqlConnection::connect(url).await.unwrap()),
        };
        transaction.execute("START TRANSACTION").await;
        transaction
    }

    /// Uses up ids of entry events, as transactions do that fail.
    pub(crate) async fn skip_event_ids(&self, count: u32) {
        match &self.place {
            Place::File(_) => panic!("a file has one writer"),
            Place::Postgres(_) => {
                let next = "nextval('registered_entries_events_id_seq')";
                self.sql(&format!("SELECT {next} FROM generate_series(1, {count})")).await;
            }
            Place::MySql(_) => {
                let newest = self.sql("SELECT COALESCE(MAX(id), 0) FROM registered_entries_events").await;
                let next = newest[0][0].parse::<u32>().unwrap() + count + 10;
                self.sql(&format!("ALTER TABLE registered_entries_events AUTO_INCREMENT = {next}")).await;
            }
        }
    }

    /// The file, where it is one.
    pub(crate) fn path(&self) -> &Path {
        match &self.place {
            Place::File(path) => path,
            Place::Postgres(_) | Place::MySql(_) => panic!("not a file"),
        }
    }

    /// How a statement spells bytes that are given in hexadecimal.
    pub(crate) fn bytes(&self, hex: &str) -> String {
        match &self.place {
            Place::File(_) | Place::MySql(_) => format!("X'{hex}'"),
            Place::Postgres(_) => format!("'\\x{hex}'"),
        }
    }

    /// What SQL spells a column of bytes in hexadecimal, in capitals.
    pub(crate) fn hex(&self, column: &str) -> String {
        match &self.place {
            Place::File(_) | Place::MySql(_) => format!("hex({column})"),
            Place::Postgres(_) => format!("upper(encode({column}, 'hex'))"),
        }
    }

    /// What the database says of a value of `columns` that is there already in the unique index `index`.
    pub(crate) fn taken(&self, columns: &str, index: &str, value: &str) -> String {
        match &self.place {
            Place::File(_) => format!("datastore-sql: UNIQUE constraint failed: {columns}"),
            Place::Postgres(_) => {
                format!("datastore-sql: pq: duplicate key value violates unique constraint \"{index}\"")
            }
            Place::MySql(_) => {
                format!("datastore-sql: Error 1062 (23000): Duplicate entry '{value}' for key '{index}'")
            }
        }
    }

    pub(crate) async fn create(&self, entry: Entry) -> Entry {
        match self.store.write(CreateEntry { entry }).await.unwrap() {
            Created::New(entry) => entry,
            Created::Similar(entry) => panic!("similar: {entry:?}"),
        }
    }

    pub(crate) async fn entry_events(&self) -> Vec<String> {
        self.sql("SELECT entry_id FROM registered_entries_events ORDER BY id").await.concat()
    }

    pub(crate) async fn node_events(&self) -> Vec<String> {
        self.sql("SELECT spiffe_id FROM attested_node_entries_events ORDER BY id").await.concat()
    }
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

/// A minimal entry below `spiffe://td/agent`.
pub(crate) fn entry(id: &str) -> Entry {
    Entry {
        entry_id: id.to_owned(),
        spiffe_id: format!("spiffe://td/{id}"),
        parent_id: "spiffe://td/agent".to_owned(),
        selectors: selectors(&["unix:uid:1"]),
        ..Entry::default()
    }
}

pub(crate) fn selectors(texts: &[&str]) -> Vec<Selector> {
    texts
        .iter()
        .map(|text| {
            let (kind, value) = text.split_once(':').unwrap();
            Selector::new(kind, value)
        })
        .collect()
}
