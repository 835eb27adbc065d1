//! `store status`: what an operator is told of the way from the database to the server.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_testkit::database::Place;
use steeple_tests::{Domain, Scratch, Server, Wire, case, until};

use super::{Shared, is_ours};

pub(super) async fn status(server: &Server) -> Result<Value> {
    server.command(&["store", "status", "-output", "json"]).await?.json()
}

const ENTRY: [&str; 6] =
    ["-parentID", "spiffe://example.org/a", "-spiffeID", "spiffe://example.org/b", "-selector", "a:b"];

#[test]
fn the_status_of_the_store_tells_of_other_writers_and_of_what_a_comparison_found() -> Result<()> {
    case(async |scratch| {
        if !is_ours("store status")? {
            return Ok(());
        }
        for shared in
            [Shared::on_postgres(scratch).await?, Shared::on_mariadb(scratch).await?, Shared::on_sqlite(scratch)]
        {
            tells_of_others(scratch, &shared).await.with_context(|| shared.database.kind)?;
        }
        Ok(())
    })
}

async fn tells_of_others(scratch: &Scratch, shared: &Shared) -> Result<()> {
    let intervals =
        "experimental {\n        cache_reload_interval = \"1s\"\n        full_cache_reload_interval = \"3s\"\n    }";
    let builder = Domain::builder().default_intervals().server_text(intervals).database(shared.database.clone());
    let domain = builder.start(scratch).await?;
    let mut other = domain.another_server("other", None)?;
    other.start().await?;
    let first = status(&domain.server).await?;
    let kind = shared.database.kind;
    ensure!(first["database_type"] == kind && first["gaps"] == serde_json::json!([]), "{first}");
    other.create_entry(&ENTRY).await?;
    until("the other's change", async || {
        let status = status(&domain.server).await.ok()?;
        (status["foreign_changes"].as_i64()? >= 1 && status["newest_entry_event"].as_i64()? >= 1).then_some(())
    })
    .await?;
    // A row that changed without an event is found when all is compared.
    shared.column("UPDATE registered_entries SET hint = 'quiet'").await?;
    until("a difference", async || {
        (status(&domain.server).await.ok()?["comparison"]["differences"].as_i64()? >= 1).then_some(())
    })
    .await?;
    let told = domain.server.command(&["store", "status"]).await?.ok()?;
    let first_line = format!("Database:            {kind}, ");
    ensure!(told.contains(&first_line) && told.contains("Open gaps:           0"), "{told}");
    let shown = domain.server.command(&["entry", "show"]).await?.ok()?;
    shown.lines().find(|line| line.contains("quiet")).context("the changed row")?;
    Ok(())
}

#[test]
fn the_status_of_the_store_tells_of_what_a_transaction_holds_back() -> Result<()> {
    case(async |scratch| {
        if !is_ours("store status")? {
            return Ok(());
        }
        for shared in [Shared::on_postgres(scratch).await?, Shared::on_mariadb(scratch).await?] {
            let domain = Domain::builder().database(shared.database.clone()).start(scratch).await?;
            let place = match shared.database.kind {
                "postgres" => Place::of_postgres(&shared.name),
                _ => Place::of_mariadb(&shared.name),
            };
            let mut open = place.transaction().await;
            open.execute("INSERT INTO registered_entries_events (entry_id) VALUES ('held back')").await;
            domain.server.create_entry(&ENTRY).await?;
            let gap = async || status(&domain.server).await.ok()?["gaps"].as_array()?.first().cloned();
            let first = until("a gap", gap).await?;
            ensure!(first["of_nodes"] == false && first["first"] == first["last"], "{first}");
            let age = first["age_ms"].as_i64().context("an age")?;
            until("an older gap", async || (gap().await?["age_ms"].as_i64()? > age).then_some(())).await?;
            let told = domain.server.command(&["store", "status"]).await?.ok()?;
            let held = format!("Open gaps:           1\n  entry events {0} to {0}, for ", first["first"]);
            ensure!(told.contains(&held), "{told}");
            open.commit().await;
            until("no gap", async || gap().await.is_none().then_some(())).await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_whose_own_words_are_swallowed_does_not_count_on_being_told() -> Result<()> {
    case(async |scratch| {
        if !is_ours("store status")? {
            return Ok(());
        }
        let shared = Shared::on_postgres(scratch).await?;
        let wire = Wire::to(shared.port).await?;
        let domain = Domain::builder().default_intervals().database(shared.through(wire.port)).start(scratch).await?;
        let is_told = async |told: bool| {
            until("what it counts on", async || {
                (status(&domain.server).await.ok()?["told_of_writes"] == told).then_some(())
            })
            .await
        };
        is_told(true).await?;
        wire.swallow("pg_notify");
        is_told(false).await?;
        wire.mend();
        is_told(true).await
    })
}
