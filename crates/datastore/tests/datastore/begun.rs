//! What was done of a schema on MySQL stays when a server, or its database, dies before the rest.

use steeple_datastore::{DataStore, Error};
use steeple_runtime::Clock;

use crate::opened::Opened;
use crate::schema::{assert_same, described, make_23, tables};
use crate::unopened::Unopened;

/// The script that makes it.
const SCRIPT: &str = include_str!("../../src/schema/mysql.sql");

pub(crate) async fn a_schema_that_was_begun_is_finished(whole: Opened) {
    let statements: Vec<_> = SCRIPT.split_inclusive(";\n").collect();
    let of_versions = statements.iter().position(|it| it.starts_with("CREATE TABLE migrations ")).unwrap();
    for done in [1, of_versions, of_versions + 1, statements.len()] {
        let Unopened { options, place, .. } = &whole.empty_twin().await;
        place.sql(&statements[..done].concat()).await;
        let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
        assert_eq!(place.sql("SELECT id, version, code_version FROM migrations").await, [["1", "25", "1.15.3"]]);
        assert_same(&described(place).await, &described(&whole.place).await);
        store.close().await;
    }
}

/// Tables of that name may be those of others, and rows are nobody's to lose.
pub(crate) async fn what_no_unfinished_start_has_left_is_left_alone(whole: Opened) {
    let row = "INSERT INTO bundles (trust_domain) VALUES ('spiffe://td')";
    for (made, count) in [("CREATE TABLE bundles (id int)".to_owned(), 1), (format!("{SCRIPT}{row}"), 13)] {
        let Unopened { options, place, .. } = &whole.empty_twin().await;
        place.sql(&made).await;
        let error = DataStore::open(options.clone(), Clock::system()).await.unwrap_err();
        assert!(matches!(error, Error::SchemaUnknown("bundles")), "{error}");
        assert_eq!(tables(place).await.len(), count);
    }
}

/// Before it was written down.
pub(crate) async fn a_migration_that_was_begun_is_finished(opened: Opened) {
    opened.close().await;
    let current = described(&opened.place).await;
    make_23(&opened.place).await;
    opened.sql("ALTER TABLE attested_node_entries ADD agent_version varchar(255)").await;
    for from in ["23", "24"] {
        opened.sql(&format!("UPDATE migrations SET version = {from}, code_version = '1.14.0'")).await;
        opened.another().await.close().await;
        assert_eq!(opened.sql("SELECT version, code_version FROM migrations").await, [["25", "1.15.3"]], "{from}");
        assert_same(&described(&opened.place).await, &current);
    }
}
