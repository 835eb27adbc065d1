//! A store on a database of its own.

#![allow(dead_code, reason = "of two programs, each opens some kinds of databases")]

use std::ops::Deref;
use std::path::Path;

use steeple_datastore::entries::{CreateEntry, Created};
use steeple_datastore::{DataStore, Entry, Options, Selector};
use steeple_runtime::Clock;
pub(crate) use steeple_testkit::database::Transaction;
use tempfile::TempDir;

use crate::unopened::{Place, Unopened};

pub(crate) struct Opened {
    pub(crate) store: DataStore,
    pub(crate) options: Options,
    pub(crate) place: Place,
    /// Of a file.
    pub(super) _directory: Option<TempDir>,
}

impl Deref for Opened {
    type Target = DataStore;

    fn deref(&self) -> &DataStore {
        &self.store
    }
}

pub(crate) async fn new_sqlite() -> Unopened {
    Unopened::sqlite()
}

pub(crate) async fn new_postgres() -> Unopened {
    Unopened::postgres().await
}

/// PostgreSQL, as PgBouncer lends it by transaction. Other programs go there directly.
pub(crate) async fn on_pgbouncer() -> Opened {
    Unopened::pgbouncer().await.open().await
}

pub(crate) async fn new_mariadb() -> Unopened {
    Unopened::mariadb().await
}

pub(crate) async fn on_sqlite() -> Opened {
    Unopened::sqlite().open().await
}

pub(crate) async fn on_postgres() -> Opened {
    Unopened::postgres().await.open().await
}

pub(crate) async fn on_mariadb() -> Opened {
    Unopened::mariadb().await.open().await
}

/// MySQL's and MariaDB's, as it will be given out next.
const NEXT_EVENT_ID: &str = "SELECT CAST(auto_increment AS CHAR) FROM information_schema.tables \
                             WHERE table_schema = DATABASE() AND table_name = 'registered_entries_events'";

impl Opened {
    /// Another store on the same database, as another server would have it.
    pub(crate) async fn another(&self) -> DataStore {
        DataStore::open(self.options.clone(), Clock::system()).await.unwrap()
    }

    /// What another program sees or does: rows of text columns.
    pub(crate) async fn sql(&self, text: &str) -> Vec<Vec<String>> {
        self.place.sql(text).await
    }

    /// Databases of this kind that the reference left behind.
    pub(crate) fn left_behind(&self) -> &'static [&'static str] {
        match &self.place {
            Place::File(_) => &["utc", "kolkata"],
            Place::Postgres(_) => &["postgres"],
            Place::MySql(_) => &["mysql"],
        }
    }

    /// An empty database of this kind.
    pub(crate) async fn empty_twin(&self) -> Unopened {
        match &self.place {
            Place::File(_) => Unopened::sqlite(),
            Place::Postgres(_) => Unopened::postgres().await,
            Place::MySql(_) => Unopened::mariadb().await,
        }
    }

    /// A transaction of another program.
    pub(crate) async fn transaction(&self) -> Transaction {
        self.place.transaction().await
    }

    /// Waits until one of the sessions waits for rows that another one has locked.
    pub(crate) async fn a_session_waits(&self) {
        let query = match &self.place {
            // Reading with locks, which takes as long as it waits. What InnoDB tells of locks grows no newer while it is asked
            // again and again.
            Place::MySql(_) => {
                "SELECT info FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '% FOR UPDATE'"
            }
            _ => "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        };
        while self.sql(query).await.is_empty() {}
    }

    /// Uses up ids of entry events, as transactions do that fail.
    pub(crate) async fn skip_event_ids(&self, count: u32) {
        match &self.place {
            Place::File(_) => {
                let name = "registered_entries_events";
                self.sql(&format!("UPDATE sqlite_sequence SET seq = seq + {count} WHERE name = '{name}'")).await;
            }
            Place::Postgres(_) => {
                let next = "nextval('registered_entries_events_id_seq')";
                self.sql(&format!("SELECT {next} FROM generate_series(1, {count})")).await;
            }
            Place::MySql(_) => {
                let next = self.sql(NEXT_EVENT_ID).await[0][0].parse::<u32>().unwrap() + count;
                self.sql(&format!("ALTER TABLE registered_entries_events AUTO_INCREMENT = {next}")).await;
            }
        }
    }

    /// Has the ids of entry events go on behind those that are there, as in a database that moved back.
    pub(crate) async fn give_event_ids_again(&self) {
        let newest = "SELECT COALESCE(MAX(id), 0) FROM registered_entries_events";
        match &self.place {
            Place::File(_) => {
                let name = "registered_entries_events";
                self.sql(&format!("UPDATE sqlite_sequence SET seq = ({newest}) WHERE name = '{name}'")).await;
            }
            Place::Postgres(_) => {
                let next = format!("SELECT setval('registered_entries_events_id_seq', ({newest}) + 1, false)");
                self.sql(&next).await;
            }
            Place::MySql(_) => {
                let wanted = self.sql(&format!("SELECT CAST(({newest}) + 1 AS CHAR)")).await;
                // Rows that were deleted count until they are really gone.
                while self.sql(NEXT_EVENT_ID).await != wanted {
                    self.sql("ALTER TABLE registered_entries_events AUTO_INCREMENT = 1").await;
                }
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
                format!("datastore-sql: pq: duplicate key value violates unique constraint \"{index}\" (23505)")
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
