//! How servers are reached: TLS, passwords, sockets; and what is said when they are not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use steeple_datastore::nodes::CreateNode;
use steeple_datastore::{DataStore, Error, MySqlServer, Node, Options, PasswordFile, PostgresServer, Source, TlsFiles};
use steeple_runtime::Clock;
use steeple_testkit::Ca;
use steeple_testkit::database::{
    DatabaseServer, USER, WITH_CERTIFICATE, WITH_PASSWORD, mariadb, postgres, write_certificate,
};

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
        assert!(error.contains(": tls: invalid peer certificate: "), "{mode}: {error}");
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
        assert!(error.contains(": tls: invalid peer certificate: "), "{host} {tls}: {error}");
    }
    let error = refuses(to_mariadb(&dsn("127.0.0.1", ""), None)).await;
    assert!(error.starts_with("datastore-sql: Error 1045 (28000): Access denied for user"), "{error}");
}

/// A certificate of an authority that has nothing to do with the server, and its key.
fn certificate_of_another_authority(dir: &Path) -> (PathBuf, PathBuf) {
    write_certificate(&Ca::new("other.test", Clock::system().now()), "client.test", dir, "stranger")
}

/// A role of PostgreSQL that members are treated by, and a new member.
async fn role_in(opened: &Opened, group: &str, name: &str, more: &str) {
    opened
        .sql(&format!(
            "DO $$ BEGIN CREATE ROLE {group}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; \
             END $$; CREATE ROLE {name} LOGIN {more} IN ROLE {group}; \
             GRANT ALL ON SCHEMA public TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}; \
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}"
        ))
        .await;
}

#[tokio::test]
async fn postgres_is_shown_the_certificate_that_the_string_names() {
    let (opened, server) = (on_postgres().await, postgres());
    let DatabaseServer { port, authority, client, .. } = server;
    let database = opened.place.database();
    let role = format!("certificate_{database}");
    role_in(&opened, WITH_CERTIFICATE, &role, "").await;
    let string = |more: &str| {
        let root = authority.display();
        to_postgres(&format!(
            "host=localhost port={port} user={role} dbname={database} sslmode=verify-full sslrootcert={root} {more}"
        ))
    };
    let shown = |(certificate, key): &(PathBuf, PathBuf)| {
        string(&format!("sslcert={} sslkey={}", certificate.display(), key.display()))
    };
    opens(shown(client)).await;
    let none = refuses(string("")).await;
    assert_eq!(none, "datastore-sql: pq: connection requires a valid client certificate (28000)");
    let dir = tempfile::tempdir().unwrap();
    let error = refuses(shown(&certificate_of_another_authority(dir.path()))).await;
    assert_eq!(error, format!("datastore-sql: dial tcp localhost:{port}: tls: received fatal alert: UnknownCA"));
    let nowhere = (dir.path().join("nowhere.pem"), dir.path().join("nowhere.key"));
    let error = refuses(shown(&nowhere)).await;
    assert_eq!(error, format!("datastore-sql: open {}: no such file or directory", nowhere.0.display()));
}

