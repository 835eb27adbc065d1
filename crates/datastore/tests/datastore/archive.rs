//! Databases that are written to an archive, filled from one, and copied.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use steeple_datastore::archive::{Backup, Progress, Step, Watcher, backup, check, migrate, restore};
use steeple_datastore::entries::EntryFilter;
use steeple_datastore::federation::FederationRelationship;
use steeple_datastore::nodes::NodeFilter;
use steeple_datastore::{Bundle, Entry, Error, Node, Options, Page};
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;

use crate::opened::{Opened, entry, new_sqlite};
use crate::unopened::{Unopened, fixture};

/// Rows that no server of the fixture has written: NULLs, text that is not ASCII, an own table, and in a table of each
/// kind of key more rows than are held at a time.
const MORE: [&str; 9] = [
    "INSERT INTO registered_entries (id, entry_id, admin, expiry, revision_number) VALUES (400, 'sparse', NULL, NULL, 9223372036854775807)",
    "INSERT INTO dns_names (id, registered_entry_id, value) VALUES (77, 400, 'ä.test')",
    "INSERT INTO attested_node_entries (id, created_at, spiffe_id, can_reattest, serial_number) \
     VALUES (300, '1999-12-31 23:59:59.000000+00:00', 'spiffe://example.org/gone', NULL, '')",
    "INSERT INTO join_tokens (id, token, expiry) VALUES (9, 'UPPER and lower', 0)",
    "INSERT INTO steeple_used_join_tokens (token, digest, expiry, spiffe_id, answered) VALUES ('b', 'x', 7, '', '')",
    "INSERT INTO steeple_used_join_tokens (token, digest, expiry, spiffe_id, answered) VALUES ('A', '', 8, 's', '12')",
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200) \
     INSERT INTO steeple_used_join_tokens (token, digest, expiry, spiffe_id, answered) \
     SELECT char(65 + n % 50) || n, '', n, '', '' FROM n",
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200) \
     INSERT INTO federated_registration_entries (bundle_id, registered_entry_id) SELECT 1 + n % 2, 1000 + n FROM n",
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000) \
     INSERT INTO selectors (id, registered_entry_id, type, value) SELECT 1000 + n, 400, 'unix', 'uid:' || n FROM n",
];

/// A database that the reference wrote, with [`MORE`].
pub(crate) async fn full() -> Opened {
    let full = fixture("utc", |_| {}).await;
    for statement in MORE {
        full.sql(statement).await;
    }
    full.store.close().await;
    full
}

pub(crate) async fn saved(options: &Options, keys: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
    saved_before(options, keys, &mut |_| {}).await
}

async fn saved_before(options: &Options, keys: Option<Vec<u8>>, watcher: Watcher<'_>) -> Result<Vec<u8>, Error> {
    let mut archive = Vec::new();
    let trust_domain = TrustDomain::from_name("example.org").unwrap();
    let contents = Backup { trust_domain, addresses: vec!["127.0.0.1:8081".into()], keys };
    backup(options.clone(), &Clock::system(), contents, &mut archive, watcher).await?;
    Ok(archive)
}

pub(crate) async fn filled(options: &Options, archive: &[u8], journals: bool) -> Result<u64, Error> {
    let admit = async |_: &_| Ok(());
    let restored =
        restore::<Error>(options.clone(), &Clock::system(), archive, journals, admit, |_| Ok(()), &mut |_| {}).await?;
    Ok(restored.rows)
}

/// A database of another kind with the rows of [`full`].
async fn full_of(from: Unopened) -> Opened {
    let archive = saved(&full().await.options, None).await.unwrap();
    filled(&from.options, &archive, true).await.unwrap();
    let opened = from.open().await;
    opened.store.close().await;
    opened
}

/// What an archive has behind its first line, times as MySQL keeps them.
fn rows(archive: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(archive.to_vec()).unwrap();
    let lines = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| line.get("sha256").is_none());
    lines.map(|line| line.as_array().map_or(line.clone(), |row| row.iter().map(rounded).collect())).collect()
}

fn rounded(value: &Value) -> Value {
    let time = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    time.map_or(value.clone(), |time| Value::from((time.as_millisecond() + 500).div_euclid(1000)))
}

type Read = (Vec<Entry>, Vec<Node>, Vec<Bundle>, Vec<FederationRelationship>);

/// What a server reads.
async fn read(options: &Options) -> Read {
    let store = steeple_datastore::DataStore::open(options.clone(), Clock::system()).await.unwrap();
    let entries = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows;
    let nodes = store.list_nodes(&NodeFilter::default(), &Page::default(), true).await.unwrap().rows;
    let bundles = store.list_bundles(&Page::default()).await.unwrap().rows;
    let relationships = store.list_federation_relationships(&Page::default()).await.unwrap().rows;
    store.close().await;
    (entries, nodes, bundles, relationships)
}

