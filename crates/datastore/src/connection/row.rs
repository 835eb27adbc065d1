use std::time::SystemTime;

use jiff::tz::TimeZone;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::types::time::{OffsetDateTime, PrimitiveDateTime};
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};

use crate::{Error, time};

/// One row of an answer; columns are counted from 0. A NULL reads as the zero value, as it does in the reference, whose
/// columns are all nullable.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    /// With the zone that its times are in.
    MySql(MySqlRow, TimeZone),
}

/// The value of a column, not compared with the type that the database gives it: SQLite's columns have none.
macro_rules! get {
    ($row:expr, $column:expr, $type:ty) => {
        match $row {
            Row::Sqlite(row) => row.try_get_unchecked::<Option<$type>, _>($column),
            Row::Postgres(row) => row.try_get_unchecked::<Option<$type>, _>($column),
            Row::MySql(row, _) => row.try_get_unchecked::<Option<$type>, _>($column),
        }
    };
}

impl Row {
    pub(crate) fn is_null(&self, column: usize) -> Result<bool, Error> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get_raw(column)?.is_null(),
            Self::Postgres(row) => row.try_get_raw(column)?.is_null(),
            Self::MySql(row, _) => row.try_get_raw(column)?.is_null(),
        })
    }

    pub(crate) fn integer(&self, column: usize) -> Result<i64, Error> {
        let number = get!(self, column, i64)?.unwrap_or_default();
        Ok(match self {
            // The driver reads all integers as signed.
            Self::MySql(row, _) if number < 0 && row.try_column(column)?.type_info().name() == "INT UNSIGNED" => {
                number & i64::from(u32::MAX)
            }
            _ => number,
        })
    }

    pub(crate) fn flag(&self, column: usize) -> Result<bool, Error> {
        Ok(get!(self, column, bool)?.unwrap_or_default())
    }

    pub(crate) fn text(&self, column: usize) -> Result<String, Error> {
        Ok(self.text_or_null(column)?.unwrap_or_default())
    }

    pub(crate) fn text_or_null(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(get!(self, column, String)?)
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<Vec<u8>, Error> {
        Ok(get!(self, column, Vec<u8>)?.unwrap_or_default())
    }

    pub(crate) fn time(&self, column: usize) -> Result<Option<SystemTime>, Error> {
        match self {
            Self::Sqlite(_) => {
                let Some(text) = self.text_or_null(column)? else { return Ok(None) };
                time::parse(&text).map(Some).ok_or_else(|| Error::Corrupt(format!("unable to parse time {text:?}")))
            }
            Self::Postgres(row) => {
                Ok(row.try_get_unchecked::<Option<OffsetDateTime>, _>(column)?.map(SystemTime::from))
            }
            Self::MySql(row, zone) => {
                let civil = row.try_get_unchecked::<Option<PrimitiveDateTime>, _>(column)?;
                Ok(civil.map(|civil| time::from_civil(civil, zone)))
            }
        }
    }
}
