//! One statement with its values: the one query builder of the room.

use std::borrow::Cow;
use std::time::SystemTime;

/// A statement and the values of its `?`, in order.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    pub(crate) text: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
    /// Whether the text comes again and again, so that keeping it prepared pays: what is not kept is a round trip more. The
    /// text of a long list of varying length does not, and would push the others out of the connection's cache.
    pub(crate) recurring: bool,
}

/// A value to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// Written in the form of the database's time columns.
    Time(SystemTime),
}

impl Sql {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), values: Vec::new(), recurring: true }
    }

    /// Binds the value of the next `?`.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds text, which may have `?` whose values are bound next.
    pub(crate) fn push(mut self, text: &str) -> Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Adds another piece with its values.
    pub(crate) fn append(mut self, piece: Self) -> Self {
        let Self { text, values, recurring } = piece;
        self.recurring &= recurring;
        self.values.extend(values);
        self.push(&text)
    }

    /// Adds `(?, ?, ...)` for `values`, of which there is at least one, to be looked for: the last one may be there several
    /// times, so that lists of few lengths are all that there are.
    pub(crate) fn list<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        let before = self.values.len();
        let mut sql = values.into_iter().fold(self, Self::bind);
        let mut count = sql.values.len() - before;
        match (LENGTHS.into_iter().find(|length| *length >= count), sql.values.last().cloned()) {
            (Some(length), Some(last)) => {
                sql.values.extend(std::iter::repeat_n(last, length - count));
                count = length;
            }
            _ => sql.recurring = false,
        }
        let text = sql.text.to_mut();
        text.push('(');
        push_marks(text, count);
        text.push(')');
        sql
    }

    /// Adds `(?, ?), (?, ?), ...` for `rows`, of which there is at least one.
    pub(crate) fn rows<const COLUMNS: usize>(mut self, rows: impl IntoIterator<Item = [Value; COLUMNS]>) -> Self {
        let text = self.text.to_mut();
        let mut count = 0;
        for row in rows {
            text.push_str(if count == 0 { "(" } else { ", (" });
            push_marks(text, COLUMNS);
            text.push(')');
            self.values.extend(row);
            count += 1;
        }
        self.recurring &= count <= FEW_ROWS;
        self
    }
}

/// Lengths of lists that are kept prepared; longer ones are as long as they are.
pub(crate) const LENGTHS: [usize; 4] = [1, 4, 16, 64];
/// Rows of a statement that is kept prepared.
const FEW_ROWS: usize = 3;

fn push_marks(text: &mut String, count: usize) {
    for i in 0..count {
        text.push_str(if i == 0 { "?" } else { ", ?" });
    }
}

/// Conditions that must all hold; none is no condition.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Sql>);

impl Conditions {
    pub(crate) fn add(&mut self, condition: Sql) {
        self.0.push(condition);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds ` WHERE a AND b` to `sql`.
    pub(crate) fn append_to(self, sql: Sql) -> Sql {
        self.0
            .into_iter()
            .enumerate()
            .fold(sql, |sql, (i, condition)| sql.push(if i == 0 { " WHERE " } else { " AND " }).append(condition))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<SystemTime> for Value {
    fn from(value: SystemTime) -> Self {
        Self::Time(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_values_stay_in_step() {
        let mut conditions = Conditions::default();
        conditions.add(Sql::new("a = ?").bind(1_i64));
        conditions.add(Sql::new("b IN ").list(["x", "y"]));
        let sql = conditions.append_to(Sql::new("SELECT c FROM t")).push(" LIMIT ?").bind(7_i64);
        assert_eq!(sql.text, "SELECT c FROM t WHERE a = ? AND b IN (?, ?, ?, ?) LIMIT ?");
        let text = |text: &str| Value::from(text);
        assert_eq!(sql.values, [1_i64.into(), text("x"), text("y"), text("y"), text("y"), 7_i64.into()]);
        assert!(sql.recurring, "a list of three has the same text");
        let sql = Sql::new("SELECT c FROM t WHERE a IN ").list(0..65_i64);
        assert_eq!(sql.values.len(), 65);
        assert!(!sql.recurring, "the list may be longer next time");

        let sql =
            Sql::new("INSERT INTO t (a, b) VALUES ").rows([[1_i64.into(), 2_i64.into()], [Value::Null, "x".into()]]);
        assert_eq!(sql.text, "INSERT INTO t (a, b) VALUES (?, ?), (?, ?)");
        assert_eq!(sql.values.len(), 4);
    }
}
