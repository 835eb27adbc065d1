//! What a MySQL or MariaDB server tells of itself. Each connection asks once: as long as it lives it leads to one process.

use crate::Error;
use crate::connection::Connection;
use crate::sql::Sql;

/// What a connection has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// What ends a SELECT that locks its rows or fails at once. Empty before MySQL 8 and MariaDB 10.3, which
    /// have no such thing.
    pub(super) share_lock: &'static str,
    /// When the process began, in seconds since 1970; 0 where it does not say.
    pub(crate) started: i64,
}

impl Connection {
    /// What the server tells, which is MySQL or MariaDB.
    pub(crate) async fn told(&mut self) -> Result<Told, Error> {
        if let Some(told) = self.told {
            return Ok(told);
        }
        let version = self.row(Sql::new(self.dialect().version()), |row| row.text(0)).await?.unwrap_or_default();
        let started = match self.row(Sql::new(started(&version)), |row| row.integer(0)).await {
            Ok(started) => started.unwrap_or_default(),
            // An old server that has no such table. What it does not say has to be found out in other ways.
            Err(Error::Sql(_)) => 0,
            Err(error) => return Err(error),
        };
        Ok(*self.told.insert(Told { share_lock: share_lock(&version), started }))
    }
}

/// Asks when the process of a server of this version began. Both moments are of one clock and one statement, so that the
/// answer stays the same however that clock is set. Everybody may ask.
fn started(version: &str) -> String {
    let schema = if is_mariadb(version) { "information_schema" } else { "performance_schema" };
    format!(
        "SELECT CAST(UNIX_TIMESTAMP() - CAST(variable_value AS SIGNED) AS SIGNED) FROM {schema}.global_status \
         WHERE variable_name = 'Uptime'"
    )
}

fn share_lock(version: &str) -> &'static str {
    // For replicas of long ago, MariaDB writes that it is MySQL 5.5.5 before its own version.
    let own = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = own.split('.').map_while(|number| number.parse::<u32>().ok());
    let release = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if is_mariadb(version) {
        if release >= (10, 3) { "LOCK IN SHARE MODE NOWAIT" } else { "" }
    } else if release >= (8, 0) {
        "FOR SHARE NOWAIT"
    } else {
        ""
    }
}

fn is_mariadb(version: &str) -> bool {
    version.contains("MariaDB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_for_locks_in_their_own_words() {
        for (version, words) in [
            ("10.11.6-MariaDB-0+deb12u1", "LOCK IN SHARE MODE NOWAIT"),
            ("5.5.5-10.4.32-MariaDB-log", "LOCK IN SHARE MODE NOWAIT"),
            ("10.3.1-MariaDB", "LOCK IN SHARE MODE NOWAIT"),
            ("11.4.2-MariaDB", "LOCK IN SHARE MODE NOWAIT"),
            ("8.0.36", "FOR SHARE NOWAIT"),
            ("8.4.0-commercial", "FOR SHARE NOWAIT"),
            ("10.0.1", "FOR SHARE NOWAIT"),
            // These would wait.
            ("10.2.44-MariaDB", ""),
            ("5.5.5-10.2.44-MariaDB-log", ""),
            ("5.7.44-log", ""),
            ("5.6.51", ""),
            ("", ""),
            ("unknown", ""),
        ] {
            assert_eq!(share_lock(version), words, "{version}");
        }
    }

    #[test]
    fn servers_are_asked_when_they_began_where_they_tell_it() {
        for (version, table) in [
            ("10.11.6-MariaDB-0+deb12u1", "information_schema.global_status"),
            ("8.0.36", "performance_schema.global_status"),
            ("5.7.44-log", "performance_schema.global_status"),
        ] {
            assert!(started(version).contains(&format!(" FROM {table} ")), "{version}");
        }
    }
}
