//! A database of a case's own, as other programs see it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::{USER, mariadb, postgres};

/// Where other programs find a database.
pub enum Place {
    /// The path of a SQLite file.
    File(PathBuf),
    /// The URL of a database of [`postgres`].
    Postgres(String),
    /// The URL of a database of [`mariadb`].
    MySql(String),
}

/// A transaction of another program that is still open.
pub enum Transaction {
    /// On a file. All other writers wait for it.
    File(SqliteConnection),
    /// On PostgreSQL.
    Postgres(PgConnection),
    /// On MariaDB.
    MySql(MySqlConnection),
}

impl Place {
    /// A database of [`postgres`], whether or not there is one of this name.
    pub fn of_postgres(name: &str) -> Self {
        Self::Postgres(format!("postgres://{USER}@127.0.0.1:{}/{name}?sslmode=disable", postgres().port))
    }

    /// A database of [`mariadb`], likewise.
    pub fn of_mariadb(name: &str) -> Self {
        Self::MySql(format!("mysql://{USER}@127.0.0.1:{}/{name}?ssl-mode=disabled", mariadb().port))
    }

    /// An empty database of [`postgres`].
    pub async fn new_postgres() -> Self {
        let name = new_name();
        Self::of_postgres("postgres").sql(&format!("CREATE DATABASE {name}")).await;
        Self::of_postgres(&name)
    }

    /// An empty database of [`mariadb`].
    pub async fn new_mariadb() -> Self {
        let name = new_name();
        Self::of_mariadb("mysql").sql(&format!("CREATE DATABASE {name} CHARACTER SET utf8")).await;
        Self::of_mariadb(&name)
    }

    /// The name of a server's database.
    pub fn database(&self) -> &str {
        match self {
            Self::File(_) => panic!("a file"),
            Self::Postgres(url) | Self::MySql(url) => url.rsplit_once('/').unwrap().1.split_once('?').unwrap().0,
        }
    }

    /// What another program sees or does: rows of text columns. NULL reads as `NULL`.
    pub async fn sql(&self, text: &str) -> Vec<Vec<String>> {
        match self {
            Self::File(path) => rows(path, text).await,
            Self::Postgres(url) => postgres_rows(url, text).await,
            Self::MySql(url) => mysql_rows(url, text).await,
        }
    }

    /// A transaction of another program, which is going to write.
    pub async fn transaction(&self) -> Transaction {
        let (mut transaction, begin) = match self {
            Self::File(path) => {
                let db = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
                (Transaction::File(db), "BEGIN IMMEDIATE")
            }
            Self::Postgres(url) => {
                (Transaction::Postgres(PgConnection::connect(url).await.unwrap()), "START TRANSACTION")
            }
            Self::MySql(url) => (Transaction::MySql(MySqlConnection::connect(url).await.unwrap()), "START TRANSACTION"),
        };
        transaction.execute(begin).await;
        transaction
    }
}

impl Transaction {
    /// Runs statements, separated by semicolons.
    pub async fn execute(&mut self, text: &str) {
        self.attempt(text).await.unwrap();
    }

    /// The same, where it may fail: the connection may be cut.
    pub async fn attempt(&mut self, text: &str) -> Result<(), sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
        match self {
            Self::File(db) => statement.execute(db).await.map(drop),
            Self::Postgres(db) => statement.execute(db).await.map(drop),
            Self::MySql(db) => statement.execute(db).await.map(drop),
        }
    }

    /// Makes it visible.
    pub async fn commit(mut self) {
        self.execute("COMMIT").await;
    }

    /// Takes it back.
    pub async fn roll_back(mut self) {
        self.execute("ROLLBACK").await;
    }
}

/// The name of a database that no other case of this process has.
pub fn new_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("case_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Runs a statement on a connection of its own to a file; NULL reads as `NULL`.
async fn rows(path: &Path, text: &str) -> Vec<Vec<String>> {
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
