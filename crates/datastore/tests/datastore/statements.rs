//! What MySQL is asked: nothing that MySQL 5.7 and 8.0 do not read, although the servers of the tests are MariaDB's.

use std::collections::BTreeSet;

use regex::Regex;
use steeple_datastore::archive::migrate;
use steeple_datastore::entries::CreateEntry;
use steeple_datastore::inventory::InventoryTable;
use steeple_datastore::{DataStore, Options};
use steeple_runtime::Clock;

use crate::archive::{filled, full, saved};
use crate::everything::everything;
use crate::formats::a_day;
use crate::inventory::{DAY, all, row};
use crate::opened::{entry, on_mariadb};
use crate::unopened::{Place, Unopened, limited};

/// Syntax, and what has it. Some is MariaDB's alone, some came with MySQL 8, some MySQL reads in another way.
const NOT_IN_ALL: [(&str, &str); 18] = [
    (r"\bWITH\s+[^C]", "common table expressions"),
    (r"\bRETURNING\b", "RETURNING"),
    (r"\bOVER\b", "window functions"),
    (r"\bVALUES\s+ROW\b|\(\s*VALUES\b", "VALUES as a table"),
    (r"\b(EXCEPT|INTERSECT|LATERAL|JSON_TABLE)\b", "operators of newer versions"),
    (r"\bSKIP\s+LOCKED\b", "SKIP LOCKED"),
    (r"\bFOR\s+SHARE\b", "FOR SHARE"),
    (r"\bNOWAIT\b", "NOWAIT"),
    (r"\bVALUE\s*\(", "VALUE()"),
    (r"\bADD\s+(COLUMN\s+)?IF\s+NOT\s+EXISTS\b", "ALTER TABLE ... IF NOT EXISTS"),
    (r"\bCREATE\s+OR\s+REPLACE\s+TABLE\b|\bSEQUENCE\b", "statements of MariaDB"),
    (r"\binformation_schema\.global_\w+", "tables that went with MySQL 5.7"),
    (r"\bDEFAULT\s*\(", "defaults that are expressions"),
    (r"(?i)\b(COUNT|MAX|MIN|SUM|COALESCE|CONCAT|SUBSTRING|CAST)\s+\(", "a space before the parenthesis of a function"),
    (r"\|\|", "||, which is OR there"),
    (r"\bILIKE\b|::|\bON\s+CONFLICT\b|\bLIMIT\s+ALL\b", "syntax of PostgreSQL"),
    (r"\bOFFSET\s+\d+\s+ROWS\b|\bFETCH\s+FIRST\b", "FETCH FIRST"),
    (
        r"(?i)[ ,(.](cube|cume_dist|dense_rank|empty|first_value|function|grouping|groups|lag|last_value|lead|nth_value|ntile|percent_rank|rank|recursive|row_number|rows|system|window)[ ,).]",
        "a word that MySQL 8 reserves",
    ),
];

/// What is said in other words where the server has told that it is no MariaDB.
const CHOSEN_BY_VERSION: [&str; 2] = ["LOCK IN SHARE MODE NOWAIT", "information_schema.global_status"];

#[tokio::test]
async fn mysql_is_asked_nothing_that_its_older_and_newer_versions_do_not_read() {
    let watcher = on_mariadb().await;
    watcher.sql("SET GLOBAL log_output = 'TABLE'").await;
    watcher.sql("SET GLOBAL general_log = ON").await;
    let mut stores = Vec::new();
    // A new database, an older one, one that the reference wrote.
    let empty = Unopened::mariadb().await;
    let older = on_mariadb().await;
    older.close().await;
    crate::schema::make_23(&older.place).await;
    let left = Unopened::left_behind("mysql");
    for unopened in [(&empty.place, &empty.options), (&older.place, &older.options), (&left.place, &left.options)] {
        let options = limited(unopened.0, unopened.1, "ALL").await;
        inventory(&options).await;
        stores.push(DataStore::open(options, Clock::system()).await.unwrap());
    }
    for (store, place) in stores.iter().zip([&empty.place, &older.place, &left.place]) {
        follow(store, place).await;
        everything(store).await;
    }
    a_day(&stores[2]).await;
    go_around().await;

    let asked = "SELECT DISTINCT argument FROM mysql.general_log WHERE command_type IN ('Query', 'Prepare') \
                 AND user_host LIKE '%of\\_case\\_%'";
    let statements: BTreeSet<String> = watcher.sql(asked).await.concat().into_iter().map(shortened).collect();
    watcher.sql("SET GLOBAL general_log = OFF").await;
    watcher.sql("SET GLOBAL log_output = 'FILE'").await;
    for (syntax, name) in NOT_IN_ALL {
        let syntax = Regex::new(syntax).unwrap();
        let found: Vec<_> = statements
            .iter()
            .map(|text| CHOSEN_BY_VERSION.iter().fold(text.clone(), |text, chosen| text.replace(chosen, "")))
            .filter(|text| syntax.is_match(text))
            .collect();
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
    // A server may have another one for a default, in which a snapshot is none.
    let begin = |word: &str| statements.iter().filter(|text| text.starts_with(word)).count();
    assert!(begin("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ") > 0);
    let kinds = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TABLE", "ALTER TABLE", "START TRANSACTION"];
    for kind in kinds {
        assert!(begin(kind) > 0, "{kind} was not seen");
    }
    let of_archives = ["AS rows_of_it", "SELECT COUNT(*) FROM selectors", "INSERT INTO ca_journals (id,"];
    for part in of_archives {
        assert!(statements.iter().any(|text| text.contains(part)), "{part} was not seen");
    }
    assert!(statements.len() > 200, "{} are too few: {statements:#?}", statements.len());
    println!("mysql: {} different statements, none of which is MariaDB's or PostgreSQL's alone", statements.len());
}

/// An archive fills a database, which is saved and copied.
async fn go_around() {
    let archive = saved(&full().await.options, None).await.unwrap();
    let (first, second) = (Unopened::mariadb().await, Unopened::mariadb().await);
    let from = limited(&first.place, &first.options, "ALL").await;
    let to = limited(&second.place, &second.options, "ALL").await;
    filled(&from, &archive, true).await.unwrap();
    saved(&from, None).await.unwrap();
    migrate(from, to, &Clock::system(), &mut |_| {}).await.unwrap();
}

/// The lists of a statement are of any length.
fn shortened(statement: String) -> String {
    let text = statement.replace("(?, ?), ", "").replace("(?, ?, ?), ", "").replace("?, ", "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The table of what was signed, made anew.
async fn inventory(options: &Options) {
    let mut table = InventoryTable::create(options.clone(), &Clock::system()).await.unwrap();
    for seq in 1..=2 {
        table.append(&[row("a", seq, DAY * seq), row("a", seq + 5, DAY * seq)]).await.unwrap();
    }
    table.newest("a").await.unwrap();
    table.prune(DAY * 2).await.unwrap();
    assert_eq!(all(&mut table).await, ["a 2", "a 7"]);
}

/// The feed, and what it asks about gaps.
async fn follow(store: &DataStore, place: &Place) {
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    // Ids that a transaction may still hold.
    place.sql("ALTER TABLE registered_entries_events AUTO_INCREMENT = 500").await;
    store.write(CreateEntry { entry: entry("behind-a-gap") }).await.unwrap();
    feed.next().await.unwrap();
}
