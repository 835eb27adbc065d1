use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use steeple_runtime::Clock;
use steeple_runtime::metrics::measure;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::database::sqlite::File;
use crate::database::{Database, MySqlServer, PostgresServer};
use crate::feed::Feed;
use crate::pool::{Limits, Pool};
use crate::sql::Sql;
use crate::writer::{Hint, Mutation, Writer};
use crate::{Error, feed, schema};

/// How to open a [`DataStore`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The database.
    pub source: Source,
    /// The most connections for reading, and on servers for writing; opened when needed; at least 1.
    pub connections: usize,
    /// The most connections that are kept while nobody needs them.
    pub idle_connections: usize,
    /// How long a connection to a server is used, None for as long as it works.
    pub connection_lifetime: Option<Duration>,
    /// Refuse to change the schema of an existing database, and make no tables of our own.
    pub disable_migration: bool,
    /// Log each statement (not its values) at debug level.
    pub log_statements: bool,
    /// Whether a replica is named. It is not used, and the log says so.
    pub replica: bool,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A SQLite file.
    Sqlite {
        /// It is made when it does not exist.
        path: PathBuf,
        /// The zone in which time columns are written. All writers of a file should agree on it, because the reference
        /// compares those columns as text; its own zone is that of its process.
        zone: TimeZone,
    },
    /// A PostgreSQL server.
    Postgres(PostgresServer),
    /// A MySQL or MariaDB server.
    MySql(MySqlServer),
}

impl Options {
    /// The defaults for a SQLite file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::Sqlite { path: path.into(), zone: TimeZone::system() })
    }

    /// The defaults for this database.
    pub fn of(source: Source) -> Self {
        let connections = match source {
            Source::Sqlite { .. } => READERS,
            Source::Postgres(_) | Source::MySql(_) => CONNECTIONS,
        };
        Self {
            source,
            connections,
            idle_connections: connections,
            connection_lifetime: None,
            disable_migration: false,
            log_statements: false,
            replica: false,
        }
    }
}

impl Source {
    pub(crate) fn database(self, log_statements: bool, clock: &Clock) -> Database {
        match self {
            Self::Sqlite { path, zone } => Database::Sqlite(Arc::new(File::new(&path, zone, log_statements))),
            Self::Postgres(server) => Database::Postgres(server.logging(log_statements), clock.clone()),
            Self::MySql(server) => Database::MySql(server.logging(log_statements), clock.clone()),
        }
    }
}

/// Connections for reading a file. SQLite's readers are bound by the processor, not by waiting.
pub(crate) const READERS: usize = 4;
/// Connections to a server unless told otherwise: the reference's default.
const CONNECTIONS: usize = 100;
/// A connection to a server that has not been used for so long is closed, as in the reference.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The store of everything that servers share: entries, attested nodes, bundles, join tokens, CA journals, federation
/// relationships. Cheap to clone.
///
/// Reads are methods (see the modules of the tables); every write is a [`Mutation`] passed to [`DataStore::write`];
/// changes, whoever makes them, come out of [`DataStore::feed`].
#[derive(Clone)]
pub struct DataStore(Arc<Inner>);

struct Inner {
    database: Database,
    clock: Clock,
    pool: Arc<Pool>,
    writer: Writer,
    hints: watch::Receiver<Hint>,
    stop: CancellationToken,
    writing: Mutex<Option<JoinHandle<()>>>,
}

/// Servers that start at once on one file of SQLite are in each other's way, and for the change of a new file's mode SQLite
/// itself waits for nobody: so long they are waited for.
const OTHERS_PREPARE: Duration = Duration::from_secs(30);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The first connection, to a database with the schema.
async fn prepared(database: &Database, clock: &Clock, disable_migration: bool) -> Result<Connection, Error> {
    let mut connection = database.create().await?;
    database.find_out(&mut connection).await?;
    schema::prepare(&mut connection, clock.now(), disable_migration).await?;
    Ok(connection)
}

impl DataStore {
    /// Opens the database, creates its schema if it has none, and brings an older one up to date.
    ///
    /// # Errors
    /// The database cannot be opened, or its schema is too far from ours ([`Error::SchemaTooOld`] and those after it).
    pub async fn open(options: Options, clock: Clock) -> Result<Self, Error> {
        let Options {
            source,
            connections,
            idle_connections,
            connection_lifetime,
            disable_migration,
            log_statements,
            replica,
        } = options;
        let database = source.database(log_statements, &clock);
        let dialect = database.dialect();
        let limits = Limits {
            open: connections,
            idle: idle_connections,
            lifetime: connection_lifetime.filter(|_| dialect.is_server()),
            idle_time: dialect.is_server().then_some(IDLE_TIME),
        };
        tracing::info!(target: "sql", db_type = dialect.name(), "Opening SQL database");
        if replica {
            let why = if dialect.is_server() {
                "Read-only connection is not used: changes are read from the primary alone"
            } else {
                "Read-only connection is not applicable for sqlite3. Falling back to primary connection"
            };
            tracing::warn!(target: "sql", "{why}");
        }
        let until = clock.now() + OTHERS_PREPARE;
        let mut connection = loop {
            match prepared(&database, &clock, disable_migration).await {
                Err(Error::Busy(_)) if clock.now() < until => clock.sleep(PAUSE).await,
                prepared => break prepared.map_err(|error| database.named(error))?,
            }
        };
        let version = connection.row(Sql::new(dialect.version()), |row| row.text(0)).await?.unwrap_or_default();
        tracing::info!(
            target: "sql", read_only = false, r#type = dialect.name(), version, "Connected to SQL database"
        );
        if version.starts_with("5.7.") {
            tracing::warn!(target: "sql", "MySQL 5.7 is no more maintained; a newer version finds late changes sooner");
        }

        let (hints, hinted) = watch::channel(Hint::default());
        let stop = CancellationToken::new();
        let pool = Arc::new(Pool::new(database.clone(), clock.clone(), limits));
        let (writer, writing) = Writer::start(
            database.clone(),
            connection,
            Arc::clone(&pool),
            !disable_migration,
            clock.clone(),
            hints,
            stop.clone(),
        )
        .await;
        if matches!(database, Database::Postgres(..)) {
            tokio::spawn(feed::tell_others(Arc::clone(&pool), clock.clone(), hinted.clone(), stop.clone()));
        }
        Ok(Self(Arc::new(Inner {
            pool,
            database,
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
        Feed::new(self.0.database.clone(), self.0.hints.clone(), self.0.clock.clone(), self.0.stop.clone())
    }

    /// The value of `database_type`.
    pub fn database_type(&self) -> &'static str {
        self.0.database.dialect().name()
    }

    /// Writes what was handed over, then closes all connections. Later calls fail with [`Error::Closed`].
    pub async fn close(&self) {
        self.0.stop.cancel();
        let writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            // A panic in the writer has been reported by the runtime; there is nothing left to close then.
            let _ = writing.await;
        }
        self.0.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }
}

impl std::fmt::Debug for DataStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataStore")
    }
}
