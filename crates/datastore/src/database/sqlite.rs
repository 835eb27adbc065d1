//! How a SQLite file is named, opened and recognised.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::Error;
use crate::connection::Connection;
use crate::database::{Identity, percent_decoded};

/// A SQLite file and how to connect to it.
pub(crate) struct File {
    options: SqliteConnectOptions,
    zone: TimeZone,
    log_statements: bool,
}

impl File {
    pub(crate) fn new(path: &Path, zone: TimeZone, log_statements: bool) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // What has been answered must outlive a power cut; commits that wait together are synced together.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        Self { options, zone, log_statements }
    }

    /// Opens the file for writing and makes it if there is none. The process's umask decides who may read it.
    pub(crate) async fn create(&self) -> Result<Connection, Error> {
        self.connect(self.options.clone().create_if_missing(true)).await
    }

    /// Opens the file for writing.
    pub(crate) async fn write(&self) -> Result<Connection, Error> {
        self.connect(self.options.clone()).await
    }

    /// Opens the file for reading. It is opened like a writer's, because a reader takes part in the write-ahead log, and
    /// then kept from writing.
    pub(crate) async fn read(&self) -> Result<Connection, Error> {
        self.connect(self.options.clone().pragma("query_only", "ON")).await
    }

    /// The file that stands behind the path now, None when there is none.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let metadata = std::fs::metadata(self.path()).ok()?;
        Some(Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.options.get_filename()
    }

    async fn connect(&self, options: SqliteConnectOptions) -> Result<Connection, Error> {
        Ok(Connection::sqlite(options.connect().await?, self.zone.clone()).logging(self.log_statements))
    }
}

/// The path that a connection string names: a plain path, or a `file:` URI as SQLite reads it
/// (<https://www.sqlite.org/uri.html>). Parameters of the reference's driver and of SQLite are accepted and ignored: those
/// that matter are set by us.
pub(crate) fn path_of(connection_string: &str) -> Result<PathBuf, Error> {
    let without_fragment = connection_string.split_once('#').map_or(connection_string, |(before, _)| before);
    let (name, parameters) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));

    let path = match name.split_once(':') {
        // A path such as `:memory:` or `./a:b` has no scheme.
        Some((scheme, rest)) if is_scheme(scheme) => {
            if !scheme.eq_ignore_ascii_case("file") {
                return Err(Error::UnsupportedScheme(scheme.to_owned()));
            }
            match rest.strip_prefix("//") {
                None => rest,
                Some(authority_and_path) => {
                    let slash = authority_and_path.find('/').unwrap_or(authority_and_path.len());
                    let (authority, path) = authority_and_path.split_at(slash);
                    if !matches!(authority, "" | "localhost") {
                        return Err(Error::NotAFile(connection_string.to_owned()));
                    }
                    path
                }
            }
        }
        _ => name,
    };
    let path = percent_decoded(path);

    // Each connection to a database in memory would have one of its own, and it would not outlive the process.
    let in_memory = path == ":memory:" || parameters.split('&').any(|p| p == "mode=memory" || p == "vfs=memdb");
    if in_memory || path.is_empty() {
        return Err(Error::NotAFile(connection_string.to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_and_file_uris() {
        for (string, path) in [
            ("datastore.sqlite3", "datastore.sqlite3"),
            ("./data/datastore.sqlite3", "./data/datastore.sqlite3"),
            ("/opt/spire/data/server/datastore.sqlite3", "/opt/spire/data/server/datastore.sqlite3"),
            ("data.db?_busy_timeout=100&cache=shared", "data.db"),
            ("file:data.db", "data.db"),
            ("FILE:data.db", "data.db"),
            ("file:/var/lib/a.db?_journal_mode=WAL", "/var/lib/a.db"),
            ("file:///var/lib/a%20b.db?mode=rwc#part", "/var/lib/a b.db"),
            ("file://localhost/var/lib/a.db", "/var/lib/a.db"),
            ("file:100%.db", "100%.db"),
            ("./a:b", "./a:b"),
        ] {
            assert_eq!(path_of(string).unwrap(), Path::new(path), "{string}");
        }
    }

    #[test]
    fn refuses_what_is_no_file_here() {
        for string in ["", ":memory:", "file::memory:?cache=shared", "file:a?mode=memory", "file:", "file://other/a.db"]
        {
            assert!(matches!(path_of(string), Err(Error::NotAFile(_))), "{string}");
        }
        let error = path_of("postgres://localhost/spire").unwrap_err();
        assert_eq!(error.to_string(), r#"datastore-sql: unsupported scheme "postgres""#);
    }
}
