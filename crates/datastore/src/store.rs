use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use steeple_runtime::Clock;
use steeple_runtime::metrics::measure;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::readers::Readers;
use crate::sql::Sql;
use crate::sqlite::File;
use crate::writer::{Hint, Mutation, Writer};
use crate::{Error, schema};

/// How to open a [`DataStore`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The SQLite file. It is made when it does not exist.
    pub path: PathBuf,
    /// Connections for reading, opened when needed; at least 1.
    pub readers: usize,
    /// Refuse to change the schema of an existing database, and make no tables of our own.
    pub disable_migration: bool,
    /// Log each statement (not its values) at debug level.
    pub log_statements: bool,
    /// The zone in which SQLite's time columns are written. All writers of a file should agree on it, because the
    /// reference compares those columns as text; its own zone is that of its process.
    pub zone: TimeZone,
}

impl Options {
    /// The defaults for a SQLite file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: READERS,
            disable_migration: false,
            log_statements: false,
            zone: TimeZone::system(),
        }
    }
}

/// Connections for reading unless told otherwise. SQLite readers are bound by the processor, not by waiting.
pub(crate) const READERS: usize = 4;

/// The store of everything that servers share: entries, attested nodes, bundles, join tokens, CA journals, federation
/// relationships. Cheap to clone.
///
/// Reads are methods (see the modules of the tables); every write is a [`Mutation`] passed to [`DataStore::write`];
/// changes, whoever makes them, come out of [`DataStore::feed`].
#[derive(Clone)]
pub struct DataStore(Arc<Inner>);

struct Inner {
    file: File,
    clock: Clock,
    readers: Readers,
    writer: Writer,
    hints: watch::Receiver<Hint>,
    stop: CancellationToken,
    writing: Mutex<Option<JoinHandle<()>>>,
}

impl DataStore {
    /// Opens the database, creates its schema if it has none, and brings an older one up to date.
    ///
    /// # Errors
    /// The file cannot be opened, or its schema is too far from ours ([`Error::SchemaTooOld`] and those after it).
    pub async fn open(options: Options, clock: Clock) -> Result<Self, Error> {
        let Options { path, readers, disable_migration, log_statements, zone } = options;
        let file = File::new(&path, zone, log_statements);
        let dialect = file.dialect();
        tracing::info!(target: "sql", db_type = dialect.name(), "Opening SQL database");
        let mut connection = file.create().await.map_err(|error| error.at(&path))?;
        schema::prepare(&mut connection, clock.now(), disable_migration).await.map_err(|error| error.at(&path))?;
        let version = connection.row(Sql::new(dialect.version()), |row| row.text(0)).await?.unwrap_or_default();
        tracing::info!(
            target: "sql", read_only = false, r#type = dialect.name(), version, "Connected to SQL database"
        );

        let (hints, hinted) = watch::channel(Hint::default());
        let stop = CancellationToken::new();
        let (writer, writing) =
            Writer::start(file.clone(), connection, !disable_migration, clock.clone(), hints, stop.clone()).await;
        Ok(Self(Arc::new(Inner {
            readers: Readers::new(file.clone(), readers.max(1)),
            file,
            clock,
            writer,
            hints: hinted,
            stop,
            writing: Mutex::new(Some(writing)),
        })))
    }

    /// Runs `mutation` in a transaction and returns what it returned, after the commit. A caller that goes away does not
    /// stop a write that was handed over.
    pub async fn write<M: Mutation>(&self, mutation: M) -> Result<M::Output, Error> {
        measure(M::KEY, self.0.writer.write(mutation)).await
    }

    /// A feed of all changes, whoever makes them, from now on.
    pub fn feed(&self) -> Feed {
        Feed::new(self.0.file.clone(), self.0.hints.clone(), self.0.clock.clone())
    }

    /// Writes what was handed over, then closes all connections. Later calls fail with [`Error::Closed`].
    pub async fn close(&self) {
        self.0.stop.cancel();
        let writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            // A panic in the writer has been reported by the runtime; there is nothing left to close then.
            let _ = writing.await;
        }
        self.0.readers.close().await;
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }
}

impl std::fmt::Debug for DataStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataStore")
    }
}
