//! Several servers on one database.

mod away;
mod latency;
mod outages;
mod reach;
mod start;
mod status;

use anyhow::Result;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use steeple_testkit::database::{USER, mariadb, postgres};
use steeple_tests::{Binaries, Database, Scratch, skipped_on_the_reference};

/// A database that no other case has.
#[derive(Clone)]
struct Shared {
    /// For the configuration of a server.
    database: Database,
    /// Where the database server listens, on 127.0.0.1; 0 for a file.
    port: u16,
    /// The name of the database, or the path of the file.
    name: String,
}

impl Shared {
    /// A file that is not there yet, for servers of this machine.
    fn on_sqlite(scratch: &Scratch) -> Self {
        let name = scratch.path().join("shared.sqlite3").to_string_lossy().into_owned();
        Self { database: Database { kind: "sqlite3", connection_string: name.clone() }, port: 0, name }
    }

    /// On PostgreSQL.
    async fn on_postgres(scratch: &Scratch) -> Result<Self> {
        let (port, name) = (postgres().port, name(scratch));
        let url = postgres_url(port, "postgres");
        let mut db = PgConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut db).await?;
        Ok(Self { database: at_postgres(port, &name), port, name })
    }

    /// On MariaDB.
    async fn on_mariadb(scratch: &Scratch) -> Result<Self> {
        let (port, name) = (mariadb().port, name(scratch));
        let mut db = MySqlConnection::connect(&mysql_url(port, "mysql")).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name} CHARACTER SET utf8"))).execute(&mut db).await?;
        Ok(Self { database: at_mariadb(port, &name), port, name })
    }

    /// The same database, as it is reached at another port.
    fn through(&self, port: u16) -> Database {
        match self.database.kind {
            "postgres" => at_postgres(port, &self.name),
            _ => at_mariadb(port, &self.name),
        }
    }

    /// The first column of a query, which is text.
    async fn column(&self, query: &str) -> Result<Vec<String>> {
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

/// The directory of a case has a name that no other has.
fn name(scratch: &Scratch) -> String {
    let name = scratch.path().file_name().unwrap_or_default().to_string_lossy();
    let letters = name.bytes().map(|byte| format!("{byte:02x}"));
    format!("case_{}", letters.collect::<String>())
}

/// A database of PostgreSQL as it is reached at this port.
fn at_postgres(port: u16, name: &str) -> Database {
    let connection_string = format!("host=127.0.0.1 port={port} user={USER} dbname={name} sslmode=disable");
    Database { kind: "postgres", connection_string }
}

/// Likewise of MariaDB.
fn at_mariadb(port: u16, name: &str) -> Database {
    Database { kind: "mysql", connection_string: format!("{USER}@tcp(127.0.0.1:{port})/{name}?parseTime=true") }
}

fn postgres_url(port: u16, name: &str) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/{name}?sslmode=disable")
}

fn mysql_url(port: u16, name: &str) -> String {
    format!("mysql://{USER}@127.0.0.1:{port}/{name}?ssl-mode=disabled")
}

/// Whether the daemons under test know what the reference does not; says so where they do not.
fn is_ours(what: &str) -> Result<bool> {
    let Binaries { server, agent } = Binaries::find()?;
    let ours = !server.is_reference && !agent.is_reference;
    if !ours {
        skipped_on_the_reference(what, "it is ours alone");
    }
    Ok(ours)
}
