//! Nothing can be had of the database: it is stopped or restarted, its connections are cut, or it says nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use steeple_pki::{KeyType, PrivateKey};
use steeple_testkit::database::{DatabaseServer, own_mariadb, own_postgres};
use steeple_tests::{AgentByHand, Database, Port, Scratch, Toxiproxy, until, within};
use steeple_transport::status::retry_delay;
use tonic::Code;

use super::super::status::status;
use super::super::{Shared, at_mariadb, at_postgres};
use super::{Site, mariadb_does, postgres_does, row};

/// A PostgreSQL with an empty database that no other case has.
async fn postgres() -> Result<(DatabaseServer, Database)> {
    let server = own_postgres();
    postgres_does(server.port, "postgres", &["CREATE DATABASE site"]).await?;
    let database = at_postgres(server.port, "site");
    Ok((server, database))
}

/// As [`postgres`].
async fn mariadb() -> Result<(DatabaseServer, Database)> {
    let server = own_mariadb();
    mariadb_does(server.port, "mysql", &["CREATE DATABASE site CHARACTER SET utf8"]).await?;
    let database = at_mariadb(server.port, "site");
    Ok((server, database))
}

#[test]
fn without_its_postgresql_a_server_signs_and_syncs_and_puts_off_what_writes() -> Result<()> {
    row(async |scratch| stopped(scratch, postgres().await?).await)
}

#[test]
fn without_its_mariadb_a_server_signs_and_syncs_and_puts_off_what_writes() -> Result<()> {
    row(async |scratch| stopped(scratch, mariadb().await?).await)
}

async fn stopped(scratch: &Scratch, (server, database): (DatabaseServer, Database)) -> Result<()> {
    let mut site = Site::on(scratch, database).await?;
    let mut later = site.domain.new_agent("node2").await?;
    let node = site.domain.id("/node");
    let token = site.domain.server.token(&["-spiffeID", &node]).await?;
    site.domain.entry(&node, "/of-node", &[]).await?;
    for path in ["/node", "/of-node"] {
        site.acknowledged.insert(path.to_owned());
        site.attempted.insert(path.to_owned());
    }
    let port = Port::of(&site.domain).await?;
    server.stop();
    let stopped = Instant::now();
    site.workloads_go_on("stopped").await?;
    site.writes_are_put_off().await?;
    let csr = AgentByHand::request(&PrivateKey::generate(KeyType::EcP256)?, None)?;
    let refused = within("an attestation", port.attest(&token, csr)).await?.err().context("an agent was attested")?;
    ensure!(refused.code() == Code::Unavailable && retry_delay(&refused).is_some(), "{refused:?}");
    site.is_ready(false).await?;
    // An operator is told how old that is what the server goes on with.
    let lag = async || status(&site.domain.server).await.ok()?["lag_ms"].as_u64().map(Duration::from_millis);
    let (away, told) = (stopped.elapsed(), lag().await.context("no lag")?);
    ensure!(told >= away, "a lag of {told:?}, {away:?} after the database was stopped");
    // Whoever comes now is told to wait, and does.
    later.launch(&["-joinToken", &token])?;
    let refused = later.process()?.line("Failed to retrieve attestation result").await?;
    ensure!(refused.contains("code = Unavailable"), "{refused}");

    server.start_again();
    until("no lag", async || lag().await.filter(|lag| *lag < away)).await?;
    site.goes_on_by_itself().await?;
    later.healthy().await?;
    // And is known by the name that its token was to give it.
    later.workload().follow().until_id(&site.domain.id("/of-node")).await?;
    Ok(())
}

#[test]
fn a_server_takes_up_its_postgresql_after_a_restart() -> Result<()> {
    row(async |scratch| restarted(scratch, postgres().await?).await)
}

#[test]
fn a_server_takes_up_its_mariadb_after_a_restart() -> Result<()> {
    row(async |scratch| restarted(scratch, mariadb().await?).await)
}

async fn restarted(scratch: &Scratch, (server, database): (DatabaseServer, Database)) -> Result<()> {
    let mut site = Site::on(scratch, database).await?;
    for _ in 0..3 {
        server.stop();
        server.start_again();
        site.goes_on_by_itself().await?;
    }
    let log = site.domain.server.process()?.log()?;
    ensure!(log.contains("Database was started again, or is another one; all of it is compared"), "{log}");
    ensure!(!log.contains("Database was replaced or moved back"), "nothing has moved back: {log}");
    site.workloads_go_on("restarted").await
}

#[test]
fn a_server_that_is_cut_off_from_postgresql_goes_on_and_comes_back() -> Result<()> {
    row(async |scratch| behind(scratch, Shared::on_postgres(scratch).await?, Away::Cut).await)
}

#[test]
fn a_server_that_is_cut_off_from_mariadb_goes_on_and_comes_back() -> Result<()> {
    row(async |scratch| behind(scratch, Shared::on_mariadb(scratch).await?, Away::Cut).await)
}

#[test]
fn a_server_whose_postgresql_hangs_goes_on_and_comes_back() -> Result<()> {
    row(async |scratch| behind(scratch, Shared::on_postgres(scratch).await?, Away::Hung).await)
}

#[test]
fn a_server_whose_mariadb_hangs_goes_on_and_comes_back() -> Result<()> {
    row(async |scratch| behind(scratch, Shared::on_mariadb(scratch).await?, Away::Hung).await)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// Connections break, and none can be made.
    Cut,
    /// Connections are there, and nothing comes.
    Hung,
}

async fn behind(scratch: &Scratch, shared: Shared, away: Away) -> Result<()> {
    let Some(wire) = Toxiproxy::before(shared.port, "a database that is away", scratch).await? else { return Ok(()) };
    let mut site = Site::on(scratch, shared.through(wire.port)).await?;
    match away {
        Away::Cut => wire.let_through(false).await?,
        Away::Hung => wire.poison("timeout", json!({ "timeout": 0 }), 1.0).await?,
    }
    site.workloads_go_on("away").await?;
    site.is_ready(false).await?;
    site.writes_are_put_off().await?;
    match away {
        Away::Cut => wire.let_through(true).await?,
        Away::Hung => wire.cure("timeout").await?,
    }
    site.goes_on_by_itself().await
}

#[test]
fn what_is_told_of_health_names_the_reason() -> Result<()> {
    row(async |scratch| {
        let (server, database) = postgres().await?;
        let site = Site::on(scratch, database).await?;
        server.stop();
        site.is_ready(false).await?;
        let (_, told) = steeple_tests::http(site.health, "GET /ready", "").await?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let reason = told["catalog.datastore"]["list_bundle_err"].as_str().context("no reason")?;
        let expected = format!("datastore-sql: dial tcp 127.0.0.1:{}: connect: connection refused", server.port);
        ensure!(reason == expected, "{told}");
        ensure!(told["server"] == json!({}) && told["server.ca"] == json!({}), "{told}");
        Ok(())
    })
}
