//! The tables of the schema, described once: what is in which column, and what a row is found by.

use crate::Error;
use crate::connection::Row;
use crate::dialect::Dialect;
use crate::sql::{Sql, Value};

/// A table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [Column],
    pub(super) key: Key,
}

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The version of the schema that has brought it; before that it is NULL.
    pub(super) since: i64,
}

/// What a column holds, unless it is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Flag,
    Text,
    Bytes,
    Time,
}

/// The columns that tell rows apart, and in whose order they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The first column, a number that the database gives.
    Id,
    /// The first two columns, both numbers.
    Pair,
    /// The first column, a text.
    Text,
}

/// A row, a value a column.
pub(super) type Cells = Vec<Value>;

/// The table that a database may be without: it is our own.
pub(super) const USED_JOIN_TOKENS: &str = "steeple_used_join_tokens";
/// What servers know of their own authorities.
pub(super) const JOURNALS: &str = "ca_journals";

/// Every table but `migrations`, whose one row says what made the database and is written when another one is made. The
/// small ones that the others refer to come first.
pub(super) const TABLES: [Table; 13] = [
    table("bundles", &[ID, CREATED, UPDATED, text("trust_domain"), bytes("data")]),
    table(
        "federated_trust_domains",
        &[
            ID,
            CREATED,
            UPDATED,
            text("trust_domain"),
            text("bundle_endpoint_url"),
            text("bundle_endpoint_profile"),
            text("endpoint_spiffe_id"),
            flag("implicit"),
        ],
    ),
    table(
        JOURNALS,
        &[ID, CREATED, UPDATED, bytes("data"), text("active_x509_authority_id"), text("active_jwt_authority_id")],
    ),
    table("join_tokens", &[ID, CREATED, UPDATED, text("token"), integer("expiry")]),
    Table {
        name: USED_JOIN_TOKENS,
        columns: &[text("token"), text("digest"), integer("expiry"), text("spiffe_id"), text("answered")],
        key: Key::Text,
    },
    table(
        "attested_node_entries",
        &[
            ID,
            CREATED,
            UPDATED,
            text("spiffe_id"),
            text("data_type"),
            text("serial_number"),
            time("expires_at"),
            text("new_serial_number"),
            time("new_expires_at"),
            flag("can_reattest"),
            Column { since: 24, ..text("agent_version") },
        ],
    ),
    table("node_resolver_map_entries", &[ID, CREATED, UPDATED, text("spiffe_id"), text("type"), text("value")]),
    table(
        "registered_entries",
        &[
            ID,
            CREATED,
            UPDATED,
            text("entry_id"),
            text("spiffe_id"),
            text("parent_id"),
            integer("ttl"),
            flag("admin"),
            flag("downstream"),
            integer("expiry"),
            integer("revision_number"),
            flag("store_svid"),
            text("hint"),
            integer("jwt_svid_ttl"),
            Column { since: 25, ..bytes("additional_attributes") },
        ],
    ),
    table("selectors", &[ID, CREATED, UPDATED, integer("registered_entry_id"), text("type"), text("value")]),
    table("dns_names", &[ID, CREATED, UPDATED, integer("registered_entry_id"), text("value")]),
    Table {
        name: "federated_registration_entries",
        columns: &[integer("bundle_id"), integer("registered_entry_id")],
        key: Key::Pair,
    },
    table("registered_entries_events", &[ID, CREATED, UPDATED, text("entry_id")]),
    table("attested_node_entries_events", &[ID, CREATED, UPDATED, text("spiffe_id")]),
];

const ID: Column = integer("id");
const CREATED: Column = time("created_at");
const UPDATED: Column = time("updated_at");

const fn table(name: &'static str, columns: &'static [Column]) -> Table {
    Table { name, columns, key: Key::Id }
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer, since: 0 }
}

const fn flag(name: &'static str) -> Column {
    Column { name, kind: Kind::Flag, since: 0 }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, since: 0 }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, kind: Kind::Bytes, since: 0 }
}

const fn time(name: &'static str) -> Column {
    Column { name, kind: Kind::Time, since: 0 }
}

impl Table {
    /// Whether a database may be without it.
    pub(super) fn is_optional(&self) -> bool {
        self.name == USED_JOIN_TOKENS
    }

    /// Asks for the rows behind `last`, or the first ones, of a schema of this version, in the order of the key.
    pub(super) fn page(&self, dialect: Dialect, version: i64, last: Option<&Cells>, rows: Value) -> Sql {
        let columns: Vec<_> = self.columns.iter().map(|it| if it.since > version { "NULL" } else { it.name }).collect();
        let select = Sql::new(format!("SELECT {} FROM {}", columns.join(", "), self.name));
        let key = self.columns.iter().map(|column| column.name);
        let key: Vec<_> = key.take(if self.key == Key::Pair { 2 } else { 1 }).collect();
        let (order, behind) = match (self.key, key.as_slice()) {
            (Key::Text, [column, ..]) => {
                let column = dialect.bytewise(column);
                (column.clone(), format!("{column} > ?"))
            }
            (Key::Pair, [first, second, ..]) => (key.join(", "), dialect.behind_pair(first, second)),
            _ => (key.join(", "), format!("{} > ?", key.join(", "))),
        };
        let sql = match last {
            None => select,
            Some(last) => {
                let sql = select.push(" WHERE ").push(&behind);
                let marks = behind.matches('?').count();
                // `a > ? OR a = ? AND b > ?` binds the first value twice.
                let values = last.iter().take(key.len());
                let values = values.take(1).cycle().take(marks - key.len()).chain(last.iter().take(key.len()));
                values.cloned().fold(sql, Sql::bind)
            }
        };
        sql.push(&format!(" ORDER BY {order} LIMIT ?")).bind(rows)
    }

