use std::time::SystemTime;

use steeple_runtime::clock::unix_seconds;

use crate::sql::{Sql, Value};

/// What differs between databases in the SQL that this room writes: a value, asked from the first statement on.
///
/// Statements are written with `?` for each bound value, without quoted names (no column of the schema is a reserved
/// word in SQLite, PostgreSQL or MySQL), and without common table expressions (MySQL 5.7 has none). What is left is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SQLite 3.38 or newer.
    Sqlite,
    /// PostgreSQL 12 or newer.
    Postgres,
    /// MySQL 5.7 or newer, and MariaDB.
    MySql,
}

impl Dialect {
    /// The value of `database_type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite3",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// Whether the database is a server, with connections that can be lost and with several writers.
    pub(crate) fn is_server(self) -> bool {
        match self {
            Self::Sqlite => false,
            Self::Postgres | Self::MySql => true,
        }
    }

    /// Whether changes of the schema belong to the transaction, and go with it.
    pub(crate) fn undoes_changes_of_schema(self) -> bool {
        match self {
            Self::Sqlite | Self::Postgres => true,
            Self::MySql => false,
        }
    }

    /// The columns that versions 24 and 25 of the schema have added. SQLite keeps the text, and the reference quotes names.
    pub(crate) fn added_columns(self) -> [&'static str; 2] {
        match self {
            Self::Sqlite => [r#""agent_version" varchar(255)"#, r#""additional_attributes" blob"#],
            Self::Postgres => ["agent_version text", "additional_attributes bytea"],
            Self::MySql => ["agent_version varchar(255)", "additional_attributes longblob"],
        }
    }

    /// The statement that asks for the version of the database.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT sqlite_version()",
            Self::Postgres => "SHOW server_version",
            Self::MySql => "SELECT VERSION()",
        }
    }

    /// Whether a statement that writes can return what it has written (`RETURNING`). MariaDB has that, MySQL has not.
    pub(crate) fn returns(self) -> bool {
        match self {
            Self::Sqlite | Self::Postgres => true,
            Self::MySql => false,
        }
    }

    /// The most values that one statement can bind.
    pub(crate) fn max_binds(self) -> usize {
        match self {
            Self::Sqlite => 32_766,
            Self::Postgres | Self::MySql => 65_535,
        }
    }

    /// Opens a transaction that writes. On SQLite it takes the write lock at once: a transaction that starts as a
    /// reader cannot wait for it later. On PostgreSQL, what is read after a lock was waited for has to be what its last
    /// holder has left, whatever the database has for isolation; and a lock is waited for as long as on MySQL, and not until
    /// the statement counts as one that is not answered, unless somebody has said how long.
    pub(crate) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SELECT set_config('lock_timeout', '50s', true) WHERE current_setting('lock_timeout') = '0'"
            }
            Self::MySql => "START TRANSACTION",
        }
    }

    /// Opens a transaction that sees one state of the database, whatever the server or the session has for isolation: on
    /// MySQL a snapshot would have no effect with READ COMMITTED.
    pub(crate) fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Self::MySql => {
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
            }
        }
    }

    /// Ends a SELECT of rows that this transaction is going to change. SQLite has one writer and needs no row locks.
    pub(crate) fn row_lock(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::MySql => " FOR UPDATE",
        }
    }

    /// The condition that a time column is before `at`. SQLite's times are text, of zones that may differ, and have to be
    /// compared as seconds.
    pub(crate) fn earlier(self, column: &str, at: SystemTime) -> Sql {
        match self {
            Self::Sqlite => Sql::new(format!("unixepoch({column}, 'auto') < ?")).bind(unix_seconds(at)),
            Self::Postgres | Self::MySql => Sql::new(format!("{column} < ?")).bind(at),
        }
    }

    /// The condition that the columns are those of one of the rows `wanted`, of which there is at least one, in a FROM
    /// and WHERE clause of `table`, which has an index for them. SQLite would rather read the whole table in order when the
    /// answer is to be ordered or grouped, and looks up no list of tuples; there the list is a table, and outermost.
    pub(crate) fn among<const COLUMNS: usize>(
        self,
        select: &str,
        table: &str,
        join: &str,
        columns: [&str; COLUMNS],
        wanted: impl IntoIterator<Item = [Value; COLUMNS]>,
    ) -> Sql {
        match self {
            Self::Sqlite => {
                let names = (1..=COLUMNS).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
                let on: Vec<_> = (1..).zip(columns).map(|(i, column)| format!("{column} = wanted.c{i}")).collect();
                let on = on.join(" AND ");
                Sql::new(format!("WITH wanted({names}) AS (VALUES "))
                    .rows(wanted)
                    .push(&format!(") {select} FROM wanted CROSS JOIN {table} ON {on}{join}"))
            }
            Self::Postgres | Self::MySql => {
                let columns = columns.join(", ");
                Sql::new(format!("{select} FROM {table}{join} WHERE ({columns}) IN (")).rows(wanted).push(")")
            }
        }
    }

    /// The largest id that `table` has or had, as a SELECT of at most one row. SQLite keeps it when rows are pruned;
    /// elsewhere it is that of the rows that are there.
    pub(crate) fn newest_id(self, table: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'"),
            Self::Postgres | Self::MySql => format!("SELECT id FROM {table} ORDER BY id DESC LIMIT 1"),
        }
    }

    /// The largest id that `table` has given, as a SELECT of one row at most, whatever has become of its rows. 0 or less than
    /// that where the account may not know it, and where MySQL 8 has last looked a while ago.
    pub(crate) fn last_given_id(self, table: &str) -> String {
        match self {
            Self::Sqlite => self.newest_id(table),
            Self::Postgres => format!(
                "SELECT MAX(last_value) FROM pg_sequences \
                 WHERE schemaname = current_schema() AND sequencename = '{table}_id_seq'"
            ),
            Self::MySql => format!(
                "SELECT CAST(auto_increment AS SIGNED) - 1 FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = '{table}'"
            ),
        }
    }

    /// A text column as it sorts and compares byte by byte, whatever its collation.
    pub(crate) fn bytewise(self, column: &str) -> String {
        match self {
            Self::Sqlite => column.to_owned(),
            Self::Postgres => format!("{column} COLLATE \"C\""),
            Self::MySql => format!("CAST({column} AS BINARY)"),
        }
    }

    /// The condition that two columns, which have an index together, stand behind a pair of values. MySQL looks up no row
    /// of values in an index, and has the first value twice.
    pub(crate) fn behind_pair(self, first: &str, second: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("({first}, {second}) > (?, ?)"),
            Self::MySql => format!("({first} > ? OR ({first} = ? AND {second} > ?))"),
        }
    }

    /// Has the ids of `table` go on behind the largest one, where rows that came with their ids have not done so.
    pub(crate) fn go_on_behind(self, table: &str) -> Option<String> {
        match self {
            Self::Sqlite | Self::MySql => None,
            Self::Postgres => Some(format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), MAX(id)) FROM {table} HAVING MAX(id) > 0"
            )),
        }
    }

    /// The id of the row that this connection inserted last.
    pub(crate) fn last_id(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT last_insert_rowid()",
            Self::Postgres => "SELECT lastval()",
            Self::MySql => "SELECT LAST_INSERT_ID()",
        }
    }

    /// Counts the tables of this name, as a SELECT of one row.
    pub(crate) fn table_exists(self, table: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'"),
            Self::Postgres => format!(
                "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ANY (current_schemas(false)) \
                 AND table_name = '{table}'"
            ),
            Self::MySql => format!(
                "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
                 AND table_name = '{table}'"
            ),
        }
    }

    /// The statements that create the schema.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Sqlite => include_str!("schema/sqlite.sql"),
            Self::Postgres => include_str!("schema/postgres.sql"),
            Self::MySql => include_str!("schema/mysql.sql"),
        }
    }
}
