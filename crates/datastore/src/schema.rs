//! The schema is the reference's, version 25, to the letter: both kinds of server open each other's databases.

mod unfinished;

use std::time::SystemTime;

use crate::Error;
use crate::connection::Connection;
use crate::sql::Sql;

/// The version that this room writes.
pub(crate) const VERSION: i64 = 25;
/// What servers that prepare a schema at the same time lock; SQLite and PostgreSQL change it in a transaction, MySQL
/// statement by statement.
const MIGRATING: u64 = 0x6d69_6772_6174_6521;
/// The oldest version that can be brought up to [`VERSION`] from here.
pub(crate) const OLDEST: i64 = 23;
/// The minor release of SPIRE 1 that brought [`OLDEST`].
const OLDEST_SINCE: u64 = 8;
/// What is stored as the program that last prepared the schema. The reference refuses a database whose schema differs
/// from its own unless this stands within one minor version of it.
const CODE_VERSION: &str = steeple_runtime::COMPATIBLE;

/// Brings the database to [`VERSION`]: creates an empty one, migrates an old one, leaves a current one as it is.
pub(crate) async fn prepare(db: &mut Connection, now: SystemTime, disable_migration: bool) -> Result<(), Error> {
    loop {
        // Decided anew under the write lock at each step: another server may be doing the same.
        db.begin_write().await?;
        db.lock([MIGRATING]).await?;
        let done = match stored(db).await? {
            None => create(db, now).await.map(|()| true)?,
            Some(stored) => step(db, now, disable_migration, stored).await?,
        };
        db.commit().await?;
        if done {
            return Ok(());
        }
    }
}

/// The row of `migrations`.
pub(crate) struct Stored {
    pub(crate) version: i64,
    pub(crate) code_version: String,
}

/// What the database says of its schema; None when it has none that is finished.
pub(crate) async fn stored(db: &mut Connection) -> Result<Option<Stored>, Error> {
    if !db.has_table("migrations").await? {
        return Ok(None);
    }
    let stored = db
        .row(Sql::new("SELECT version, code_version FROM migrations ORDER BY id LIMIT 1"), |row| {
            Ok(Stored { version: row.integer(0)?, code_version: row.text(1)? })
        })
        .await?;
    Ok(match stored {
        // The row comes last.
        None if !db.dialect().undoes_changes_of_schema() => None,
        // A table without its row has never been migrated by anyone.
        stored => Some(stored.unwrap_or(Stored { version: 0, code_version: String::new() })),
    })
}

async fn create(db: &mut Connection, now: SystemTime) -> Result<(), Error> {
    tracing::info!(target: "sql", "Initializing new database");
    let script = unfinished::rest(db).await?;
    if !script.is_empty() {
        db.execute_script(script).await?;
    }
    let insert = "INSERT INTO migrations (created_at, updated_at, version, code_version) VALUES (?, ?, ?, ?)";
    db.execute(Sql::new(insert).bind(now).bind(now).bind(VERSION).bind(CODE_VERSION)).await?;
    Ok(())
}

/// One step towards [`VERSION`]; returns whether it is reached.
async fn step(db: &mut Connection, now: SystemTime, disable_migration: bool, stored: Stored) -> Result<bool, Error> {
    let Stored { version, code_version } = stored;
    if version < OLDEST {
        tracing::error!(
            target: "sql", schema = version, code_version, releases = releases_between(&code_version).join(", "),
            "Stop all servers, start the newest SPIRE server of each of these releases on this database once, one after \
             the other, then this one"
        );
        return Err(Error::SchemaTooOld(version));
    }
    let stored_version = CodeVersion::parse(&code_version).ok_or(Error::CodeVersion(code_version))?;
    let own_version = CodeVersion::parse(CODE_VERSION).ok_or(Error::CodeVersion(CODE_VERSION.to_owned()))?;

    if version == VERSION {
        // Never lowered: an older program of a rolling upgrade would take the newer one's word back.
        if own_version > stored_version {
            record(db, now, VERSION).await?;
        }
        return Ok(true);
    }
    if version > VERSION {
        if !own_version.is_compatible_with(&stored_version) {
            return Err(Error::SchemaIncompatible);
        }
        tracing::warn!(target: "sql", schema = version, "Database schema is ahead of code, upgrading code is recommended");
        return Ok(true);
    }
    // The reference goes on when its version is near enough, and fails at the first row that needs the missing column.
    if disable_migration {
        return Err(Error::MigrationDisabled);
    }
    tracing::info!(target: "sql", schema = version, "Migrating version");
    let [agent_version, additional_attributes] = db.dialect().added_columns();
    let (table, column, spelled) = match version {
        23 => ("attested_node_entries", "agent_version", agent_version),
        _ => ("registered_entries", "additional_attributes", additional_attributes),
    };
    // Whoever began this step may have died before he could write that down.
    if db.dialect().undoes_changes_of_schema() || !db.has_column(table, column).await? {
        db.execute(Sql::new(format!("ALTER TABLE {table} ADD {spelled}"))).await?;
    }
    record(db, now, version + 1).await?;
    Ok(version + 1 == VERSION)
}

