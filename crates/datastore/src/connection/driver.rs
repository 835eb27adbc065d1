use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use sqlx::database::HasStatementCache;
use sqlx::mysql::{MySql, MySqlArguments, MySqlQueryResult, MySqlRow};
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteQueryResult, SqliteRow};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Arguments, Database};

use super::Row;
use crate::Error;
use crate::sql::{Sql, Value};
use crate::time;

/// What a statement, its values and the answer are in one database.
pub(super) trait Driver: Database + HasStatementCache {
    /// The statement with its values, times in `zone` where they have none of their own.
    fn statement(sql: Sql, zone: &TimeZone) -> Result<Statement<Self::Arguments>, Error>;

    /// How many rows the statement has found or changed.
    fn changed(result: &Self::QueryResult) -> u64;

    /// A row of the answer, in whose time columns `zone` is meant.
    fn row(row: Self::Row, zone: &TimeZone) -> Row;
}

/// A statement in a database's own form.
pub(super) struct Statement<A> {
    pub(super) text: Cow<'static, str>,
    pub(super) arguments: A,
    /// See [`Sql::recurring`].
    pub(super) recurring: bool,
}

impl Driver for Sqlite {
    fn statement(sql: Sql, zone: &TimeZone) -> Result<Statement<SqliteArguments>, Error> {
        let Sql { text, values, recurring } = sql;
        let mut arguments = SqliteArguments::default();
        for value in values {
            match value {
                Value::Null => arguments.add(None::<i64>),
                Value::Flag(flag) => arguments.add(flag),
                Value::Integer(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text),
                Value::Bytes(bytes) => arguments.add(bytes),
                Value::Time(at) => arguments.add(time::text(at, zone)),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(Statement { text, arguments, recurring })
    }

    fn changed(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }

    fn row(row: SqliteRow, _: &TimeZone) -> Row {
        Row::Sqlite(row)
    }
}

impl Driver for Postgres {
    /// Values are numbered here, and a NULL is written out: it would have a type, which need not be the column's.
    fn statement(sql: Sql, _: &TimeZone) -> Result<Statement<PgArguments>, Error> {
        let Sql { text, values, recurring } = sql;
        let mut arguments = PgArguments::default();
        let mut numbered = String::with_capacity(text.len() + 2 * values.len());
        let mut pieces = text.split('?');
        numbered.push_str(pieces.next().unwrap_or_default());
        let mut number = 0;
        for (piece, value) in pieces.zip(values) {
            if matches!(value, Value::Null) {
                numbered.push_str("NULL");
            } else {
                number += 1;
                // Writing to a string does not fail.
                let _ = write!(numbered, "${number}");
            }
            match value {
                Value::Null => Ok(()),
                Value::Flag(flag) => arguments.add(flag),
                Value::Integer(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text),
                Value::Bytes(bytes) => arguments.add(bytes),
                Value::Time(at) => arguments.add(OffsetDateTime::from(at)),
            }
            .map_err(sqlx::Error::Encode)?;
            numbered.push_str(piece);
        }
        Ok(Statement { text: numbered.into(), arguments, recurring })
    }

    fn changed(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }

    fn row(row: PgRow, _: &TimeZone) -> Row {
        Row::Postgres(row)
    }
}

impl Driver for MySql {
    fn statement(sql: Sql, zone: &TimeZone) -> Result<Statement<MySqlArguments>, Error> {
        let Sql { text, values, recurring } = sql;
        let mut arguments = MySqlArguments::default();
        for value in values {
            match value {
                Value::Null => arguments.add(None::<i64>),
                Value::Flag(flag) => arguments.add(flag),
                Value::Integer(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text),
                Value::Bytes(bytes) => arguments.add(bytes),
                Value::Time(at) => arguments.add(time::civil_text(at, zone)),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(Statement { text, arguments, recurring })
    }

    /// The driver asks the server for the rows that were found, not for those that were changed.
    fn changed(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }

    fn row(row: MySqlRow, zone: &TimeZone) -> Row {
        Row::MySql(row, zone.clone())
    }
}