#[tokio::test]
async fn mariadb_is_shown_the_certificate_that_is_given() {
    let (opened, server) = (on_mariadb().await, mariadb());
    let DatabaseServer { port, authority, client, .. } = server;
    let database = opened.place.database();
    let user = format!("certificate_{database}");
    opened.sql(&format!("CREATE USER {user}@127.0.0.1 REQUIRE X509")).await;
    opened.sql(&format!("GRANT ALL ON {database}.* TO {user}@127.0.0.1")).await;
    let given = |client: Option<&(PathBuf, PathBuf)>| {
        let (certificate, key) = client.cloned().unzip();
        let files = TlsFiles { root_ca: Some(authority.clone()), client_certificate: certificate, client_key: key };
        let dsn = format!("{user}@tcp(localhost:{port})/{database}?parseTime=true");
        Options::of(Source::MySql(MySqlServer::parse(&dsn, files).unwrap()))
    };
    opens(given(Some(client))).await;
    let none = refuses(given(None)).await;
    assert!(none.starts_with("datastore-sql: Error 1045 (28000): Access denied for user"), "{none}");
    let dir = tempfile::tempdir().unwrap();
    let error = refuses(given(Some(&certificate_of_another_authority(dir.path())))).await;
    assert_eq!(error, format!("datastore-sql: dial tcp localhost:{port}: tls: received fatal alert: UnknownCA"));
    let nowhere = (dir.path().join("nowhere.pem"), dir.path().join("nowhere.key"));
    let error = DataStore::open(given(Some(&nowhere)), Clock::system()).await.unwrap_err().to_string();
    let what = "failed to load client certificate defined in client_cert_path and client_key_path";
    assert_eq!(error, format!("datastore-sql: invalid mysql config: {what}"));
}

#[tokio::test]
async fn a_password_of_postgres_comes_from_the_string_or_from_the_file_of_passwords() {
    let (opened, port) = (on_postgres().await, postgres().port);
    let database = opened.place.database();
    let role = format!("password_{database}");
    role_in(&opened, WITH_PASSWORD, &role, "PASSWORD 'sec:ret'").await;
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
async fn a_password_of_postgres_is_read_from_its_own_file_at_each_connection() {
    let (opened, port) = (on_postgres().await, postgres().port);
    let database = opened.place.database();
    let role = format!("in_file_{database}");
    role_in(&opened, WITH_PASSWORD, &role, "PASSWORD 'first'").await;
    let text =
        format!("host=127.0.0.1 port={port} user={role} dbname={database} sslmode=disable password=of-the-string");
    let of_file = |file| Source::Postgres(PostgresServer::parse(&text).unwrap().with_password_of(file));
    let denied = format!("datastore-sql: pq: password authentication failed for user \"{role}\" (28P01)");
    password_in_file(&opened, of_file, &format!("ALTER ROLE {role} PASSWORD 'second'"), &denied).await;
}

#[tokio::test]
async fn a_password_of_mariadb_is_read_from_its_own_file_at_each_connection() {
    let (opened, port) = (on_mariadb().await, mariadb().port);
    let database = opened.place.database();
    let user = format!("in_file_{database}");
    opened.sql(&format!("CREATE USER {user}@127.0.0.1 IDENTIFIED BY 'first'")).await;
    opened.sql(&format!("GRANT ALL ON {database}.* TO {user}@127.0.0.1")).await;
    let dsn = format!("{user}:of-the-string@tcp(127.0.0.1:{port})/{database}?parseTime=true");
    let of_file = |file| Source::MySql(MySqlServer::parse(&dsn, TlsFiles::default()).unwrap().with_password_of(file));
    let denied =
        format!("datastore-sql: Error 1045 (28000): Access denied for user '{user}'@'127.0.0.1' (using password: YES)");
    let change = format!("ALTER USER {user}@127.0.0.1 IDENTIFIED BY 'second'");
    password_in_file(&opened, of_file, &change, &denied).await;
}

/// An account with the password `first`, which `change` makes `second`.
async fn password_in_file(opened: &Opened, of_file: impl Fn(PasswordFile) -> Source, change: &str, denied: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let hold = |password: &str| std::fs::write(&path, format!("{password}\n")).unwrap();
    // Each use is a new connection.
    let options = || Options { idle_connections: 0, ..Options::of(of_file(PasswordFile::at(path.clone()))) };
    let missing = format!("datastore-sql: open {}: no such file or directory", path.display());
    assert_eq!(refuses(options()).await, missing);
    hold("wrong");
    assert_eq!(refuses(options()).await, denied);
    hold("first");
    let store = opens(options()).await;
    opened.sql(change).await;
    let refused = store.fetch_node("n").await.unwrap_err();
    assert_eq!(refused.to_string(), denied);
    hold("second");
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