async fn is_the_same(from: &Options, to: &Opened) {
    let (ours, theirs) = (saved(from, None).await.unwrap(), saved(&to.options, None).await.unwrap());
    let (ours, theirs) = (rows(&ours), rows(&theirs));
    for (row, copy) in ours.iter().zip(&theirs) {
        assert_eq!(row, copy);
    }
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(read(from).await, read(&to.options).await);
    println!("rows: {0} of {0} equal", ours.len());
}

/// Ids go on behind those that came.
async fn goes_on(to: Unopened) -> Opened {
    let to = to.open().await;
    to.create(entry("new")).await;
    let id = to.sql("SELECT id FROM registered_entries WHERE entry_id = 'new'").await;
    assert_eq!(id, [["401"]]);
    to.store.close().await;
    to
}

pub(crate) async fn an_archive_brings_everything_back(from: Unopened, to: Unopened) {
    let from = full_of(from).await;
    let archive = saved(&from.options, Some(b"secret".to_vec())).await.unwrap();
    let contents = check(archive.as_slice(), &mut |_| {}).unwrap();
    assert!(contents.keys);
    assert_eq!(contents.header.authorities.len(), 3);
    let mut keys = None;
    let admit = async |_: &_| Ok(());
    let place = |content: &[u8]| {
        keys = Some(content.to_vec());
        Ok(())
    };
    let clock = Clock::system();
    let restored = restore::<Error>(to.options.clone(), &clock, archive.as_slice(), true, admit, place, &mut |_| {})
        .await
        .unwrap();
    assert_eq!((restored.rows, restored.header), (contents.rows, contents.header));
    assert_eq!(keys.as_deref(), Some(&b"secret"[..]));
    let to = to.open().await;
    is_the_same(&from.options, &to).await;
}

pub(crate) async fn a_copy_is_the_same(from: Unopened, to: Unopened) {
    let from = full_of(from).await;
    let mut compared = 0;
    let options = to.options.clone();
    let watcher = &mut |progress: Progress| {
        compared += if progress.step == Step::Compare && progress.rows == progress.of { progress.rows } else { 0 };
    };
    let rows = migrate(from.options.clone(), options.clone(), &Clock::system(), watcher).await.unwrap();
    assert_eq!(rows, compared);
    let archive = saved(&from.options, None).await.unwrap();
    assert_eq!(rows, check(archive.as_slice(), &mut |_| {}).unwrap().rows);
    let _to = goes_on(to).await;
    let error = migrate(from.options.clone(), options, &Clock::system(), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: the database is not empty: table bundles has rows");
}

/// Runs a statement from within a watcher, in the middle of a copy.
fn meanwhile(from: &Opened, statement: &str) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(from.sql(statement));
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap());
}