/// Writes that a program of this version has prepared the schema, if it is newer than the one that has.
pub(crate) async fn keep_code_version(db: &mut Connection, now: SystemTime, code_version: &str) -> Result<(), Error> {
    let parsed = |text: &str| CodeVersion::parse(text).ok_or_else(|| Error::CodeVersion(text.to_owned()));
    let Some(stored) = stored(db).await? else { return Ok(()) };
    if parsed(code_version)? > parsed(&stored.code_version)? {
        let update = "UPDATE migrations SET updated_at = ?, code_version = ?";
        db.execute(Sql::new(update).bind(now).bind(code_version)).await?;
    }
    Ok(())
}

/// The releases that lead from the one that prepared the schema to one that can be migrated from here: the reference is
/// upgraded one minor release at a time.
fn releases_between(code_version: &str) -> Vec<String> {
    let minor = match CodeVersion::parse(code_version) {
        Some(CodeVersion { release: [1, minor, _], .. }) => minor.min(OLDEST_SINCE - 1),
        // Before the first one, or unknown: the last of the steps is certain.
        _ => OLDEST_SINCE - 1,
    };
    (minor + 1..=OLDEST_SINCE).map(|minor| format!("1.{minor}")).collect()
}

async fn record(db: &mut Connection, now: SystemTime, version: i64) -> Result<(), Error> {
    let update = "UPDATE migrations SET updated_at = ?, version = ?, code_version = ?";
    db.execute(Sql::new(update).bind(now).bind(version).bind(CODE_VERSION)).await.map(drop)
}

/// A semantic version (<https://semver.org>), as far as comparing the reference's releases needs it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CodeVersion {
    release: [u64; 3],
    /// A release follows its pre-releases.
    is_release: bool,
    pre_release: String,
}

impl CodeVersion {
    /// None is the oldest of all, as in the reference.
    fn parse(text: &str) -> Option<Self> {
        let text = if text.is_empty() { "0.0.0" } else { text };
        let without_build = text.split_once('+').map_or(text, |(before, _)| before);
        let (release, pre_release) = match without_build.split_once('-') {
            Some((_, "")) => return None,
            Some((release, pre_release)) => (release, pre_release),
            None => (without_build, ""),
        };
        let mut numbers = release.split('.').map(|number| number.parse::<u64>().ok());
        let release = [numbers.next()??, numbers.next()??, numbers.next()??];
        if numbers.next().is_some() {
            return None;
        }
        Some(Self { release, is_release: pre_release.is_empty(), pre_release: pre_release.to_owned() })
    }

    /// Same major version, and at most one minor version apart.
    fn is_compatible_with(&self, other: &Self) -> bool {
        let ([major, minor, _], [other_major, other_minor, _]) = (self.release, other.release);
        major == other_major && minor.abs_diff(other_minor) <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_semantic_versions_do() {
        let parse = |text| CodeVersion::parse(text).unwrap();
        assert!(parse("1.15.3") > parse("1.15.3-dev-0a1b2c3"));
        assert!(parse("1.15.3-dev-0a1b2c3") > parse("1.15.2"));
        assert!(parse("1.9.10") > parse("1.9.9"));
        assert!(parse("1.14.9").is_compatible_with(&parse("1.15.0")));
        assert!(!parse("1.13.0").is_compatible_with(&parse("1.15.0")));
        assert!(!parse("2.15.0").is_compatible_with(&parse("1.15.0")));
        assert_eq!(releases_between("1.5.6"), ["1.6", "1.7", "1.8"]);
        assert_eq!(releases_between("1.7.6"), ["1.8"]);
        assert_eq!(releases_between("unknown"), ["1.8"]);
        assert!(parse("") < parse("0.0.1"));
        for text in ["1.15", "1.15.3.4", "v1.15.3", "1.15.x", "1.15.3-"] {
            assert!(CodeVersion::parse(text).is_none(), "{text}");
        }
    }
}
