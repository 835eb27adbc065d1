//! How long an entry that is created at one server takes to the open stream of a workload, whose agent has another one.
//! Prints figures and asserts nothing about them; what must not happen is that a change is lost. The reference is measured
//! likewise where it can be.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use steeple_testkit::database::pgbouncer;
use steeple_tests::{Binaries, Database, Domain, Scratch, Wire, case, figures, own_selector, say, until_count};

use super::{Shared, is_ours};

/// A few seconds; `STEEPLE_TRIES` is for more.
const TRIES: usize = 40;
/// The same of the reference, whose servers and agents look every five seconds.
const TRIES_OF_THE_REFERENCE: usize = 3;
const ITS_ROUND: Duration = Duration::from_secs(5);

#[test]
fn an_entry_of_another_server_arrives_on_postgresql() -> Result<()> {
    case(async |scratch| {
        let database = Shared::on_postgres(scratch).await?.database;
        arrives(scratch, "PostgreSQL", &database, &database, || ()).await
    })
}

#[test]
fn an_entry_of_another_server_arrives_on_mariadb() -> Result<()> {
    case(async |scratch| {
        let database = Shared::on_mariadb(scratch).await?.database;
        arrives(scratch, "MariaDB", &database, &database, || ()).await
    })
}

#[test]
fn an_entry_of_another_server_arrives_on_sqlite() -> Result<()> {
    case(async |scratch| {
        let database = Shared::on_sqlite(scratch).database;
        arrives(scratch, "SQLite", &database, &database, || ()).await
    })
}

#[test]
fn an_entry_of_another_server_arrives_though_nothing_is_heard_of_it() -> Result<()> {
    case(async |scratch| {
        if !is_ours("an entry of another server arrives though nothing is heard of it")? {
            return Ok(());
        }
        let shared = Shared::on_postgres(scratch).await?;
        let wire = Wire::to(shared.port).await?;
        let behind = shared.through(wire.port);
        arrives(scratch, "PostgreSQL, LISTEN swallowed", &shared.database, &behind, || wire.swallow("LISTEN")).await
    })
}

#[test]
fn an_entry_of_another_server_arrives_through_pgbouncer() -> Result<()> {
    case(async |scratch| {
        if !is_ours("an entry of another server arrives through pgbouncer")? {
            return Ok(());
        }
        let shared = Shared::on_postgres(scratch).await?;
        let behind = shared.through(pgbouncer().port);
        arrives(scratch, "PostgreSQL through PgBouncer", &behind, &behind, || ()).await
    })
}

/// Written by way of `writer`, read by way of `reader`; `disturb` is called when all is quiet.
async fn arrives(
    scratch: &Scratch,
    what: &str,
    writer: &Database,
    reader: &Database,
    disturb: impl FnOnce(),
) -> Result<()> {
    let theirs = Binaries::find()?.server.is_reference;
    let default = if theirs { TRIES_OF_THE_REFERENCE } else { TRIES };
    let tries = env::var("STEEPLE_TRIES").map_or(Ok(default), |tries| tries.parse()).context("STEEPLE_TRIES")?;
    // The agent's, and the other one.
    let domain = Domain::builder().default_intervals().database(reader.clone()).start(scratch).await?;
    let mut other = domain.another_server("other", Some(writer))?;
    other.start().await?;
    let agent = domain.agent("node1").await?;
    domain.entry(&agent.id, "/stays", &[]).await?;
    let mut follower = agent.workload().follow();
    follower.until_id("spiffe://example.org/stays").await?;
    let mut stream = follower.into_stream()?;
    disturb();
    let selector = own_selector();
    let flags = ["-parentID", &agent.id, "-spiffeID", "spiffe://example.org/new", "-selector", &selector];
    let (mut from_start, mut from_answer) = (Vec::new(), Vec::new());
    for _ in 0..tries {
        if theirs {
            // Otherwise each try would begin at the same moment of a round.
            tokio::time::sleep(steeple_runtime::spread(ITS_ROUND / 2, ITS_ROUND / 2)).await;
        }
        let start = Instant::now();
        let create = async { anyhow::Ok((other.create_entry(&flags).await?, Instant::now())) };
        let arrive = async {
            until_count(&mut stream, 2).await?;
            anyhow::Ok(Instant::now())
        };
        let ((entry, answered), arrived) = tokio::try_join!(create, arrive)?;
        from_start.push(arrived - start);
        from_answer.push(arrived.saturating_duration_since(answered));
        other.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
        until_count(&mut stream, 1).await?;
    }
    say(&figures(&format!("{what}: from the start of `entry create` at another server to the stream"), from_start));
    say(&figures(&format!("{what}: from the end of `entry create` at another server to the stream"), from_answer));
    Ok(())
}
