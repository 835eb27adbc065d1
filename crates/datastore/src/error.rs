use std::path::Path;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use steeple_runtime::metrics::Coded;

/// Whatever can go wrong in this room.
///
/// Texts are the reference's, prefix included, because the server passes most of them on to its callers. An error is
/// cheap to clone: when a commit fails, each write of the group gets it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The row that was to be changed, deleted or consumed does not exist. Reads answer `None` instead.
    #[error("datastore-sql: record not found")]
    NotFound,
    /// The database refused the row: the key is taken, or a list holds the same value twice. The text is the driver's.
    #[error("datastore-sql: {0}")]
    Constraint(String),
    /// The value that was to be stored is not acceptable.
    #[error("datastore-validation: {0}")]
    Validation(String),
    /// An entry names a trust domain (`spiffe://td`) whose bundle is not stored.
    #[error("unable to find federated bundle {0:?}")]
    FederatedBundleMissing(String),
    /// The federation relationship that was to be updated does not exist.
    #[error("unable to fetch federation relationship: record not found")]
    FederationRelationshipMissing,
    /// The bundle cannot be deleted in mode RESTRICT: this many entries federate with it.
    #[error("datastore-sql: cannot delete bundle; federated with {0} registration entries")]
    BundleInUse(u64),
    /// Pruning would leave a bundle without any authority of this kind, so that nothing was pruned.
    #[error("datastore-sql: prune failed: would prune all {0}")]
    WouldPruneAll(&'static str),
    /// The entry that comes with a join token could not be created, so that the token was not stored either.
    #[error(transparent)]
    JoinTokenEntry(Box<Error>),
    /// The join token was used before, and whoever comes with it now is not to be answered again.
    #[error("join token has been used")]
    JoinTokenUsed,
    /// The agent is banned; only deleting it ends that.
    #[error("agent is banned")]
    Banned,

    /// No root CA of the bundle has the subject key ID that was to be tainted.
    #[error("no ca found with provided subject key ID")]
    RootCaToTaintNotFound,
    /// No root CA of the bundle has the subject key ID that was to be revoked.
    #[error("no root CA found with provided subject key ID")]
    RootCaToRevokeNotFound,
    /// The root CA is tainted already.
    #[error("root CA is already tainted")]
    RootCaAlreadyTainted,
    /// Only a tainted root CA can be revoked.
    #[error("it is not possible to revoke an untainted root CA")]
    RootCaNotTainted,
    /// No JWT key of the bundle has this key ID.
    #[error("no JWT Key found with provided key ID")]
    JwtKeyNotFound,
    /// The JWT key is tainted already.
    #[error("key is already tainted")]
    JwtKeyAlreadyTainted,
    /// Only a tainted JWT key can be revoked.
    #[error("it is not possible to revoke an untainted key")]
    JwtKeyNotTainted,

    /// The page token of a list of entries is not a row id.
    #[error("datastore-sql: rpc error: code = InvalidArgument desc = could not parse token '{0}'")]
    EntryPageToken(String),
    /// The page token of any other list is not a row id.
    #[error("could not parse token '{0}'")]
    PageToken(String),
    /// A filter by selectors without a selector.
    #[error("cannot list by empty selectors set")]
    EmptySelectors,
    /// A filter with a match behaviour that the API does not define.
    #[error("datastore-sql: unhandled {filter} behavior {value}")]
    UnknownMatch {
        /// Which filter: `match`, `selectors match` or `federates with match`.
        filter: &'static str,
        /// The number that was given, printed as the reference prints it: as a character in quotes.
        value: String,
    },

    /// The database ended the transaction because of another one. Nothing of it remains; it is run again as it is.
    #[error("datastore-sql: {0}")]
    Conflict(String),
    /// Another process held the database for longer than the busy timeout. Trying again may help.
    #[error("datastore-sql: {0}")]
    Busy(String),
    /// The database cannot be reached, opened, read or written at the moment: gone, read-only, its disk full, the password
    /// another one.
    #[error("datastore-sql: {0}")]
    Unavailable(String),
    /// The database holds something that this room cannot read.
    #[error("datastore-sql: {0}")]
    Corrupt(String),
    /// Any other answer of the database.
    #[error("datastore-sql: {0}")]
    Sql(String),
    /// The store has been closed.
    #[error("datastore-sql: database is closed")]
    Closed,

    /// The schema is too old to be migrated from here.
    #[error(
        "datastore-sql: migrating from schema version {0} requires a previous SPIRE release; please follow the upgrade \
         strategy at doc/upgrading.md"
    )]
    SchemaTooOld(i64),
    /// There is no version of a schema, but a table of one that has rows, or that no start of ours made before it was cut off.
    #[error("datastore-sql: the database has no schema version, but a table {0:?} that is not of an unfinished start")]
    SchemaUnknown(&'static str),
    /// The schema was written by a version that is too far from this one.
    #[error("datastore-sql: incompatible DB schema and code version")]
    SchemaIncompatible,
    /// The schema has to be migrated, and that is switched off.
    #[error("datastore-sql: auto-migration must be enabled for current DB")]
    MigrationDisabled,
    /// The version of the program that last migrated the schema is not a semantic version.
    #[error("datastore-sql: unable to parse code version {0:?} of the DB")]
    CodeVersion(String),

    /// The database to be read has no schema.
    #[error("datastore-sql: the database has no schema: no server has used it yet")]
    SchemaMissing,
    /// The database to be read has a schema that is newer than ours, and so perhaps columns that would be lost.
    #[error("datastore-sql: schema version {0} is newer than this program: use one of its release")]
    SchemaNewer(i64),
    /// The database to be filled has rows.
    #[error("datastore-sql: the database is not empty: table {0} has rows")]
    NotEmpty(&'static str),
    /// Something went wrong with the rows of a table.
    #[error("{table}: {error}")]
    InTable {
        /// The table.
        table: &'static str,
        /// What.
        error: Box<Error>,
    },
    /// A row that was copied is not what it was, because the database does not keep it, or because it was changed.
    #[error(
        "{table}: the copy of a row differs ({key}): something writes to one of the databases, or the new one does not keep it"
    )]
    Differs {
        /// The table.
        table: &'static str,
        /// The key of the row.
        key: String,
    },
    /// Something writes to the database that is copied.
    #[error("a server writes to the database: stop all servers, and try again")]
    OriginChanged,
    /// The archive is not one, damaged, or cut short.
    #[error("the archive is damaged: {0}")]
    ArchiveDamaged(String),
    /// The archive is of a version that is not known here.
    #[error("the archive has version {0}, which a newer program has written")]
    ArchiveVersion(u64),
    /// The archive cannot be read.
    #[error("unable to read the archive: {0}")]
    ArchiveNotRead(String),
    /// The archive cannot be written.
    #[error("unable to write the archive: {0}")]
    ArchiveNotWritten(String),

    /// `database_type` is missing.
    #[error("datastore-sql: database_type must be set")]
    DatabaseTypeMissing,
    /// `database_type` names no database.
    #[error("datastore-sql: unsupported database_type: {0}")]
    DatabaseTypeUnknown(String),
    /// `database_type` names a database that a later version will know.
    #[error("datastore-sql: database_type {0:?} is not built in yet")]
    DatabaseTypeNotBuiltIn(String),
    /// A value of the block is of the wrong kind.
    #[error("datastore-sql: {0}")]
    Config(String),
    /// There are several blocks `database_type`.
    #[error("datastore-sql: exactly one database type is expected")]
    DatabaseTypesSeveral,
    /// `connection_string` cannot be read.
    #[error("datastore-sql: {0}")]
    ConnectionString(String),
    /// The connection string of a MySQL database lacks `parseTime=true`.
    #[error("datastore-sql: invalid mysql config: missing parseTime=true param in connection_string")]
    ParseTimeMissing,
    /// `connection_string` is missing.
    #[error("datastore-sql: connection_string must be set")]
    ConnectionStringMissing,
    /// `conn_max_lifetime` is no duration.
    #[error("datastore-sql: failed to parse conn_max_lifetime {text:?}: {reason}")]
    ConnMaxLifetime {
        /// What was given.
        text: String,
        /// Why it is none.
        reason: String,
    },
    /// The connection string of a SQLite database is a URI of another scheme than `file`.
    #[error("datastore-sql: unsupported scheme {0:?}")]
    UnsupportedScheme(String),
    /// The connection string of a SQLite database names no file on this machine.
    #[error("datastore-sql: a SQLite database has to be a file on this machine: {0:?}")]
    NotAFile(String),
}

