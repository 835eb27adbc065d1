//! The database answers, but slowly, not always, or not to what writes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use steeple_proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_testkit::database::{
    DatabaseServer, SMALL, USER, mariadb_on_small_disk, no_small_disks, own_mariadb, postgres_on_small_disk,
};
use steeple_tests::{AgentByHand, Database, Port, Random, Scratch, Toxiproxy, cannot_run_here, say, until, within};
use steeple_transport::tls::Credential;
use tonic::{Code, Status};

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
    let port = Port::of(&site.domain).await?;
    let mut renewing = AgentByHand::attest(&site.domain, &port).await?;
    let mut random = Random::seeded("outages")?;
    let (mut refused, mut handed_out) = (0, 0);
    for round in 0..30 {
        let token = until("a token", async || site.domain.server.token(&[]).await.ok()).await?;
        let after = random.moment(Duration::from_millis(60)).as_millis();
        wire.poison("reset_peer", json!({ "timeout": u64::try_from(after)? }), 0.5).await?;
        for entry in 0..3 {
            let path = format!("/{round}-{entry}");
            if let Err(status) = site.create(&path).await? {
                ensure!(status.code == Code::Unavailable as i32, "{status:?}");
                // What was lost may have been the answer to its commit.
                site.attempted.insert(path);
                refused += 1;
            }
        }
        let attesting = AgentByHand::attest_with(&site.domain, &port, token);
        let attested = unless_put_off(within("an attestation", attesting).await?)?;
        let renewed = unless_put_off(within("a renewal", renewing.renew()).await?)?;
        wire.cure("reset_peer").await?;
        if let Some(agent) = attested {
            is_accepted(&port, agent.credential).await.context("an agent's first SVID")?;
            handed_out += 1;
        }
        if let Some(credential) = renewed {
            is_accepted(&port, credential.clone()).await.context("a renewed SVID")?;
            renewing.show(&port, credential)?;
            handed_out += 1;
        }
    }
    ensure!(refused > 0, "no connection broke");
    ensure!(handed_out > 0, "no agent got an SVID");
    site.workloads_go_on("torn").await?;
    site.goes_on_by_itself().await?;
    say(&format!(
        "outages: {refused} of 90 entries put off by connections that broke, none lost; {handed_out} of 60 SVIDs of \
         agents handed out, all accepted"
    ));
    Ok(())
}

/// What was handed out, if it was not put off; refused for another reason is an error.
fn unless_put_off<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(handed_out) => Ok(Some(handed_out)),
        Err(error) if error.downcast_ref().is_some_and(|it: &Status| it.code() == Code::Unavailable) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The server knows what it has handed out.
async fn is_accepted(port: &Port, credential: Credential) -> Result<()> {
    let mut entries = EntryClient::new(port.channel(Some(credential))?);
    let answer = until("an answer", async || {
        let answer = entries.get_authorized_entries(GetAuthorizedEntriesRequest { output_mask: None }).await;
        // Connections that broke are found out.
        Some(answer).filter(|answer| answer.as_ref().err().is_none_or(|status| status.code() != Code::Unavailable))
    });
    answer.await?.map(drop).context("it was refused")
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
    ensure!(refused.code == Code::Unavailable as i32, "{refused:?}");
    site.workloads_go_on("full").await?;
    // It reads.
    site.is_ready(true).await?;
    server.make_room();
    site.goes_on_by_itself().await?;
    say(&format!("outages: a full disk, all of {kept} acknowledged entries kept"));
    Ok(())
}
