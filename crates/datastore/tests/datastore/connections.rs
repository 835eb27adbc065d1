//! How servers are reached: TLS, passwords, sockets; and what is said when they are not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use steeple_datastore::nodes::CreateNode;
use steeple_datastore::{DataStore, Error, MySqlServer, Node, Options, PostgresServer, Source, TlsFiles};
use steeple_runtime::Clock;
use steeple_testkit::Ca;
use steeple_testkit::database::{DatabaseServer, USER, WITH_PASSWORD, mariadb, postgres};

use crate::opened::{Opened, on_mariadb, on_postgres};

fn to_postgres(text: &str) -> Options {
    Options::of(Source::Postgres(PostgresServer::parse(text).unwrap()))
}

fn to_mariadb(text: &str, root_ca: Option<PathBuf>) -> Options {
    let files = TlsFiles { root_ca, ..TlsFiles::default() };
    Options::of(Source::MySql(MySqlServer::parse(text, files).unwrap()))
}

async fn opens(options: Options) -> DataStore {
    let store = DataStore::open(options, Clock::system()).await.unwrap();
    store.write(CreateNode(Node { spiffe_id: "n".into(), ..Node::default() })).await.unwrap();
    store
}

async fn refuses(options: Options) -> String {
    let error = DataStore::open(options, Clock::system()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_) | Error::Sql(_)), "{error:?}");
    error.to_string()
}

/// An authority that has nothing to do with the server, and the directory that it lies in.
fn another_authority() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.pem");
    std::fs::write(&path, Ca::new("other.test", Clock::system().now()).root().to_pem()).unwrap();
    (dir, path)
}

#[tokio::test]
async fn tls_to_postgres_is_verified_as_sslmode_says() {
    let (opened, server) = (on_postgres().await, postgres());
    let database = opened.place.database();
    let DatabaseServer { port, authority, .. } = server;
    let (_dir, other) = another_authority();
    let string = |host: &str, mode: &str, root: &PathBuf| {
        to_postgres(&format!(
            "host={host} port={port} user={USER} dbname={database} sslmode={mode} sslrootcert={} application_name=tls",
            root.display()
        ))
    };
    let store = opens(string("localhost", "verify-full", authority)).await;
    let encrypted = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'tls' AND datname = current_database()";
    assert_eq!(opened.sql(encrypted).await, [["t"]]);
    store.close().await;
    // Its certificate is for the name alone.
    DataStore::open(string("127.0.0.1", "verify-ca", authority), Clock::system()).await.unwrap();
    DataStore::open(string("127.0.0.1", "require", authority), Clock::system()).await.unwrap();
    for (host, mode, root) in [
        ("127.0.0.1", "verify-full", authority),
        ("localhost", "verify-full", &other),
        ("localhost", "verify-ca", &other),
        ("localhost", "require", &other),
    ] {
        let error = refuses(string(host, mode, root)).await;
        assert!(error.contains("certificate"), "{mode}: {error}");
    }
    let unverified = format!("host=127.0.0.1 port={port} user={USER} dbname={database}");
    DataStore::open(to_postgres(&unverified), Clock::system()).await.unwrap();
}

#[tokio::test]
async fn tls_to_mariadb_is_verified_with_the_authority_that_is_given() {
    let (opened, server) = (on_mariadb().await, mariadb());
    let database = opened.place.database();
    let DatabaseServer { port, authority, .. } = server;
    let (_dir, other) = another_authority();
    // An account that has to use TLS.
    let user = format!("tls_{database}");
    opened.sql(&format!("CREATE USER {user}@127.0.0.1 REQUIRE SSL")).await;
    opened.sql(&format!("GRANT ALL ON {database}.* TO {user}@127.0.0.1")).await;
    let dsn = |host: &str, tls: &str| format!("{user}@tcp({host}:{port})/{database}?parseTime=true{tls}");
    opens(to_mariadb(&dsn("localhost", ""), Some(authority.clone()))).await;
    DataStore::open(to_mariadb(&dsn("127.0.0.1", "&tls=skip-verify"), None), Clock::system()).await.unwrap();
    for (host, tls, root) in
        [("127.0.0.1", "", Some(authority.clone())), ("localhost", "", Some(other)), ("localhost", "&tls=true", None)]
    {
        let error = refuses(to_mariadb(&dsn(host, tls), root)).await;
        assert!(error.contains("certificate"), "{host} {tls}: {error}");
    }
    let error = refuses(to_mariadb(&dsn("127.0.0.1", ""), None)).await;
    assert!(error.starts_with("datastore-sql: Error 1045 (28000): Access denied for user"), "{error}");
}

