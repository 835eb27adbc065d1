//! Databases that several servers share.

use anyhow::Result;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use steeple_testkit::database::{USER, mariadb, postgres};

use crate::{Database, Scratch};

/// A database that no other case has.
#[derive(Clone)]
pub struct Shared {
    /// For the configuration of a server.
    pub database: Database,
    /// Where the database server listens, on 127.0.0.1; 0 for a file.
    pub port: u16,
    /// The name of the database, or the path of the file.
    pub name: String,
}

impl Shared {
    /// A file that is not there yet, for servers of this machine.
    pub fn on_sqlite(scratch: &Scratch) -> Self {
        let name = scratch.path().join("shared.sqlite3").to_string_lossy().into_owned();
        Self { database: Database { kind: "sqlite3", connection_string: name.clone() }, port: 0, name }
    }

    /// On PostgreSQL.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn on_postgres(scratch: &Scratch) -> Result<Self> {
        let (port, name) = (postgres().port, database_name(scratch));
        let url = postgres_url(port, "postgres");
        let mut db = PgConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut db).await?;
        Ok(Self { database: at_postgres(port, &name), port, name })
    }

    /// On MariaDB.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn on_mariadb(scratch: &Scratch) -> Result<Self> {
        let (port, name) = (mariadb().port, database_name(scratch));
        let mut db = MySqlConnection::connect(&mysql_url(port, "mysql")).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name} CHARACTER SET utf8"))).execute(&mut db).await?;
        Ok(Self { database: at_mariadb(port, &name), port, name })
    }

    /// The same database, as it is reached at another port.
    pub fn through(&self, port: u16) -> Database {
        match self.database.kind {
            "postgres" => at_postgres(port, &self.name),
            _ => at_mariadb(port, &self.name),
        }
    }

    /// The same by an account that may read and write the rows of the tables that there are, and may not make any.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn of_rows_alone(&self) -> Result<Database> {
        let (name, user, rights) = (&self.name, format!("of_{}", self.name), "SELECT, INSERT, UPDATE, DELETE");
        let statements = match self.database.kind {
            "postgres" => format!(
                "CREATE ROLE {user} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
                 GRANT {rights} ON ALL TABLES IN SCHEMA public TO {user}; \
                 GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"
            ),
            _ => format!("CREATE USER {user}@127.0.0.1; GRANT {rights} ON {name}.* TO {user}@127.0.0.1"),
        };
        self.column(&statements).await?;
        let Database { kind, connection_string } = &self.database;
        Ok(Database { kind, connection_string: connection_string.replace(USER, &user) })
    }

    /// The first column of a query, which is text.
    ///
    /// # Errors
    /// The database refuses it.
    pub async fn column(&self, query: &str) -> Result<Vec<String>> {
        let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        Ok(match self.database.kind {
            "postgres" => {
                let mut db = PgConnection::connect(&postgres_url(self.port, &self.name)).await?;
                let rows = query.fetch_all(&mut db).await?;
                rows.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?
            }
            "sqlite3" => {
                let mut db = SqliteConnection::connect(&self.name).await?;
                let rows = query.fetch_all(&mut db).await?;
                rows.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?
            }
            _ => {
                let mut db = MySqlConnection::connect(&mysql_url(self.port, &self.name)).await?;
                let rows = query.fetch_all(&mut db).await?;
                rows.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?
            }
        })
    }
}

/// A name for a database that no other case uses: the directory of a case has a name that no other has.
fn database_name(scratch: &Scratch) -> String {
    let name = scratch.path().file_name().unwrap_or_default().to_string_lossy();
    let letters = name.bytes().map(|byte| format!("{byte:02x}"));
    format!("case_{}", letters.collect::<String>())
}

/// A database of PostgreSQL as it is reached at this port.
pub fn at_postgres(port: u16, name: &str) -> Database {
    let connection_string = format!("host=127.0.0.1 port={port} user={USER} dbname={name} sslmode=disable");
    Database { kind: "postgres", connection_string }
}

/// Likewise of MariaDB.
pub fn at_mariadb(port: u16, name: &str) -> Database {
    Database { kind: "mysql", connection_string: format!("{USER}@tcp(127.0.0.1:{port})/{name}?parseTime=true") }
}

/// The database for a client of the case's own.
pub fn postgres_url(port: u16, name: &str) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/{name}?sslmode=disable")
}

/// Likewise of MariaDB.
pub fn mysql_url(port: u16, name: &str) -> String {
    format!("mysql://{USER}@127.0.0.1:{port}/{name}?ssl-mode=disabled")
}