pub(crate) async fn what_writes_meanwhile_is_noticed(from: Unopened, to: Unopened) {
    let from = full_of(from).await;
    for (statement, said) in [
        (
            "INSERT INTO registered_entries_events (entry_id) VALUES ('sparse')",
            "a server writes to the database: stop all servers, and try again",
        ),
        (
            "UPDATE bundles SET trust_domain = 'spiffe://other.test' WHERE id = 1",
            "bundles: the copy of a row differs (1)",
        ),
        ("DELETE FROM join_tokens WHERE id = 9", "join_tokens: the copy of a row differs ("),
    ] {
        let mut is_done = false;
        let mut watcher = |progress: Progress| {
            if progress.table == "selectors" && !std::mem::replace(&mut is_done, true) {
                meanwhile(&from, statement);
            }
        };
        let copied = migrate(from.options.clone(), to.options.clone(), &Clock::system(), &mut watcher).await;
        let error = copied.unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    // Nothing of them is left.
    migrate(from.options.clone(), to.options.clone(), &Clock::system(), &mut |_| {}).await.unwrap();
}

/// Servers go on while a database is saved.
pub(crate) async fn what_is_written_meanwhile_is_not_in_the_archive(from: Unopened, to: Unopened) {
    let from = full_of(from).await;
    let before = saved(&from.options, None).await.unwrap();
    let mut is_done = false;
    let mut watcher = |progress: Progress| {
        if progress.table == "bundles" && !std::mem::replace(&mut is_done, true) {
            for statement in [
                "UPDATE bundles SET trust_domain = 'spiffe://other.test' WHERE id = 1",
                "DELETE FROM join_tokens WHERE id = 9",
                "INSERT INTO registered_entries (entry_id, spiffe_id, parent_id) VALUES ('new', 'spiffe://td/n', 'spiffe://td/a')",
                "INSERT INTO registered_entries_events (entry_id) VALUES ('new')",
            ] {
                meanwhile(&from, statement);
            }
        }
    };
    let archive = saved_before(&from.options, None, &mut watcher).await.unwrap();
    assert_eq!(from.sql("SELECT COUNT(*) FROM registered_entries WHERE entry_id = 'new'").await, [["1"]]);
    assert_eq!(rows(&archive), rows(&before));
    filled(&to.options, &archive, true).await.unwrap();
    assert_eq!(rows(&saved(&to.options, None).await.unwrap()), rows(&before));
}

pub(crate) async fn what_cannot_be_whole_leaves_nothing(from: Unopened, to: Unopened) {
    let from = full_of(from).await;
    let archive = saved(&from.options, Some(b"secret".to_vec())).await.unwrap();
    let damaged = String::from_utf8(archive.clone()).unwrap().replace("fix-01", "fix-99");
    for (archive, said) in [
        (&archive[..archive.len() - 1], "the archive is damaged: it ends in line"),
        (damaged.as_bytes(), "the archive is damaged: its checksum is another one"),
    ] {
        let error = filled(&to.options, archive, true).await.unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    // The keys find no place, or somebody is in the way.
    let clock = Clock::system();
    let (admit, place) = (async |_: &_| Ok(()), |_: &[u8]| Err(Error::Closed));
    let placed = restore(to.options.clone(), &clock, archive.as_slice(), true, admit, place, &mut |_| {}).await;
    assert!(matches!(placed, Err(Error::Closed)));
    let (admit, place) = (async |_: &_| Err(Error::Banned), |_: &[u8]| Ok(()));
    let admitted = restore(to.options.clone(), &clock, archive.as_slice(), true, admit, place, &mut |_| {}).await;
    assert!(matches!(admitted, Err(Error::Banned)));

    // Without journals, and then not a second time.
    let without = filled(&to.options, &archive, false).await.unwrap();
    let to = to.open().await;
    assert_eq!(to.sql("SELECT COUNT(*) FROM ca_journals").await, [["0"]]);
    assert_eq!(check(archive.as_slice(), &mut |_| {}).unwrap().rows, without + 1);
    let error = filled(&to.options, &archive, true).await.unwrap_err().to_string();
    assert_eq!(error, "datastore-sql: the database is not empty: table bundles has rows");
}

/// Each table in turn, in steps that are not longer than what is held at a time, and to its end.
fn is_whole(told: &[Progress], step: Step, all: u64) {
    let told: Vec<_> = told.iter().filter(|progress| progress.step == step).collect();
    let tables: Vec<_> = told.chunk_by(|a, b| a.table == b.table).collect();
    let names: BTreeSet<_> = tables.iter().map(|steps| steps[0].table).collect();
    assert_eq!(names.len(), tables.len(), "a table came twice");
    for steps in &tables {
        let of = steps[0].of;
        let rows: Vec<_> = std::iter::once(0).chain(steps.iter().map(|progress| progress.rows)).collect();
        let table = steps[0].table;
        assert!(rows.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] <= 500), "{table}: {rows:?}");
        assert!(
            steps.iter().all(|progress| progress.of == of) && rows.last() == Some(&of),
            "{table}: {rows:?} of {of}"
        );
    }
    assert_eq!(tables.iter().map(|steps| steps[0].of).sum::<u64>(), all);
    assert!(told.len() > tables.len(), "no table took more than a step");
}

#[tokio::test]
async fn long_work_tells_how_far_it_is() {
    let (full, clock) = (full().await, Clock::system());
    let (mut told, mut archive) = (Vec::new(), Vec::new());
    let trust_domain = TrustDomain::from_name("example.org").unwrap();
    let contents = Backup { trust_domain, addresses: Vec::new(), keys: None };
    let all = backup(full.options.clone(), &clock, contents, &mut archive, &mut |progress| told.push(progress)).await;
    let all = all.unwrap();
    is_whole(&told, Step::Write, all);

    told.clear();
    check(archive.as_slice(), &mut |progress| told.push(progress)).unwrap();
    is_whole(&told, Step::Check, all);

    told.clear();
    let (to, admit) = (new_sqlite().await, async |_: &_| Ok(()));
    let watcher = &mut |progress| told.push(progress);
    restore::<Error>(to.options.clone(), &clock, archive.as_slice(), true, admit, |_| Ok(()), watcher).await.unwrap();
    is_whole(&told, Step::Write, all);

    told.clear();
    let to = new_sqlite().await;
    migrate(full.options.clone(), to.options.clone(), &clock, &mut |progress| told.push(progress)).await.unwrap();
    is_whole(&told, Step::Write, all);
    is_whole(&told, Step::Compare, all);
}

