//! A schema that was begun. On MySQL a statement that changes the schema is a commit, so that a server or a database that
//! dies meanwhile leaves some of it.

use crate::Error;
use crate::connection::Connection;
use crate::sql::Sql;

/// What is left of the script that makes the schema. It makes a table a statement, and goes on behind those that it has made.
///
/// # Errors
/// A table is there that it has not made ([`Error::SchemaUnknown`]): it has rows, or an earlier one is missing.
pub(super) async fn rest(db: &mut Connection) -> Result<&'static str, Error> {
    let script = db.dialect().schema();
    if db.dialect().undoes_changes_of_schema() {
        return Ok(script);
    }
    let (mut made, mut is_whole) = (0, true);
    for (table, statement) in statements(script) {
        if !db.has_table(table).await? {
            is_whole = false;
        } else if is_whole && !has_rows(db, table).await? {
            made += statement.len();
        } else {
            return Err(Error::SchemaUnknown(table));
        }
    }
    Ok(script.get(made..).unwrap_or_default())
}

/// Each table with the statement that makes it.
fn statements(script: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    script.split_inclusive(";\n").filter_map(|statement| {
        let (table, _) = statement.strip_prefix("CREATE TABLE ")?.split_once(' ')?;
        Some((table, statement))
    })
}

async fn has_rows(db: &mut Connection, table: &str) -> Result<bool, Error> {
    Ok(db.row(Sql::new(format!("SELECT 1 FROM {table} LIMIT 1")), |_| Ok(())).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn the_script_is_nothing_but_a_statement_for_each_table() {
        let script = Dialect::MySql.schema();
        assert_eq!(statements(script).map(|(_, statement)| statement).collect::<String>(), script);
        let tables: Vec<_> = statements(script).map(|(table, _)| table).collect();
        assert_eq!((tables.len(), tables[0], tables[12]), (13, "attested_node_entries", "selectors"));
    }
}