impl Error {
    /// Whether the database cannot be reached, or cannot do it now: what was asked is not wrong, and may be asked again.
    pub fn is_away(&self) -> bool {
        match self {
            Self::JoinTokenEntry(error) | Self::InTable { error, .. } => error.is_away(),
            other => matches!(other, Self::Conflict(_) | Self::Busy(_) | Self::Unavailable(_) | Self::Closed),
        }
    }

    /// With the table that it is about.
    pub(crate) fn of_table(self, table: &'static str) -> Self {
        Self::InTable { table, error: Box::new(self) }
    }

    /// The text without the name of this room in front, for a text that has it there already.
    pub(crate) fn without_room(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("datastore-sql: ").unwrap_or(&text).to_owned()
    }

    /// With the file that it is about, where the database does not name it.
    pub(crate) fn at(self, path: &Path) -> Self {
        let named = |text: String| format!("{text}: {}", path.display());
        match self {
            Self::Busy(text) => Self::Busy(named(text)),
            Self::Unavailable(text) => Self::Unavailable(named(text)),
            Self::Corrupt(text) => Self::Corrupt(named(text)),
            Self::Sql(text) => Self::Sql(named(text)),
            other => other,
        }
    }
}

impl Coded for Error {
    /// The gRPC code that the reference's store gives: what a caller of the server sees where the server does not choose
    /// another one (`Unknown` becomes Internal there).
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound
            | Self::JoinTokenUsed
            | Self::RootCaToTaintNotFound
            | Self::RootCaToRevokeNotFound
            | Self::JwtKeyNotFound => "NotFound",
            Self::Constraint(_) => "AlreadyExists",
            Self::Validation(_)
            | Self::EntryPageToken(_)
            | Self::PageToken(_)
            | Self::EmptySelectors
            | Self::RootCaAlreadyTainted
            | Self::RootCaNotTainted
            | Self::JwtKeyAlreadyTainted
            | Self::JwtKeyNotTainted => "InvalidArgument",
            Self::JoinTokenEntry(error) | Self::InTable { error, .. } => error.code(),
            Self::BundleInUse(_) => "FailedPrecondition",
            Self::Banned => "PermissionDenied",
            Self::Conflict(_) | Self::Busy(_) | Self::Unavailable(_) | Self::Closed => "Unavailable",
            Self::Corrupt(_) => "DataLoss",
            Self::FederatedBundleMissing(_)
            | Self::FederationRelationshipMissing
            | Self::WouldPruneAll(_)
            | Self::UnknownMatch { .. }
            | Self::Sql(_)
            | Self::SchemaTooOld(_)
            | Self::SchemaUnknown(_)
            | Self::SchemaIncompatible
            | Self::MigrationDisabled
            | Self::CodeVersion(_)
            | Self::SchemaMissing
            | Self::SchemaNewer(_)
            | Self::NotEmpty(_)
            | Self::Differs { .. }
            | Self::OriginChanged
            | Self::ArchiveDamaged(_)
            | Self::ArchiveVersion(_)
            | Self::ArchiveNotRead(_)
            | Self::ArchiveNotWritten(_)
            | Self::DatabaseTypeMissing
            | Self::DatabaseTypeUnknown(_)
            | Self::DatabaseTypeNotBuiltIn(_)
            | Self::ConnectionStringMissing
            | Self::Config(_)
            | Self::DatabaseTypesSeveral
            | Self::ConnectionString(_)
            | Self::ParseTimeMissing
            | Self::ConnMaxLifetime { .. }
            | Self::UnsupportedScheme(_)
            | Self::NotAFile(_) => "Unknown",
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => from_database(&**database),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt(error.to_string()),
            _ => Self::Sql(error.to_string()),
        }
    }
}

