/// What differs between databases in the SQL that this room writes: a value, asked from the first statement on.
///
/// Statements are written with `?` for each bound value, without quoted names (no column of the schema is a reserved
/// word in SQLite, PostgreSQL or MySQL), without RETURNING (MySQL has none) and with `WITH ... AS (VALUES ...)` for
/// lists of tuples. What is left is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SQLite 3.38 or newer.
    Sqlite,
}

impl Dialect {
    /// The value of `database_type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite3",
        }
    }

    /// The statement that asks for the version of the database.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT sqlite_version()",
        }
    }

    /// The most values that one statement can bind.
    pub(crate) fn max_binds(self) -> usize {
        match self {
            Self::Sqlite => 32_766,
        }
    }

    /// Opens a transaction that writes. On SQLite it takes the write lock at once: a transaction that starts as a
    /// reader cannot wait for it later.
    pub(crate) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// Opens a transaction that sees one state of the database.
    pub(crate) fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
        }
    }

    /// Ends a SELECT of rows that this transaction is going to change. SQLite has one writer and needs no row locks.
    pub(crate) fn row_lock(self) -> &'static str {
        match self {
            Self::Sqlite => "",
        }
    }

    /// Seconds since 1970 of a time column, so that times are compared as instants and never as text.
    pub(crate) fn seconds_of(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("unixepoch({column}, 'auto')"),
        }
    }

    /// `column` in a form for which the planner uses no index. Without statistics SQLite takes whichever of two
    /// indexes was created last, and the reference creates them in random order.
    pub(crate) fn unindexed(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("+{column}"),
        }
    }

    /// Joins a short list of wanted values with a table that has an index for them. SQLite would rather read the whole
    /// table in order when the answer is to be ordered or grouped; this keeps the list outermost.
    pub(crate) fn join_from_list(self) -> &'static str {
        match self {
            Self::Sqlite => "CROSS JOIN",
        }
    }

    /// The largest id that `table` ever had, which pruning does not lower, as a SELECT of at most one row.
    pub(crate) fn newest_id(self, table: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'"),
        }
    }

    /// The id of the row that this connection inserted last.
    pub(crate) fn last_id(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT last_insert_rowid()",
        }
    }

    /// A number that changes when another connection, of this process or another, has committed.
    pub(crate) fn data_version(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA data_version",
        }
    }

    /// Counts the tables of this name, as a SELECT of one row.
    pub(crate) fn table_exists(self, table: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'"),
        }
    }

    /// The statements that create the schema.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Sqlite => include_str!("schema/sqlite.sql"),
        }
    }
}
