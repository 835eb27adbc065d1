//! The database moves back to an earlier moment under a server that runs, and has lost what agents were given since.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_testkit::database::{Place, mariadb, postgres};
use steeple_tests::{Agent, Database, Domain, Scratch, until};

use super::super::{at_mariadb, at_postgres};
use super::{Site, row};

#[test]
fn agents_go_on_that_renewed_or_attested_in_the_time_that_a_sqlite_file_has_lost() -> Result<()> {
    row(async |scratch| lost(scratch, Place::exchangeable_file(scratch.path())).await)
}

#[test]
fn agents_go_on_that_renewed_or_attested_in_the_time_that_postgresql_has_lost() -> Result<()> {
    row(async |scratch| lost(scratch, Place::new_postgres().await).await)
}

#[test]
fn agents_go_on_that_renewed_or_attested_in_the_time_that_mariadb_has_lost() -> Result<()> {
    row(async |scratch| lost(scratch, Place::new_mariadb().await).await)
}

async fn lost(scratch: &Scratch, place: Place) -> Result<()> {
    let database = match &place {
        Place::File(path) => Database { kind: "sqlite3", connection_string: path.to_string_lossy().into_owned() },
        Place::Postgres(_) => at_postgres(postgres().port, place.database()),
        Place::MySql(_) => at_mariadb(mariadb().port, place.database()),
    };
    let mut site = Site::of(Domain::builder().agent_ttl("40s").database(database), scratch).await?;
    let first = serial(&site, &site.agent).await?;
    let copy = place.copied().await;
    let mut attested = until("a second agent", async || site.domain.agent("node2").await.ok()).await?;
    let renewed = serial_after(&site, &[&first]).await?;
    place.replace_by(&copy).await;

    site.domain.server.process()?.line("Database has lost agents or their SVIDs; written back").await?;
    site.workloads_go_on("moved back").await?;
    serial(&site, &attested).await?;
    serial_after(&site, &[&first, &renewed]).await?;
    site.domain.entry(&attested.id, "/second", &[]).await?;
    site.attempted.insert("/second".to_owned());
    attested.workload().follow().until_id(&site.domain.id("/second")).await?;
    site.goes_on_by_itself().await?;
    for agent in [&mut site.agent, &mut attested] {
        let keys: Value = serde_json::from_slice(&fs::read(agent.data_dir.join("keys.json"))?)?;
        ensure!(keys["keys"].as_object().is_some_and(|keys| !keys.is_empty()), "{} has lost its keys", agent.id);
        let attestations = agent.process()?.log()?.matches("Node attestation was successful").count();
        ensure!(attestations == 1, "{} attested {attestations} times", agent.id);
    }
    Ok(())
}

/// The serial number of the SVID that an agent uses, as the database has it.
async fn serial(site: &Site, agent: &Agent) -> Result<String> {
    let agents = site.domain.server.agents().await?;
    let is_it = |listed: &&Value| listed["id"]["path"].as_str().is_some_and(|path| site.domain.id(path) == agent.id);
    let serial = agents.iter().find(is_it).and_then(|listed| listed["x509svid_serial_number"].as_str());
    Ok(serial.with_context(|| format!("{} is not among {agents:?}", agent.id))?.to_owned())
}

/// That of the first agent, as soon as it is another one than all before.
async fn serial_after(site: &Site, before: &[&str]) -> Result<String> {
    let another = async || serial(site, &site.agent).await.ok().filter(|serial| !before.contains(&serial.as_str()));
    until("a renewed SVID in use", another).await
}
