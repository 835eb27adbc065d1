//! Databases before a store opens them, and the way of other programs to them.

#![allow(dead_code, reason = "of two programs, each opens some kinds of databases")]

use std::path::{Path, PathBuf};

use steeple_datastore::{DataStore, MySqlServer, Options, PostgresServer, Source, TlsFiles};
use steeple_runtime::Clock;
pub(crate) use steeple_testkit::database::Place;
use steeple_testkit::database::{USER, mariadb, new_name, pgbouncer, restore_mariadb, restore_postgres};
use tempfile::TempDir;

use crate::opened::Opened;

/// A database of a case's own.
pub(crate) struct Unopened {
    pub(crate) options: Options,
    pub(crate) place: Place,
    directory: Option<TempDir>,
}

impl Unopened {
    /// No file, in a directory of its own.
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("datastore.sqlite3");
        Self { options: Options::sqlite(&path), place: Place::File(path), directory: Some(directory) }
    }

    /// An empty database.
    pub(crate) async fn postgres() -> Self {
        Self::of_postgres(Place::new_postgres().await)
    }

    /// An empty database, to which PgBouncer lends connections by transaction. Other programs go there directly.
    pub(crate) async fn pgbouncer() -> Self {
        let mut empty = Self::postgres().await;
        let url =
            format!("postgres://{USER}@127.0.0.1:{}/{}?sslmode=disable", pgbouncer().port, empty.place.database());
        empty.options.source = Source::Postgres(PostgresServer::parse(&url).unwrap());
        empty
    }

    /// An empty database.
    pub(crate) async fn mariadb() -> Self {
        Self::of_mariadb(Place::new_mariadb().await)
    }

    fn of_postgres(place: Place) -> Self {
        let Place::Postgres(url) = &place else { unreachable!() };
        let mut options = Options::of(Source::Postgres(PostgresServer::parse(url).unwrap()));
        options.connections = 8;
        Self { options, place, directory: None }
    }

    fn of_mariadb(place: Place) -> Self {
        let dsn = format!("{USER}@tcp(127.0.0.1:{})/{}?parseTime=true", mariadb().port, place.database());
        let mut options = Options::of(Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap()));
        options.connections = 8;
        Self { options, place, directory: None }
    }

    /// A copy of a database that the reference wrote.
    pub(crate) fn left_behind(what: &str) -> Self {
        match what {
            "postgres" => {
                let name = new_name();
                restore_postgres(&name, &data("postgres.sql"));
                Self::of_postgres(Place::of_postgres(&name))
            }
            "mysql" => {
                let name = new_name();
                restore_mariadb(&name, &data("mysql.sql"));
                Self::of_mariadb(Place::of_mariadb(&name))
            }
            file => {
                let empty = Self::sqlite();
                let Place::File(path) = &empty.place else { unreachable!() };
                std::fs::copy(data(&format!("{file}.sqlite3")), path).unwrap();
                empty
            }
        }
    }

    pub(crate) async fn open(self) -> Opened {
        let Self { options, place, directory } = self;
        let store = DataStore::open(options.clone(), Clock::system()).await.unwrap();
        Opened { store, options, place, _directory: directory }
    }
}

/// The same database by an account that has nothing but these rights on its tables.
pub(crate) async fn limited(place: &Place, options: &Options, rights: &str) -> Options {
    let database = place.database();
    let source = match place {
        Place::File(_) => panic!("a file has no accounts"),
        Place::Postgres(url) => {
            let user = format!("of_{database}");
            let statements = format!(
                "CREATE ROLE {user} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
                 GRANT {rights} ON ALL TABLES IN SCHEMA public TO {user}; \
                 GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"
            );
            place.sql(&statements).await;
            Source::Postgres(PostgresServer::parse(&url.replace(&format!("{USER}@"), &format!("{user}@"))).unwrap())
        }
        Place::MySql(_) => {
            let user = format!("of_{database}");
            place.sql(&format!("CREATE USER {user}@127.0.0.1")).await;
            place.sql(&format!("GRANT {rights} ON {database}.* TO {user}@127.0.0.1")).await;
            let dsn = format!("{user}@tcp(127.0.0.1:{})/{database}?parseTime=true", mariadb().port);
            Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap())
        }
    };
    Options { source, ..options.clone() }
}

/// Opens a copy of a database that the reference wrote.
pub(crate) async fn fixture(name: &str, change: impl FnOnce(&mut Options)) -> Opened {
    let mut unopened = Unopened::left_behind(name);
    change(&mut unopened.options);
    unopened.open().await
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