#[tokio::test]
async fn a_password_of_postgres_comes_from_the_string_or_from_the_file_of_passwords() {
    let (opened, port) = (on_postgres().await, postgres().port);
    let database = opened.place.database();
    let role = format!("password_{database}");
    opened
        .sql(&format!(
            "DO $$ BEGIN CREATE ROLE {WITH_PASSWORD}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; \
             END $$; CREATE ROLE {role} LOGIN PASSWORD 'sec:ret' IN ROLE {WITH_PASSWORD}; \
             GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; \
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
        ))
        .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let string = |password: &str| {
        let file = file.display();
        to_postgres(&format!(
            "host=127.0.0.1 port={port} user={role} dbname={database} sslmode=disable passfile={file} {password}"
        ))
    };
    let wrong = format!("datastore-sql: pq: password authentication failed for user \"{role}\" (28P01)");
    assert_eq!(refuses(string("password=wrong")).await, wrong);
    opens(string("password=sec:ret")).await;

    std::fs::write(&file, format!("127.0.0.1:1:*:{role}:no\n127.0.0.1:{port}:{database}:{role}:sec\\:ret\n")).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    DataStore::open(string(""), Clock::system()).await.unwrap();
    assert_eq!(refuses(string("password=wrong")).await, wrong, "the string has the last word");
    // A password that changes is found at the next connection.
    let store = DataStore::open(Options { idle_connections: 0, ..string("") }, Clock::system()).await.unwrap();
    opened.sql(&format!("ALTER ROLE {role} PASSWORD 'new'")).await;
    std::fs::write(&file, format!("*:*:*:{role}:new\n")).unwrap();
    assert!(store.fetch_node("n").await.unwrap().is_some());
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_words_of_the_database() {
    let (opened, port) = (on_mariadb().await, mariadb().port);
    let database = opened.place.database();
    let user = format!("password_{database}");
    opened.sql(&format!("CREATE USER {user}@127.0.0.1 IDENTIFIED BY 'se@cret:/'")).await;
    opened.sql(&format!("GRANT ALL ON {database}.* TO {user}@127.0.0.1")).await;
    let dsn =
        |password: &str| to_mariadb(&format!("{user}{password}@tcp(127.0.0.1:{port})/{database}?parseTime=1"), None);
    opens(dsn(":se@cret:/")).await;
    let denied =
        format!("datastore-sql: Error 1045 (28000): Access denied for user '{user}'@'127.0.0.1' (using password: ");
    assert_eq!(refuses(dsn(":wrong")).await, format!("{denied}YES)"));
    assert_eq!(refuses(dsn("")).await, format!("{denied}NO)"));
}

#[tokio::test]
async fn both_are_reached_by_their_sockets() {
    let (opened, server) = (on_postgres().await, postgres());
    let (database, DatabaseServer { port, sockets, .. }) = (opened.place.database(), server);
    let sockets = sockets.display();
    // Without a word on TLS, which is the default elsewhere.
    opens(to_postgres(&format!("host={sockets} port={port} user={USER} dbname={database}"))).await;
    opens_by_socket(&on_mariadb().await).await;
}

async fn opens_by_socket(opened: &Opened) {
    let (database, sockets) = (opened.place.database(), mariadb().sockets.display());
    let user = format!("socket_{database}");
    opened.sql(&format!("CREATE USER {user}@localhost")).await;
    opened.sql(&format!("GRANT ALL ON {database}.* TO {user}@localhost")).await;
    opens(to_mariadb(&format!("{user}@unix({sockets}/socket)/{database}?parseTime=true"), None)).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let none = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (options, text) in [
        (
            to_postgres(&format!("host=127.0.0.1 port={none}")),
            format!("tcp 127.0.0.1:{none}: connect: connection refused"),
        ),
        (to_postgres("host=/nowhere"), "unix /nowhere/.s.PGSQL.5432: connect: no such file or directory".to_owned()),
        (
            to_mariadb(&format!("u@tcp(127.0.0.1:{none})/d?parseTime=1"), None),
            format!("tcp 127.0.0.1:{none}: connect: connection refused"),
        ),
        (
            to_mariadb("u@unix(/nowhere)/d?parseTime=1", None),
            "unix /nowhere: connect: no such file or directory".to_owned(),
        ),
    ] {
        assert_eq!(refuses(options).await, format!("datastore-sql: dial {text}"));
    }
    let unknown =
        to_postgres(&format!("host=127.0.0.1 port={} user={USER} dbname=none sslmode=disable", postgres().port));
    assert_eq!(refuses(unknown).await, "datastore-sql: pq: database \"none\" does not exist (3D000)");
    let unknown = to_mariadb(&format!("{USER}@tcp(127.0.0.1:{})/none?parseTime=1", mariadb().port), None);
    assert_eq!(refuses(unknown).await, "datastore-sql: Error 1049 (42000): Unknown database 'none'");
}

#[tokio::test]
async fn what_else_a_string_of_mysql_holds_is_set_in_each_session() {
    let opened = on_mariadb().await;
    let dsn = |more: &str| {
        let (port, database) = (mariadb().port, opened.place.database());
        to_mariadb(&format!("{USER}@tcp(127.0.0.1:{port})/{database}?parseTime=true&{more}"), None)
    };
    opens(dsn("lock_wait_timeout=7&sql_mode=%27TRADITIONAL%27")).await;
    assert_eq!(refuses(dsn("foo=bar")).await, "datastore-sql: Error 1193 (HY000): Unknown system variable 'foo'");
}

#[tokio::test]
async fn of_several_servers_of_postgres_the_first_that_fits_is_used() {
    let (opened, port) = (on_postgres().await, postgres().port);
    let none = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let database = opened.place.database();
    let string = |ports: &str, more: &str| {
        to_postgres(&format!(
            "host=127.0.0.1,127.0.0.1 port={ports} user={USER} dbname={database} sslmode=disable {more}"
        ))
    };
    let both = format!("{none},{port}");
    for fitting in ["", "target_session_attrs=read-write", "target_session_attrs=primary load_balance_hosts=random"] {
        DataStore::open(string(&both, fitting), Clock::system()).await.unwrap();
    }
    DataStore::open(string(&both, "target_session_attrs=prefer-standby"), Clock::system()).await.unwrap();
    let first = format!("127.0.0.1:{none}: dial tcp 127.0.0.1:{none}: connect: connection refused");
    let all = "datastore-sql: pq: could not connect to any of the hosts:\nconnecting to ";
    for (unfit, why) in [("standby", "server is not in hot standby mode"), ("read-only", "session is not read-only")] {
        let attrs = format!("target_session_attrs={unfit}");
        let expected = format!("{all}{first}\nconnecting to 127.0.0.1:{port}: {why}");
        assert_eq!(refuses(string(&both, &attrs)).await, expected);
        let one = format!("host=127.0.0.1 port={port} user={USER} dbname={database} sslmode=disable {attrs}");
        assert_eq!(refuses(to_postgres(&one)).await, format!("datastore-sql: {why}"));
    }
    let store = opens(string(&format!("{port},{none}"), "target_session_attrs=read-write")).await;
    let mut feed = store.feed();
    feed.snapshot().await.unwrap();
    opened.write(CreateNode(Node { spiffe_id: "heard".into(), ..Node::default() })).await.unwrap();
    feed.next().await.unwrap();
}
