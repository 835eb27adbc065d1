//! A store in a directory of its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use steeple_datastore::entries::{CreateEntry, Created};
use steeple_datastore::{DataStore, Entry, Options, Selector};
use steeple_runtime::Clock;
use tempfile::TempDir;

pub(crate) struct Opened {
    pub(crate) store: DataStore,
    pub(crate) options: Options,
    _directory: TempDir,
}

impl Deref for Opened {
    type Target = DataStore;

    fn deref(&self) -> &DataStore {
        &self.store
    }
}

pub(crate) async fn sqlite() -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::sqlite(directory.path().join("datastore.sqlite3"));
    Opened { store: DataStore::open(options.clone(), Clock::system()).await.unwrap(), options, _directory: directory }
}

/// Opens a copy of a database that the reference wrote.
pub(crate) async fn fixture(name: &str, change: impl FnOnce(&mut Options)) -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    std::fs::copy(data(&format!("{name}.sqlite3")), &path).unwrap();
    let mut options = Options::sqlite(path);
    change(&mut options);
    Opened { store: DataStore::open(options.clone(), Clock::system()).await.unwrap(), options, _directory: directory }
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
        rows(&self.options.path, text).await
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

/// Runs a statement on a connection of its own; NULL reads as `NULL`.
pub(crate) async fn rows(path: &Path, text: &str) -> Vec<Vec<String>> {
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(text.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, column| {
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
