//! Administrators may have set another isolation of transactions for the whole database.

use steeple_datastore::{MySqlServer, Source, TlsFiles};
use steeple_testkit::database::{USER, mariadb};

use crate::opened::Opened;
use crate::unopened::Place;
use crate::{feed, writes};

/// An empty database whose sessions begin with the isolation `level`.
async fn with(new: &Opened, level: &str) -> Opened {
    let mut empty = new.empty_twin().await;
    let database = empty.place.database();
    match &empty.place {
        Place::MySql(_) => {
            let (port, level) = (mariadb().port, level.replace(' ', "-"));
            let dsn = format!("{USER}@tcp(127.0.0.1:{port})/{database}?parseTime=true&tx_isolation=%27{level}%27");
            empty.options.source = Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap());
        }
        _ => {
            let set = format!("ALTER DATABASE {database} SET default_transaction_isolation = '{level}'");
            empty.place.sql(&set).await;
        }
    }
    empty.open().await
}

/// Those that are not the default, and that servers really have.
fn levels(new: &Opened) -> &'static [&'static str] {
    if let Place::MySql(_) = new.place { &["READ COMMITTED"] } else { &["REPEATABLE READ", "SERIALIZABLE"] }
}

pub(crate) async fn what_is_written_at_once_is_right_at_each_level(new: Opened) {
    for level in levels(&new) {
        writes::of_similar_entries_created_at_once_there_is_one(with(&new, level).await).await;
        writes::a_bundle_that_servers_append_to_at_once_has_all_of_it(with(&new, level).await).await;
    }
}

pub(crate) async fn changes_come_at_each_level(new: Opened) {
    for level in levels(&new) {
        feed::brings_what_another_store_wrote(with(&new, level).await).await;
    }
}
