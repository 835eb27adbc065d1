//! Whose certificates a database may have.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use steeple_runtime::Clock;
use steeple_testkit::Ca;
use steeple_testkit::database::{DatabaseServer, USER, mariadb, postgres};
use steeple_tests::{Database, Domain, Scratch, case};

use super::Shared;

#[test]
fn postgresql_is_believed_below_the_authorities_of_the_host_unless_others_are_given() -> Result<()> {
    case(async |scratch| {
        let (shared, server) = (Shared::on_postgres(scratch).await?, postgres());
        let (port, name) = (server.port, &shared.name);
        let to = |more: &str| Database {
            kind: "postgres",
            connection_string: format!("host=localhost port={port} user={USER} dbname={name} {more}"),
        };
        let others = others(scratch)?;
        let of_others = format!("sslmode=verify-full sslrootcert={}", others.display());
        hosts_authorities(
            scratch,
            server,
            [to("sslrootcert=system"), to("sslmode=verify-full"), to("sslmode=verify-ca")],
        )
        .await?;
        refuses(scratch, &to(&of_others), &server.authority).await
    })
}

#[test]
fn mariadb_is_believed_below_the_authorities_of_the_host() -> Result<()> {
    case(async |scratch| {
        let (shared, server) = (Shared::on_mariadb(scratch).await?, mariadb());
        let (port, name) = (server.port, &shared.name);
        let connection_string = format!("{USER}@tcp(localhost:{port})/{name}?parseTime=true&tls=true");
        hosts_authorities(scratch, server, [Database { kind: "mysql", connection_string }]).await
    })
}

/// A file with an authority that no database has.
fn others(scratch: &Scratch) -> Result<PathBuf> {
    let path = scratch.path().join("others.pem");
    std::fs::write(&path, Ca::new("other.test", Clock::system().now()).root().to_pem())?;
    Ok(path)
}

/// Fails unless a server goes to each of these databases on a host that believes its authority, and on no other.
async fn hosts_authorities<const N: usize>(
    scratch: &Scratch,
    server: &DatabaseServer,
    databases: [Database; N],
) -> Result<()> {
    let others = others(scratch)?;
    for database in databases {
        let mut domain = Domain::builder().database(database.clone()).write(scratch)?;
        domain.server.starter = believing(&server.authority);
        domain.server.start().await?;
        domain.server.stop().await?;
        refuses(scratch, &database, &others).await?;
    }
    Ok(())
}

/// Fails unless a server that is started where `authorities` are believed ends because it does not believe the database.
async fn refuses(scratch: &Scratch, database: &Database, authorities: &Path) -> Result<()> {
    let mut domain = Domain::builder().database(database.clone()).write(scratch)?;
    domain.server.starter = believing(authorities);
    domain.server.launch(&[])?;
    let ended = domain.server.process()?.exit().await?;
    let log = domain.server.written()?;
    ensure!(!ended.success() && log.contains("tls: invalid peer certificate: UnknownIssuer"), "{ended}: {log}");
    Ok(())
}

/// What starts a program on a host that believes these authorities alone.
fn believing(authorities: &Path) -> Vec<String> {
    vec!["env".to_owned(), format!("SSL_CERT_FILE={}", authorities.display())]
}