/// The texts are those of the reference's drivers.
fn from_database(error: &dyn sqlx::error::DatabaseError) -> Error {
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return of_postgres(error.code(), format!("pq: {} ({})", error.message(), error.code()));
    }
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        let (number, state) = (error.number(), error.code().unwrap_or("HY000"));
        return of_mysql(number, state, format!("Error {number} ({state}): {}", error.message()));
    }
    of_sqlite(error.code().and_then(|code| code.parse().ok()), error.message().to_owned())
}

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>); the low byte is the primary one.
fn of_sqlite(code: Option<i32>, text: String) -> Error {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const CONSTRAINT: i32 = 19;
    const NOTADB: i32 = 26;

    match code.map(|code| code & 0xff) {
        Some(CONSTRAINT) => Error::Constraint(text),
        Some(BUSY | LOCKED) => Error::Busy(text),
        Some(READONLY | IOERR | FULL | CANTOPEN) => Error::Unavailable(text),
        Some(CORRUPT | NOTADB) => Error::Corrupt(text),
        _ => Error::Sql(text),
    }
}

/// Classes of SQL states that pass: a connection that was lost, or is not let in (the password is another one now).
const CONNECTION: [&str; 2] = ["08", "28"];
/// And of PostgreSQL alone: no room (disk, memory, connections), an intervention (it stops, or somebody ended the statement),
/// the system below.
const TRANSIENT: [&str; 3] = ["53", "57", "58"];

