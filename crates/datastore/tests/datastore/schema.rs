//! The schema is the reference's, whoever made it, and is left as it is where it is current.

use std::collections::BTreeSet;

use steeple_datastore::nodes::CreateNode;
use steeple_datastore::{DataStore, Error, Node, Options};
use steeple_runtime::Clock;
use steeple_testkit::record::Logged;

use crate::opened::{Opened, entry};
use crate::unopened::{Place, Unopened, fixture};

/// Tables, columns and indexes, without our own: the reference creates the indexes of a table in random order.
pub(crate) async fn described(place: &Place) -> BTreeSet<String> {
    let own = "NOT LIKE 'steeple~_%' ESCAPE '~'";
    let statements = match place {
        Place::File(_) => vec![format!("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name {own}")],
        Place::Postgres(_) => vec![
            format!(
                // A column that was dropped keeps its number.
                "SELECT table_name, column_name, row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position), \
                 data_type, is_nullable, column_default, character_maximum_length, datetime_precision \
                 FROM information_schema.columns WHERE table_schema = 'public' AND table_name {own}"
            ),
            format!(
                "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename {own}"
            ),
            format!(
                "SELECT sequencename, data_type, start_value, increment_by, max_value, cache_size, cycle \
                 FROM pg_sequences WHERE schemaname = 'public' AND sequencename {own}"
            ),
        ],
        Place::MySql(_) => vec![
            format!(
                "SELECT table_name, column_name, ordinal_position, column_type, is_nullable, column_default, extra, \
                 collation_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name {own}"
            ),
            format!(
                "SELECT table_name, index_name, seq_in_index, column_name, non_unique, index_type \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name {own}"
            ),
            format!(
                "SELECT table_name, engine, row_format, table_collation \
                 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name {own}"
            ),
        ],
    };
    let mut described = BTreeSet::new();
    for statement in statements {
        described.extend(place.sql(&statement).await.into_iter().map(|row| row.join(" | ")));
    }
    // SQLite keeps a statement's spaces, those that ALTER TABLE makes too.
    described.into_iter().map(|line| line.replace(' ', "")).collect()
}

/// Says what differs alone.
pub(crate) fn assert_same(ours: &BTreeSet<String>, theirs: &BTreeSet<String>) {
    assert!(!theirs.is_empty());
    let differs: Vec<_> = ours.symmetric_difference(theirs).collect();
    assert!(differs.is_empty(), "{differs:#?}");
}

pub(crate) async fn a_new_database_has_the_references_schema(new: Opened) {
    for name in new.left_behind() {
        let reference = described(&Unopened::left_behind(name).place).await;
        assert_same(&described(&new.place).await, &reference);
        println!("{name}: {} lines that describe the schema equal", reference.len());
    }
    assert_eq!(new.sql("SELECT id, version, code_version FROM migrations").await, [["1", "25", "1.15.3"]]);
    if let Place::File(_) = new.place {
        assert_eq!(new.sql("PRAGMA journal_mode").await, [["wal"]]);
    }
}

/// The names of the reference's tables.
pub(crate) async fn tables(place: &Place) -> Vec<String> {
    let statement = match place {
        Place::File(_) => "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence'",
        Place::Postgres(_) => "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        Place::MySql(_) => "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    };
    let mut tables = place.sql(statement).await.concat();
    tables.retain(|table| !table.starts_with("steeple_"));
    tables.sort();
    tables
}

pub(crate) async fn opening_changes_nothing_in_a_current_database(new: Opened) {
    for name in new.left_behind() {
        let before = Unopened::left_behind(name);
        let opened = fixture(name, |_| {}).await;
        assert_same(&described(&opened.place).await, &described(&before.place).await);
        let tables = tables(&before.place).await;
        assert_eq!(tables.len(), 13);
        for table in tables {
            let all = format!("SELECT * FROM {table} ORDER BY 1, 2");
            assert_eq!(opened.sql(&all).await, before.place.sql(&all).await, "{name} {table}");
        }
    }
}

/// Takes back what the versions after 23 have added.
pub(crate) async fn make_23(place: &Place) {
    place.sql("ALTER TABLE registered_entries DROP COLUMN additional_attributes").await;
    place.sql("ALTER TABLE attested_node_entries DROP COLUMN agent_version").await;
    place.sql("UPDATE migrations SET version = 23, code_version = '1.13.0'").await;
}