    /// Reads a row that [`Self::page`] has asked for.
    pub(super) fn read(&self, row: &Row) -> Result<Cells, Error> {
        self.columns.iter().enumerate().map(|(i, column)| column.kind.read(row, i)).collect()
    }

    /// What a person finds a row by.
    pub(super) fn key_of(&self, row: &Cells) -> String {
        let values = row.iter().take(if self.key == Key::Pair { 2 } else { 1 });
        let values = values.map(|value| match value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => format!("{text:?}"),
            other => format!("{other:?}"),
        });
        values.collect::<Vec<_>>().join(", ")
    }
}

impl Kind {
    fn read(self, row: &Row, column: usize) -> Result<Value, Error> {
        if row.is_null(column)? {
            return Ok(Value::Null);
        }
        Ok(match self {
            Self::Integer => Value::Integer(row.integer(column)?),
            Self::Flag => Value::Flag(row.flag(column)?),
            Self::Text => Value::Text(row.text(column)?),
            Self::Bytes => Value::Bytes(row.bytes(column)?),
            Self::Time => row.time(column)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands behind each column's name in a script that makes the schema, by table.
    fn described(script: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut tables: Vec<_> = script
            .split(';')
            .filter_map(|statement| statement.trim().strip_prefix("CREATE TABLE "))
            .map(|statement| {
                let (name, columns) =
                    statement.replace('"', "").split_once('(').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
                let columns = columns.replace("varchar(255)", "varchar");
                let columns = columns.split(',').map(str::trim).filter_map(|column| {
                    let (name, kind) = column.split_once(' ')?;
                    let is_column = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
                    is_column.then(|| (name.to_owned(), kind.to_owned()))
                });
                (name.trim().to_owned(), columns.collect::<Vec<_>>())
            })
            .collect();
        tables.sort();
        tables
    }

    fn fits(kind: Kind, described: &str) -> bool {
        let words: &[&str] = match kind {
            Kind::Integer => &["int", "integer", "bigint", "serial"],
            Kind::Flag => &["bool", "boolean"],
            Kind::Text => &["varchar", "text"],
            Kind::Bytes => &["blob", "longblob", "bytea"],
            Kind::Time => &["datetime", "timestamp"],
        };
        words.contains(&described.split_whitespace().next().unwrap())
    }

    #[test]
    fn the_tables_are_those_of_each_schema() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            let mut schema = described(dialect.schema());
            schema.retain(|(name, _)| name != "migrations");
            let mut ours: Vec<_> = TABLES.iter().filter(|table| table.name != USED_JOIN_TOKENS).collect();
            ours.sort_by_key(|table| table.name);
            assert_eq!(schema.len(), ours.len());
            for ((name, columns), table) in schema.iter().zip(ours) {
                assert_eq!(name, table.name);
                let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, table.columns.iter().map(|column| column.name).collect::<Vec<_>>(), "{name}");
                for ((column, kind), ours) in columns.iter().zip(table.columns) {
                    assert!(fits(ours.kind, kind), "{dialect:?} {name}.{column} is {kind}, not {:?}", ours.kind);
                }
            }
        }
    }

    fn named(name: &str) -> &'static Table {
        TABLES.iter().find(|table| table.name == name).unwrap()
    }

    #[test]
    fn pages_follow_the_key() {
        let page =
            |name: &str, dialect, last: Option<Cells>| named(name).page(dialect, 25, last.as_ref(), 7_i64.into());
        let first = page("selectors", Dialect::Sqlite, None);
        assert!(first.text.ends_with("value FROM selectors ORDER BY id LIMIT ?"), "{}", first.text);
        let next = page("federated_registration_entries", Dialect::MySql, Some(vec![1_i64.into(), 2_i64.into()]));
        assert!(
            next.text.ends_with(
                "WHERE (bundle_id > ? OR (bundle_id = ? AND registered_entry_id > ?)) \
                 ORDER BY bundle_id, registered_entry_id LIMIT ?"
            ),
            "{}",
            next.text
        );
        assert_eq!(next.values, [1_i64, 1, 2, 7].map(Value::from));
        let next = page("federated_registration_entries", Dialect::Postgres, Some(vec![1_i64.into(), 2_i64.into()]));
        assert_eq!(next.values, [1_i64, 2, 7].map(Value::from));
    }

    #[test]
    fn columns_of_a_later_schema_are_null() {
        let nodes = named("attested_node_entries");
        assert!(nodes.page(Dialect::Sqlite, 23, None, 1_i64.into()).text.contains("can_reattest, NULL FROM"));
        assert!(nodes.page(Dialect::Sqlite, 24, None, 1_i64.into()).text.contains("can_reattest, agent_version FROM"));
    }
}