/// PostgreSQL's codes (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn of_postgres(code: &str, text: String) -> Error {
    match code {
        "23505" => Error::Constraint(text),
        // Failed serialization, deadlock; a prepared statement that is another transaction's.
        "40001" | "40P01" | "26000" | "42P05" => Error::Conflict(text),
        // A lock that is not to be had; a server that is read-only (a standby).
        "55P03" | "25006" => Error::Unavailable(text),
        _ if CONNECTION.iter().chain(&TRANSIENT).any(|class| code.starts_with(class)) => Error::Unavailable(text),
        // Data or an index that cannot be read.
        "XX001" | "XX002" => Error::Corrupt(text),
        _ => Error::Sql(text),
    }
}

/// MySQL's numbers (<https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>).
fn of_mysql(number: u16, state: &str, text: String) -> Error {
    match number {
        1062 => Error::Constraint(text),
        // A wait for a lock that was too long or not wanted, a deadlock, one of named locks.
        1205 | 1213 | 3058 | 3572 => Error::Conflict(text),
        // Full of connections, stopping, read-only; no room (disk, table, memory, threads); ended by somebody or a limit.
        1040 | 1053 | 1077 | 1203 | 1290 | 1792 | 1836 | 1021 | 1026 | 1114 | 1037 | 1041 | 1135 | 1317 | 1927
        | 1969 | 3024 => Error::Unavailable(text),
        // A node of Galera that is alone says so too (1047).
        _ if CONNECTION.iter().any(|class| state.starts_with(class)) => Error::Unavailable(text),
        // Tables that cannot be read.
        1034 | 1035 | 1194 | 1712 => Error::Corrupt(text),
        _ => Error::Sql(text),
    }
}

#[cfg(test)]
mod tests;
