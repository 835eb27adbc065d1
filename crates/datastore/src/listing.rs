//! What all lists have in common: pages, and filters that compare sets.

use crate::Error;
use crate::dialect::Dialect;
use crate::sql::{Sql, Value};

/// A part of a list, in the order of the rows' ids. The default is the whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The most rows to return; 0 returns all of them and ignores the token.
    pub size: u32,
    /// Where to go on: [`Listing::next_page_token`] of the page before, empty at the first.
    pub token: String,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The token of the next page. Empty without paging and after an empty page; a last page that has rows still has a
    /// token, as in the reference.
    pub next_page_token: String,
}

/// How the set of a row is compared with the set of a filter. Repeated values count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Both sets are equal.
    Exact,
    /// The row's set is not empty and holds nothing that the filter does not name.
    Subset,
    /// The row's set holds all that the filter names.
    Superset,
    /// The row's set holds something that the filter names.
    Any,
}

/// A filter that compares sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchSet<T> {
    /// The set to compare with.
    pub items: Vec<T>,
    /// How to compare.
    pub behavior: Match,
}

impl Match {
    /// The behaviour with the API's number `value`, for a filter of entries by selectors.
    pub fn of_entry_selectors(value: i32) -> Result<Self, Error> {
        Self::parse("selectors match", value)
    }

    /// The behaviour with the API's number `value`, for a filter of entries by trust domains they federate with.
    pub fn of_federates_with(value: i32) -> Result<Self, Error> {
        Self::parse("federates with match", value)
    }

    /// The behaviour with the API's number `value`, for a filter of nodes by selectors.
    pub fn of_node_selectors(value: i32) -> Result<Self, Error> {
        Self::parse("match", value)
    }

    fn parse(filter: &'static str, value: i32) -> Result<Self, Error> {
        Ok(match value {
            0 => Self::Exact,
            1 => Self::Subset,
            2 => Self::Superset,
            3 => Self::Any,
            _ => return Err(Error::UnknownMatch { filter, value: quoted_character(value) }),
        })
    }
}

/// The reference prints an unknown number as a quoted character of its language: `'\t'` for 9.
fn quoted_character(value: i32) -> String {
    let character = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    match character {
        '\x07' => r"'\a'".to_owned(),
        '\x08' => r"'\b'".to_owned(),
        '\x0b' => r"'\v'".to_owned(),
        '\x0c' => r"'\f'".to_owned(),
        '\n' | '\r' | '\t' | '\\' | '\'' => format!("'{}'", character.escape_default()),
        _ if u32::from(character) < 0x20 || character == '\x7f' => format!(r"'\x{:02x}'", u32::from(character)),
        _ if character.is_control() => format!(r"'\u{:04x}'", u32::from(character)),
        _ => format!("'{character}'"),
    }
}

/// A page whose token has been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// None is no paging.
    size: Option<u32>,
    /// Rows with a larger id.
    after: i64,
}

impl Page {
    /// Reads the token. It is the id of the last row of the page before, of 32 bits like the reference's.
    pub(crate) fn cursor(&self, refuse: fn(String) -> Error) -> Result<Cursor, Error> {
        let Self { size, token } = self;
        if *size == 0 {
            return Ok(Cursor { size: None, after: 0 });
        }
        let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
        let after = match token.as_str() {
            "" => 0,
            digits if is_number => digits.parse::<u32>().map_err(|_| refuse(token.clone()))?,
            _ => return Err(refuse(token.clone())),
        };
        Ok(Cursor { size: Some(*size), after: i64::from(after) })
    }
}

impl Cursor {
    pub(crate) fn is_paged(self) -> bool {
        self.size.is_some()
    }

    /// The condition on the id column, if there is one.
    pub(crate) fn condition(self, id: &str) -> Option<Sql> {
        (self.after > 0).then(|| Sql::new(format!("{id} > ?")).bind(self.after))
    }

    /// Adds order and limit.
    pub(crate) fn order(self, sql: Sql, id: &str) -> Sql {
        let sql = sql.push(" ORDER BY ").push(id);
        match self.size {
            Some(size) => sql.push(" LIMIT ?").bind(i64::from(size)),
            None => sql,
        }
    }

    /// The page of `rows`, which are pairs of id and row.
    pub(crate) fn listing<T>(self, rows: Vec<(i64, T)>) -> Listing<T> {
        let next_page_token = match (self.size, rows.last()) {
            (Some(_), Some((id, _))) => id.to_string(),
            _ => String::new(),
        };
        Listing { rows: rows.into_iter().map(|(_, row)| row).collect(), next_page_token }
    }
}

/// A table that holds the set of each owner, as SQL.
pub(crate) struct Sets<const COLUMNS: usize> {
    /// Where the values are, by an index on `columns`.
    pub(crate) table: &'static str,
    /// The columns of a value.
    pub(crate) columns: [&'static str; COLUMNS],
    /// What leads from there to the owner, if it is not there.
    pub(crate) join: &'static str,
    /// The owner's column.
    pub(crate) owner: &'static str,
    /// Counts the whole set of the owner of the outer row.
    pub(crate) size: &'static str,
}

impl<const COLUMNS: usize> Sets<COLUMNS> {
    /// The condition that the set of the owner `key` matches. `wanted` has no repetitions and is not empty.
    pub(crate) fn condition(&self, dialect: Dialect, key: &str, wanted: Vec<[Value; COLUMNS]>, behavior: Match) -> Sql {
        let Self { table, columns, join, owner, size } = self;
        let count = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        let owners = dialect.among(&format!("SELECT {owner}"), table, join, *columns, wanted);
        let sql = Sql::new(format!("{key} IN (")).append(owners).push(&format!(" GROUP BY {owner}"));
        let all_wanted = "COUNT(*) = ?";
        let sql = match behavior {
            Match::Any => sql,
            Match::Superset => sql.push(&format!(" HAVING {all_wanted}")).bind(count),
            Match::Subset => sql.push(&format!(" HAVING COUNT(*) = {size}")),
            Match::Exact => sql.push(&format!(" HAVING {all_wanted} AND COUNT(*) = {size}")).bind(count),
        };
        sql.push(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_match_prints_like_the_references() {
        for (value, text) in
            [(9, r"'\t'"), (4, r"'\x04'"), (65, "'A'"), (39, r"'\''"), (-1, "'\u{fffd}'"), (7, r"'\a'")]
        {
            assert_eq!(quoted_character(value), text);
        }
        let error = Match::of_entry_selectors(9).unwrap_err();
        assert_eq!(error.to_string(), r"datastore-sql: unhandled selectors match behavior '\t'");
        let error = Match::of_node_selectors(9).unwrap_err();
        assert_eq!(error.to_string(), r"datastore-sql: unhandled match behavior '\t'");
    }

    #[test]
    fn a_token_is_a_row_id_of_32_bits() {
        let read = |token: &str| Page { size: 3, token: token.to_owned() }.cursor(Error::EntryPageToken);
        assert!(read("").is_ok());
        assert!(read("0").is_ok());
        assert!(read("4294967295").is_ok());
        for token in ["abc", "-1", "4294967296", " 1", "1.5", "+1"] {
            let text = read(token).unwrap_err().to_string();
            assert_eq!(
                text,
                format!("datastore-sql: rpc error: code = InvalidArgument desc = could not parse token '{token}'")
            );
        }
        assert!(Page { size: 0, token: "abc".to_owned() }.cursor(Error::PageToken).is_ok(), "paging is off");
    }
}
