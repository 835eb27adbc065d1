//! What belongs to entries: selectors, DNS names, and the trust domains that they federate with.

use super::Entry;
use crate::connection::{Connection, Row};
use crate::sql::Sql;
use crate::{Error, Selector};

/// Which rows of the lists are read: what is cheapest differs.
#[derive(Clone, Copy)]
pub(super) enum Which {
    All,
    /// Those of the entries by their ids.
    Named,
    /// Those of all ids between the first and the last.
    Range,
}

/// One of the lists.
struct List {
    /// What its rows say, after the entry's row id.
    columns: &'static str,
    /// The same among those of the others, which have columns of their own: MySQL refuses to put columns of two collations
    /// into one, and tables that came at different times may have two.
    among_others: &'static str,
    /// The first of `columns` there.
    place: usize,
    from: &'static str,
    owner: &'static str,
    order: &'static str,
    add: fn(&mut Entry, &Row, usize) -> Result<(), Error>,
}

const LISTS: [List; 3] = [
    List {
        columns: "type, value",
        among_others: "type, value, NULL, NULL",
        place: 1,
        from: "selectors",
        owner: "registered_entry_id",
        order: "id",
        add: |entry, row, first| {
            entry.selectors.push(Selector { kind: row.text(first)?, value: row.text(first + 1)? });
            Ok(())
        },
    },
    List {
        columns: "value",
        among_others: "NULL, NULL, value, NULL",
        place: 3,
        from: "dns_names",
        owner: "registered_entry_id",
        order: "id",
        add: |entry, row, first| {
            entry.dns_names.push(row.text(first)?);
            Ok(())
        },
    },
    List {
        columns: "b.trust_domain",
        among_others: "NULL, NULL, NULL, b.trust_domain",
        place: 4,
        from: "federated_registration_entries f JOIN bundles b ON b.id = f.bundle_id",
        owner: "f.registered_entry_id",
        order: "b.id",
        add: |entry, row, first| {
            entry.federates_with.push(row.text(first)?);
            Ok(())
        },
    },
];
/// Where a row says of which list it is, if they are read together.
const NUMBER: usize = 5;

/// Ids of one statement, which may have them once for each list.
const IDS_A_STATEMENT: usize = 1_000;

/// The entries (by ascending id) with their selectors, DNS names and trust domains.
pub(super) async fn with_lists(
    db: &mut Connection,
    mut entries: Vec<(i64, Entry)>,
    which: Which,
) -> Result<Vec<(i64, Entry)>, Error> {
    let ids: Vec<i64> = entries.iter().map(|(id, _)| *id).collect();
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(entries) };
    match which {
        Which::All => read(db, &ids, &mut entries, |sql, _| sql).await?,
        Which::Range => {
            let between = |sql: Sql, owner: &str| {
                sql.push(" WHERE ").push(owner).push(" BETWEEN ? AND ?").bind(*first).bind(*last)
            };
            read(db, &ids, &mut entries, between).await?;
        }
        Which::Named => {
            for some in ids.chunks(IDS_A_STATEMENT) {
                let among =
                    |sql: Sql, owner: &str| sql.push(" WHERE ").push(owner).push(" IN ").list(some.iter().copied());
                read(db, &ids, &mut entries, among).await?;
            }
        }
    }
    for (_, entry) in &mut entries {
        // There may be a hundred thousand of them, and they may be kept.
        entry.selectors.shrink_to_fit();
        entry.dns_names.shrink_to_fit();
        entry.federates_with.shrink_to_fit();
    }
    Ok(entries)
}

/// Adds the rows that `condition` lets through to the entries `ids` (ascending), each list in its order. A server may be far
/// away and is asked once; SQLite takes longer to put the lists together than to be asked for each.
async fn read(
    db: &mut Connection,
    ids: &[i64],
    entries: &mut [(i64, Entry)],
    condition: impl Fn(Sql, &str) -> Sql,
) -> Result<(), Error> {
    // Of an entry that is gone the reference may leave some behind.
    let mut add = |row: &Row, List { add, .. }: &List, first| match ids.binary_search(&row.integer(0)?) {
        Ok(place) => add(&mut entries[place].1, row, first),
        Err(_) => Ok(()),
    };
    if !db.dialect().is_server() {
        for list @ List { columns, from, owner, order, .. } in &LISTS {
            let sql = condition(Sql::new(format!("SELECT {owner}, {columns} FROM {from}")), owner);
            db.rows(sql.push(" ORDER BY ").push(order), |row| add(row, list, 1)).await?;
        }
        return Ok(());
    }
    let mut sql = Sql::new("");
    for (number, List { among_others, from, owner, order, .. }) in LISTS.iter().enumerate() {
        let select = format!("SELECT {owner}, {among_others}, {number}, {order} FROM {from}");
        sql = condition(sql.push(if number == 0 { "" } else { " UNION ALL " }).push(&select), owner);
    }
    let add = |row: &Row| {
        let number = usize::try_from(row.integer(NUMBER)?).unwrap_or_default();
        LISTS.get(number).map_or(Ok(()), |list| add(row, list, list.place))
    };
    db.rows(sql.push(" ORDER BY 6, 7"), add).await?;
    Ok(())
}
