//! Where the database is, and how it is connected to.

pub(crate) mod mysql;
mod password;
pub(crate) mod postgres;
mod roots;
pub(crate) mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use steeple_runtime::Clock;

use crate::Error;
use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::sql::Sql;

pub use mysql::{MySqlServer, TlsFiles};
pub use password::PasswordFile;
pub use postgres::PostgresServer;

/// A database and how to connect to it. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Database {
    /// A file of this machine.
    Sqlite(Arc<sqlite::File>),
    /// A server, or what stands before several.
    Postgres(PostgresServer, Clock),
    /// MySQL or MariaDB.
    MySql(MySqlServer, Clock),
}

/// What tells one source of rows from another behind the same name. A connection keeps what it has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// A server that has not let us in by then will not.
const CONNECT: Duration = Duration::from_secs(10);

impl Database {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(..) => Dialect::Postgres,
            Self::MySql(..) => Dialect::MySql,
        }
    }

    /// Connects for writing; a SQLite file is made if there is none.
    pub(crate) async fn create(&self) -> Result<Connection, Error> {
        match self {
            Self::Sqlite(file) => file.create().await,
            _ => self.write().await,
        }
    }

    /// Finds out what has to be known of the way to a server, with a connection that is open.
    pub(crate) async fn find_out(&self, connection: &mut Connection) -> Result<(), Error> {
        match self {
            Self::Postgres(server, _) if !server.lent().is_known() => {
                crate::connection::find_out(connection, self.write().await?).await
            }
            _ => Ok(()),
        }
    }

    /// Connects for writing.
    pub(crate) async fn write(&self) -> Result<Connection, Error> {
        match self {
            Self::Sqlite(file) => file.write().await,
            Self::Postgres(server, clock) => {
                let connected = Box::pin(server.connect(clock)).await?;
                let connection = Connection::postgres(connected, clock.clone(), server.lent().clone());
                Ok(connection.logging(server.is_logged()))
            }
            Self::MySql(server, clock) => {
                let options = server.options()?;
                let connected = within(clock, CONNECT, options.connect()).await;
                let connected = connected.map_err(|it| unreachable(it, CONNECT, &server.address(), TLS_OF_MYSQL))?;
                let connection = Connection::mysql(connected, clock.clone(), server.zone().clone());
                let mut connection = connection.logging(server.is_logged());
                if let Some(session) = server.session() {
                    connection.execute(Sql::new(session)).await?;
                }
                Ok(connection)
            }
        }
    }

    /// Connects for reading.
    pub(crate) async fn read(&self) -> Result<Connection, Error> {
        match self {
            Self::Sqlite(file) => file.read().await,
            _ => self.write().await,
        }
    }

    /// The file that stands behind a SQLite path now, None when there is none. Servers tell only those that are connected
    /// to them.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Sqlite(file) => file.identity(),
            Self::Postgres(..) | Self::MySql(..) => None,
        }
    }

    /// The error with the file that it is about, where the database does not name it.
    pub(crate) fn named(&self, error: Error) -> Error {
        match self {
            Self::Sqlite(file) => error.at(file.path()),
            Self::Postgres(..) | Self::MySql(..) => error,
        }
    }
}

/// On the heap: what it takes to connect is not to be part of every future that may have to.
async fn within<T>(
    clock: &Clock,
    timeout: Duration,
    connecting: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Option<sqlx::Error>> {
    Box::pin(clock.within(timeout, connecting)).await.ok_or(None)?.map_err(Some)
}

/// What the reference's drivers say where TLS is asked for in vain.
const TLS_OF_POSTGRES: &str = "pq: SSL is not enabled on the server";
const TLS_OF_MYSQL: &str = "TLS requested but server does not support TLS";

/// Why there is no connection; no error for a server that did not answer. The texts are those of the reference's drivers,
/// which name the address.
fn unreachable(error: Option<sqlx::Error>, timeout: Duration, address: &str, without_tls: &str) -> Error {
    match error {
        None => Error::Unavailable(format!("the database did not answer within {} s: {address}", timeout.as_secs())),
        // The driver's TLS tells so of what it cannot accept, and of what is not accepted of it.
        Some(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            Error::Unavailable(format!("dial {address}: tls: {error}"))
        }
        Some(sqlx::Error::Io(error)) => {
            let text = error.to_string();
            // The system's number stands behind its text.
            let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
            Error::Unavailable(format!("dial {address}: connect: {text}"))
        }
        Some(sqlx::Error::Tls(error)) if error.to_string() == "server does not support TLS" => {
            Error::Unavailable(without_tls.to_owned())
        }
        Some(error) => error.into(),
    }
}

/// Decodes `%20`; what is not two hexadecimal digits stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
