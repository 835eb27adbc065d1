//! What a server has stored, and which tables change between two looks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

/// The rows of each table, by its name; each row is text.
type Tables = BTreeMap<String, Vec<String>>;

/// The database of a server, in a file.
pub(super) struct Rows {
    db: SqliteConnection,
    /// SQLite's own count of what others have committed.
    version: i64,
    tables: Tables,
}

impl Rows {
    pub(super) async fn of(file: &Path) -> Result<Self> {
        let mut db = SqliteConnection::connect(&file.to_string_lossy()).await?;
        let (version, tables) = (version(&mut db).await?, read(&mut db).await?);
        Ok(Self { db, version, tables })
    }

    /// The tables of which a row came, went or became another one since the last look.
    pub(super) async fn changed(&mut self) -> Result<BTreeSet<String>> {
        let version = version(&mut self.db).await?;
        if version == self.version {
            return Ok(BTreeSet::new());
        }
        let before = std::mem::replace(&mut self.tables, read(&mut self.db).await?);
        self.version = version;
        let tables = self.tables.iter().filter(|(name, rows)| before.get(*name) != Some(rows));
        Ok(tables.map(|(name, _)| name.clone()).collect())
    }
}

async fn version(db: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query("PRAGMA data_version").fetch_one(db).await?.try_get(0)?)
}

async fn read(db: &mut SqliteConnection) -> Result<Tables> {
    let mut tables = Tables::new();
    // Without SQLite's own.
    let own = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    for table in column(db, own).await? {
        let columns = column(db, &format!("SELECT name FROM pragma_table_info('{table}')")).await?;
        let text = columns.iter().map(|name| format!("quote(\"{name}\")")).collect::<Vec<_>>().join(" || ' ' || ");
        tables.insert(table.clone(), column(db, &format!("SELECT {text} FROM \"{table}\"")).await?);
    }
    Ok(tables)
}

async fn column(db: &mut SqliteConnection, query: &str) -> Result<Vec<String>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch_all(db).await.context(query.to_owned())?;
    Ok(rows.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?)
}