/// SQLite, PostgreSQL, MariaDB, SQLite.
#[allow(dead_code, reason = "of servers alone")]
pub(crate) async fn goes_around() {
    let full = full().await;
    let mut from = full.options.clone();
    for to in [crate::opened::new_postgres().await, crate::opened::new_mariadb().await, new_sqlite().await] {
        migrate(from, to.options.clone(), &Clock::system(), &mut |_| {}).await.unwrap();
        from = to.options.clone();
        let to = to.open().await;
        is_the_same(&full.options, &to).await;
        to.store.close().await;
        std::mem::forget(to);
    }
}

#[tokio::test]
async fn an_older_schema_is_saved_as_it_is_and_restored_as_the_newest() {
    let full = full().await;
    for statement in [
        "ALTER TABLE attested_node_entries DROP COLUMN agent_version",
        "ALTER TABLE registered_entries DROP COLUMN additional_attributes",
        "UPDATE migrations SET version = 23, code_version = '1.12.4'",
    ] {
        full.sql(statement).await;
    }
    let archive = saved(&full.options, None).await.unwrap();
    assert_eq!(full.sql("SELECT version FROM migrations").await, [["23"]]);
    let to = new_sqlite().await;
    filled(&to.options, &archive, true).await.unwrap();
    let to = to.open().await;
    assert_eq!(to.sql("SELECT version, code_version FROM migrations").await, [["25", "1.15.3"]]);
    assert_eq!(to.sql("SELECT DISTINCT agent_version FROM attested_node_entries").await, [["NULL"]]);
}

#[tokio::test]
async fn what_would_be_lost_is_not_saved() {
    let full = full().await;
    full.sql("UPDATE migrations SET version = 26, code_version = '1.16.0'").await;
    let error = saved(&full.options, None).await.map(drop).unwrap_err().to_string();
    assert_eq!(error, "datastore-sql: schema version 26 is newer than this program: use one of its release");
    full.sql("DROP TABLE migrations").await;
    assert!(matches!(saved(&full.options, None).await, Err(Error::SchemaMissing)));
    let nothing = new_sqlite().await;
    assert!(matches!(saved(&nothing.options, None).await, Err(Error::Unavailable(_))));
}

/// Rows without a key, which no server writes, would be lost.
#[tokio::test]
async fn a_table_that_cannot_be_read_to_its_end_is_refused() {
    let full = full().await;
    full.sql(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 600) \
         INSERT INTO federated_registration_entries (bundle_id, registered_entry_id) SELECT NULL, n FROM n",
    )
    .await;
    let said = "federated_registration_entries: datastore-sql: of ";
    let error = saved(&full.options, None).await.map(drop).unwrap_err().to_string();
    assert!(error.starts_with(said), "{error}");
    let to = new_sqlite().await;
    let copied = migrate(full.options.clone(), to.options.clone(), &Clock::system(), &mut |_| {}).await;
    let error = copied.unwrap_err().to_string();
    assert!(error.starts_with(said), "{error}");
}

/// What is two texts elsewhere.
#[allow(dead_code, reason = "of servers alone")]
pub(crate) async fn what_a_database_takes_for_the_same_is_told(to: Unopened) {
    let full = full().await;
    full.sql("INSERT INTO selectors (registered_entry_id, type, value) VALUES (400, 'unix', 'UID:7')").await;
    let copied = migrate(full.options.clone(), to.options.clone(), &Clock::system(), &mut |_| {}).await;
    let error = copied.unwrap_err().to_string();
    let said =
        "selectors: datastore-sql: Error 1062 (23000): Duplicate entry '400-unix-UID:7' for key 'idx_selector_entry'";
    assert_eq!(error, said);
    let to = to.open().await;
    assert_eq!(to.sql("SELECT COUNT(*) FROM bundles").await, [["0"]]);
}

#[tokio::test]
async fn the_newer_program_that_wrote_a_database_is_kept() {
    let full = full().await;
    full.sql("UPDATE migrations SET code_version = '1.15.9'").await;
    let to = new_sqlite().await;
    let archive = saved(&full.options, None).await.unwrap();
    filled(&to.options, &archive, true).await.unwrap();
    let to = to.open().await;
    assert_eq!(to.sql("SELECT code_version FROM migrations").await, [["1.15.9"]]);
}
