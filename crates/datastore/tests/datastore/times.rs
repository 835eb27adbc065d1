//! Zones: of a session of PostgreSQL, of a connection string of MySQL, of a process that writes a file. What is meant is
//! the same moment everywhere.

use std::time::{Duration, SystemTime};

use steeple_datastore::entries::{CreateEntry, EntryFilter};
use steeple_datastore::events::PruneEntryEvents;
use steeple_datastore::nodes::{CreateNode, NodeFilter};
use steeple_datastore::{DataStore, MySqlServer, Node, Options, Page, PostgresServer, Source, TlsFiles};
use steeple_testkit::ManualClock;
use steeple_testkit::database::{USER, mariadb, postgres};

use crate::opened::{Opened, entry};
use crate::unopened::{Place, fixture};

/// 2036-10-26 03:44:02 UTC.
const END: i64 = 2_108_605_442;
/// 2026-11-24 16:28:10 UTC.
const NOW: u64 = 1_795_537_690;

/// The same database, seen from another zone.
fn from_afar(opened: &Opened, zone: &str) -> Options {
    let database = match &opened.place {
        Place::File(_) => panic!("not a server"),
        place => place.database(),
    };
    let source = match &opened.place {
        Place::MySql(_) => {
            let (port, zone) = (mariadb().port, zone.replace('/', "%2F"));
            let dsn = format!("{USER}@tcp(127.0.0.1:{port})/{database}?parseTime=true&loc={zone}");
            Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap())
        }
        _ => {
            let string = format!(
                "host=127.0.0.1 port={} user={USER} dbname={database} sslmode=disable timezone={zone}",
                postgres().port
            );
            Source::Postgres(PostgresServer::parse(&string).unwrap())
        }
    };
    Options { source, ..opened.options.clone() }
}

pub(crate) async fn a_zone_changes_no_moment(opened: Opened) {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_millis(NOW * 1000 + 400));
    for zone in ["Asia/Kolkata", "America/New_York", "UTC"] {
        let store = DataStore::open(from_afar(&opened, zone), clock.clock()).await.unwrap();
        let node = Node { spiffe_id: zone.into(), expires_at: END, new_expires_at: Some(END + 1), ..Node::default() };
        store.write(CreateNode(node.clone())).await.unwrap();
        store.write(CreateEntry { entry: entry("e") }).await.unwrap();
        assert_eq!(store.fetch_node(zone).await.unwrap().unwrap(), node, "{zone}");
        let created = store.fetch_entry("e").await.unwrap().unwrap().created_at;
        assert_eq!(u64::try_from(created).unwrap(), NOW, "{zone}");
        for (before, count) in [(END, 0), (END + 1, 1)] {
            let filter = NodeFilter { by_expires_before: Some(before), ..NodeFilter::default() };
            assert_eq!(store.count_nodes(&filter).await.unwrap(), count, "{zone}");
        }
        let columns = "SELECT expires_at, created_at FROM attested_node_entries";
        let (expires_at, created_at) = match (&opened.place, zone) {
            // As long as the session says nothing else, the server shows its own zone.
            (Place::Postgres(_), _) | (_, "UTC") => ("2036-10-26 03:44:02", "2026-11-24 16:28:10"),
            (_, "Asia/Kolkata") => ("2036-10-26 09:14:02", "2026-11-24 21:58:10"),
            _ => ("2036-10-25 23:44:02", "2026-11-24 11:28:10"),
        };
        let shown = opened.sql(columns).await.concat();
        assert!(shown[0].starts_with(expires_at) && shown[1].starts_with(created_at), "{zone}: {shown:?}");

        let moment = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        store.write(CreateEntry { entry: entry("newest") }).await.unwrap();
        let prune = |created_before| store.write(PruneEntryEvents { created_before });
        assert_eq!(prune(moment(NOW)).await.unwrap(), 0, "{zone}");
        assert_eq!(prune(moment(NOW + 1)).await.unwrap(), 1, "{zone}");
        store.close().await;
        for table in ["attested_node_entries", "registered_entries", "registered_entries_events"] {
            opened.sql(&format!("DELETE FROM {table}")).await;
        }
    }
}

/// Columns of MySQL have no zone: they are what the string says, and the reference's says nothing, which is UTC.
pub(crate) async fn the_zone_of_the_database_changes_no_moment_that_the_reference_wrote(new: Opened) {
    let [name] = new.left_behind() else { panic!("one dump") };
    let (left, before) = (fixture(name, |_| {}).await, fixture(name, |_| {}).await);
    left.sql(&match &left.place {
        Place::Postgres(_) => format!("ALTER DATABASE {} SET timezone = 'Asia/Kolkata'", left.place.database()),
        // Of all databases; no case looks at times of the server's own.
        _ => "SET GLOBAL time_zone = '+05:30'".to_owned(),
    })
    .await;
    let (store, page) = (left.another().await, Page::default());
    let (entries, nodes) = (EntryFilter::default(), NodeFilter::default());
    assert_eq!(
        store.list_entries(&entries, &page).await.unwrap().rows,
        before.list_entries(&entries, &page).await.unwrap().rows
    );
    assert_eq!(
        store.list_nodes(&nodes, &page, true).await.unwrap().rows,
        before.list_nodes(&nodes, &page, true).await.unwrap().rows
    );
}
