//! The database answers, but slowly, not always, or not to what writes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use steeple_testkit::database::{
    DatabaseServer, SMALL, USER, mariadb_on_small_disk, no_small_disks, own_mariadb, postgres_on_small_disk,
};
use steeple_tests::{Database, Random, Scratch, Toxiproxy, cannot_run_here, say};

use super::super::{Shared, at_mariadb, at_postgres};
use super::{Site, end_connections, mariadb_does, postgres_does, row};

/// More entries than that do not go on a full disk.
const AT_MOST: usize = 20_000;

#[test]
fn a_server_whose_postgresql_takes_two_seconds_an_answer_goes_on_slowly() -> Result<()> {
    row(async |scratch| slow(scratch, Shared::on_postgres(scratch).await?).await)
}

#[test]
fn a_server_whose_mariadb_takes_two_seconds_an_answer_goes_on_slowly() -> Result<()> {
    row(async |scratch| slow(scratch, Shared::on_mariadb(scratch).await?).await)
}

async fn slow(scratch: &Scratch, shared: Shared) -> Result<()> {
    let Some(wire) = Toxiproxy::before(shared.port, "a slow database", scratch).await? else { return Ok(()) };
    let mut site = Site::on(scratch, shared.through(wire.port)).await?;
    wire.poison("latency", json!({ "latency": 2000 }), 1.0).await?;
    site.workloads_go_on("slow").await?;
    // It takes its time, and arrives.
    site.create("/slow").await?.ok().context("an entry was refused")?;
    while !site.next().await?.svids.iter().any(|svid| svid.spiffe_id == "spiffe://example.org/slow") {}
    wire.cure("latency").await?;
    site.goes_on_by_itself().await
}

#[test]
fn a_server_whose_connections_to_postgresql_break_at_random_loses_nothing() -> Result<()> {
    row(async |scratch| torn(scratch, Shared::on_postgres(scratch).await?).await)
}

#[test]
fn a_server_whose_connections_to_mariadb_break_at_random_loses_nothing() -> Result<()> {
    row(async |scratch| torn(scratch, Shared::on_mariadb(scratch).await?).await)
}

async fn torn(scratch: &Scratch, shared: Shared) -> Result<()> {
    let Some(wire) = Toxiproxy::before(shared.port, "connections that break", scratch).await? else { return Ok(()) };
    let mut site = Site::on(scratch, shared.through(wire.port)).await?;
    let mut random = Random::seeded("outages")?;
    let mut refused = 0;
    for round in 0..30 {
        let after = random.moment(Duration::from_millis(60)).as_millis();
        wire.poison("reset_peer", json!({ "timeout": u64::try_from(after)? }), 0.5).await?;
        for entry in 0..3 {
            if let Err(status) = site.create(&format!("/{round}-{entry}")).await? {
                ensure!(status.code == tonic::Code::Unavailable as i32, "{status:?}");
                refused += 1;
            }
        }
        wire.cure("reset_peer").await?;
    }
    ensure!(refused > 0, "no connection broke");
    site.workloads_go_on("torn").await?;
    site.goes_on_by_itself().await?;
    say(&format!("outages: {refused} of 90 writes put off by connections that broke, none lost"));
    Ok(())
}

#[test]
fn a_server_whose_postgresql_becomes_read_only_puts_off_what_writes() -> Result<()> {
    row(async |scratch| {
        let shared = Shared::on_postgres(scratch).await?;
        let mut site = Site::on(scratch, shared.database.clone()).await?;
        let name = &shared.name;
        let set = |read_only: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}");
        let end = end_connections(name);
        postgres_does(shared.port, "postgres", &[&set("on"), &end]).await?;
        read_only(&mut site).await?;
        postgres_does(shared.port, "postgres", &[&set("off"), &end]).await?;
        site.goes_on_by_itself().await
    })
}

#[test]
fn a_server_whose_mariadb_becomes_read_only_puts_off_what_writes() -> Result<()> {
    row(async |scratch| {
        let server = own_mariadb();
        let account = [
            "CREATE DATABASE site CHARACTER SET utf8",
            "CREATE USER site@127.0.0.1",
            "GRANT ALL ON site.* TO site@127.0.0.1",
        ];
        mariadb_does(server.port, "mysql", &account).await?;
        let Database { kind, connection_string } = at_mariadb(server.port, "site");
        // Who may do everything may write all the same.
        let connection_string = connection_string.replacen(USER, "site", 1);
        let mut site = Site::on(scratch, Database { kind, connection_string }).await?;
        mariadb_does(server.port, "mysql", &["SET GLOBAL read_only = 1"]).await?;
        read_only(&mut site).await?;
        mariadb_does(server.port, "mysql", &["SET GLOBAL read_only = 0"]).await?;
        site.goes_on_by_itself().await
    })
}

/// It reads, and so is ready.
async fn read_only(site: &mut Site) -> Result<()> {
    site.workloads_go_on("read-only").await?;
    site.writes_are_put_off().await?;
    site.is_ready(true).await
}

#[test]
fn a_server_whose_postgresql_has_no_room_puts_off_what_writes() -> Result<()> {
    row(async |scratch| {
        if let Some(reason) = no_small_disks() {
            return cannot_run_here("a database without room", &reason);
        }
        let server = postgres_on_small_disk();
        let place = server.sockets.join(SMALL);
        let place = format!("CREATE TABLESPACE small LOCATION '{}'", place.display());
        postgres_does(server.port, "postgres", &[&place, "CREATE DATABASE site TABLESPACE small"]).await?;
        let database = at_postgres(server.port, "site");
        without_room(scratch, &server, database).await
    })
}

#[test]
fn a_server_whose_mariadb_has_no_room_puts_off_what_writes() -> Result<()> {
    row(async |scratch| {
        if let Some(reason) = no_small_disks() {
            return cannot_run_here("a database without room", &reason);
        }
        let server = mariadb_on_small_disk();
        mariadb_does(server.port, "mysql", &["ALTER DATABASE small CHARACTER SET utf8"]).await?;
        without_room(scratch, &server, at_mariadb(server.port, SMALL)).await
    })
}

async fn without_room(scratch: &Scratch, server: &DatabaseServer, database: Database) -> Result<()> {
    let mut site = Site::on(scratch, database).await?;
    server.fill_disk();
    // There is some room in the files themselves.
    let mut kept = 0;
    let refused = loop {
        match site.create(&format!("/{kept}")).await? {
            Ok(()) => kept += 1,
            Err(status) => break status,
        }
        ensure!(kept < AT_MOST, "there is room for {AT_MOST} entries");
    };
    ensure!(refused.code == tonic::Code::Unavailable as i32, "{refused:?}");
    site.workloads_go_on("full").await?;
    // It reads.
    site.is_ready(true).await?;
    server.make_room();
    site.goes_on_by_itself().await?;
    say(&format!("outages: a full disk, all of {kept} acknowledged entries kept"));
    Ok(())
}