pub(crate) async fn migrates_versions_23_and_24(opened: Opened) {
    opened.create(entry("before")).await;
    opened.close().await;
    let current = described(&opened.place).await;
    make_23(&opened.place).await;
    assert!(described(&opened.place).await.len() != current.len() || matches!(opened.place, Place::File(_)));

    let refused = Options { disable_migration: true, ..opened.options.clone() };
    let error = DataStore::open(refused, Clock::system()).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: auto-migration must be enabled for current DB");
    assert_eq!(opened.sql("SELECT version, code_version FROM migrations").await, [["23", "1.13.0"]]);

    for from in [23, 24] {
        if from == 24 {
            opened.sql("ALTER TABLE registered_entries DROP COLUMN additional_attributes").await;
            opened.sql("UPDATE migrations SET version = 24, code_version = '1.14.2'").await;
        }
        let migrated = opened.another().await;
        assert_eq!(opened.sql("SELECT version, code_version FROM migrations").await, [["25", "1.15.3"]], "{from}");
        assert_same(&described(&opened.place).await, &current);
        let node = Node { spiffe_id: format!("n{from}"), agent_version: "1".into(), ..Node::default() };
        migrated.write(CreateNode(node.clone())).await.unwrap();
        assert_eq!(migrated.fetch_node(&node.spiffe_id).await.unwrap(), Some(node));
        assert_eq!(migrated.fetch_entry("before").await.unwrap().unwrap().additional_attributes, None);
        migrated.close().await;
    }
}

pub(crate) async fn keeps_to_the_rules_about_versions(opened: Opened) {
    let ahead = "datastore-sql: incompatible DB schema and code version";
    let old = "datastore-sql: migrating from schema version 22 requires a previous SPIRE release; please follow the \
               upgrade strategy at doc/upgrading.md";
    opened.close().await;
    for (version, code_version, outcome) in [
        ("25", "1.15.2", Ok("1.15.3")),
        ("25", "1.15.3-dev-abcdef0", Ok("1.15.3")),
        ("25", "1.16.0", Ok("1.16.0")),
        ("25", "1.99.0", Ok("1.99.0")),
        ("26", "1.16.7", Ok("1.16.7")),
        ("26", "1.17.0", Err(ahead)),
        ("26", "2.15.0", Err(ahead)),
        ("22", "1.12.0", Err(old)),
        ("25", "", Ok("1.15.3")),
        ("25", "unknown", Err("datastore-sql: unable to parse code version \"unknown\" of the DB")),
    ] {
        let update = format!("UPDATE migrations SET version = {version}, code_version = '{code_version}'");
        opened.sql(&update).await;
        let stored = async || opened.sql("SELECT version, code_version FROM migrations").await.concat();
        match DataStore::open(opened.options.clone(), Clock::system()).await {
            Ok(_) => assert_eq!((Ok(stored().await[1].as_str()), stored().await[0].as_str()), (outcome, version)),
            Err(error) => {
                assert_eq!(Err(error.to_string().as_str()), outcome, "{version} {code_version}");
                assert_eq!(stored().await, [version, code_version], "what is refused is left alone");
            }
        }
    }
}

pub(crate) async fn the_log_tells_what_an_old_schema_needs_and_of_a_newer_one(opened: Opened) {
    let log = Logged::new();
    opened.close().await;
    let open = async |version: i64, code_version: &str| {
        let update = format!("UPDATE migrations SET version = {version}, code_version = '{code_version}'");
        opened.sql(&update).await;
        DataStore::open(opened.options.clone(), Clock::system()).await
    };
    let told = |message: &str, fields: [&str; 2]| {
        let lines = log.with(message);
        lines.iter().map(|line| fields.map(|field| line[field].clone())).collect::<Vec<_>>()
    };
    let needs = "Stop all servers, start the newest SPIRE server of each of these releases on this database once, one after \
                 the other, then this one";
    let newer = "Database schema is ahead of code, upgrading code is recommended";

    let too_old = open(20, "1.5.6").await.map(drop).unwrap_err();
    assert!(matches!(too_old, Error::SchemaTooOld(20)), "{too_old}");
    assert_eq!(told(needs, ["level", "releases"]), [["ERROR", "1.6, 1.7, 1.8"]]);
    assert_eq!(told(newer, ["level", "schema"]), [[""; 2]; 0]);
    open(26, "1.16.7").await.unwrap().close().await;
    assert_eq!(told(newer, ["level", "schema"]), [["WARN", "26"]]);
    open(25, "1.15.3").await.unwrap().close().await;
    assert_eq!((told(needs, ["level", "releases"]).len(), told(newer, ["level", "schema"]).len()), (1, 1));
}

pub(crate) async fn ten_servers_that_open_at_once_make_or_migrate_one_schema(new: Opened) {
    let Unopened { options, place, .. } = &new.empty_twin().await;
    for from in ["nothing", "version 23"] {
        if from != "nothing" {
            make_23(place).await;
        }
        let opening = (0..10).map(|_| DataStore::open(options.clone(), Clock::system()));
        let stores: Vec<DataStore> = futures::future::try_join_all(opening).await.unwrap();
        assert_eq!(place.sql("SELECT version, code_version FROM migrations").await, [["25", "1.15.3"]], "{from}");
        assert_same(&described(place).await, &described(&new.place).await);
        for (i, store) in stores.iter().enumerate() {
            let node = Node { spiffe_id: format!("{from} {i}"), ..Node::default() };
            store.write(CreateNode(node)).await.unwrap();
            store.close().await;
        }
    }
    assert_eq!(place.sql("SELECT COUNT(*) FROM attested_node_entries").await, [["20"]]);
}
