//! What a server has signed is in its inventory, in a chain that fits the heads of its log, whatever ends the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use steeple_tests::{Domain, DomainBuilder, Output, Scratch, Server, case, skipped_on_the_reference, until};

/// A domain whose server has an inventory.
fn with_inventory(keys: &str) -> DomainBuilder {
    let inventory = format!("inventory {{ {keys} }}");
    Domain::builder().default_intervals().server_text(&format!("experimental {{ steeple {{ {inventory} }} }}"))
}

const FILE: &str = "sink = \"file\"";

/// What `inventory verify` finds with the heads of all that the server has logged, whether it is sound or not.
async fn verified(server: &Server, scratch: &Scratch) -> Result<Value> {
    let log = scratch.path().join("all.log");
    fs::write(&log, server.written()?)?;
    let output = inventory(server, "verify", &["-log", &log.display().to_string()]).await?;
    let found: Value = serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    ensure!(found["sound"] == (output.code == 0), "{output}");
    Ok(found)
}

async fn inventory(server: &Server, command: &str, flags: &[&str]) -> Result<Output> {
    let conf = server.conf.display().to_string();
    let args = [&["inventory", command, "-config", &conf, "-output", "json"], flags].concat();
    Output::of(&server.program.path, &args).await
}

/// The records of what was signed.
async fn listed(server: &Server, flags: &[&str]) -> Result<Vec<Value>> {
    let text = inventory(server, "list", flags).await?.ok()?;
    text.lines().map(|line| serde_json::from_str(line).context("a record")).collect()
}

fn file_of(server: &Server) -> Result<PathBuf> {
    let mut files = fs::read_dir(server.data_dir.join("inventory"))?;
    Ok(files.next().context("no file of records")??.path())
}

#[test]
fn each_kind_of_svid_is_recorded_and_a_change_of_the_records_is_found() -> Result<()> {
    case(async |scratch| {
        let mut domain = with_inventory(FILE).start(scratch).await?;
        if domain.server.program.is_reference {
            skipped_on_the_reference("the inventory", "it has none");
            return Ok(());
        }
        let agent = domain.agent("node1").await?;
        let entry = domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        agent.workload().jwt_svids("billing").await?;
        let minted = "spiffe://example.org/minted";
        domain.server.command(&["x509", "mint", "-spiffeID", minted]).await?.ok()?;
        domain.server.command(&["jwt", "mint", "-spiffeID", minted, "-audience", "a"]).await?.ok()?;
        domain.server.stop().await?;

        let records = listed(&domain.server, &[]).await?;
        let text = |record: &Value, field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let kinds: BTreeSet<_> = records.iter().map(|it| format!("{} {}", text(it, "what"), text(it, "why"))).collect();
        let expected = ["jwt-svid entry", "jwt-svid mint", "x509-svid attestation", "x509-svid entry"];
        let expected = expected.into_iter().chain(["x509-svid mint", "x509-svid own"]).map(str::to_owned);
        assert_eq!(kinds, expected.collect());
        for record in listed(&domain.server, &["-spiffeID", "spiffe://example.org/web"]).await? {
            assert_eq!((text(&record, "through"), text(&record, "entry")), (agent.id.clone(), entry.clone()));
        }
        // Its own SVID went to it as well.
        ensure!(listed(&domain.server, &["-agent", &agent.id]).await?.iter().any(|it| it["why"] == "attestation"));

        let found = verified(&domain.server, scratch).await?;
        ensure!(found["sound"] == true && found["chains"][0]["vouched"] == found["chains"][0]["last"], "{found}");
        ensure!(found["chains"][0]["gaps"] == json!([]), "{found}");
        let file = file_of(&domain.server)?;
        let whole = fs::read_to_string(&file)?;
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        for (what, forged) in [
            ("changed", whole.replacen("/minted", "/mintex", 1)),
            ("removed", [&lines[..2], &lines[3..]].concat().concat()),
            ("cut off", lines[..lines.len() - 1].concat()),
            ("moved", [&lines[..1], &[lines[2], lines[1]], &lines[3..]].concat().concat()),
        ] {
            fs::write(&file, forged)?;
            let found = verified(&domain.server, scratch).await?;
            ensure!(found["sound"] == false, "{what}: {found}");
        }
        Ok(())
    })
}

#[test]
fn a_server_that_was_killed_goes_on_with_its_chain_behind_a_gap() -> Result<()> {
    case(async |scratch| {
        let mut domain = with_inventory(FILE).start(scratch).await?;
        if domain.server.program.is_reference {
            skipped_on_the_reference("the inventory", "it has none");
            return Ok(());
        }
        for turn in 0..3 {
            let id = format!("spiffe://example.org/turn{turn}");
            domain.server.command(&["x509", "mint", "-spiffeID", &id]).await?.ok()?;
            let file = file_of(&domain.server)?;
            let is_there = async || fs::read_to_string(&file).is_ok_and(|text| text.contains(&id)).then_some(());
            until("the record", is_there).await?;
            domain.server.kill();
            domain.server.start().await?;
        }
        domain.server.stop().await?;
        let found = verified(&domain.server, scratch).await?;
        let gaps = found["chains"][0]["gaps"].as_array().context("no gaps")?;
        ensure!(gaps.len() == 3 && gaps.iter().all(|gap| gap["cause"] == "crash"), "{found}");
        ensure!(found["sound"] == true && found["chains"].as_array().is_some_and(|it| it.len() == 1), "{found}");
        Ok(())
    })
}

#[test]
fn where_the_operator_wants_it_nothing_is_handed_out_without_its_record() -> Result<()> {
    case(async |scratch| {
        let domain = with_inventory("sink = \"file\" fail_closed = true").start(scratch).await?;
        if domain.server.program.is_reference {
            skipped_on_the_reference("the inventory", "it has none");
            return Ok(());
        }
        let mint = ["x509", "mint", "-spiffeID", "spiffe://example.org/web"];
        domain.server.command(&mint).await?.ok()?;
        let records = domain.server.data_dir.join("inventory");
        let aside = domain.server.data_dir.join("aside");
        fs::rename(&records, &aside)?;
        // The file that is open goes on until it is deleted.
        fs::remove_dir_all(&aside)?;
        fs::write(&records, "")?;
        let refused = domain.server.command(&mint).await?.refused()?;
        ensure!(
            refused.contains("code = Unavailable") && refused.contains("the inventory cannot be written"),
            "{refused}"
        );

        fs::remove_file(&records)?;
        fs::create_dir(&records)?;
        until("the next SVID", async || domain.server.command(&mint).await.ok().filter(|it| it.code == 0)).await?;
        Ok(())
    })
}

#[test]
fn a_table_and_a_log_hold_the_records_as_files_do() -> Result<()> {
    case(async |scratch| {
        for sink in ["table", "log"] {
            let mut domain = with_inventory(&format!("sink = \"{sink}\"")).start(scratch).await?;
            if domain.server.program.is_reference {
                skipped_on_the_reference("the inventory", "it has none");
                return Ok(());
            }
            domain.server.command(&["x509", "mint", "-spiffeID", "spiffe://example.org/web"]).await?.ok()?;
            domain.server.stop().await?;
            domain.server.start().await?;
            domain.server.stop().await?;
            let log = scratch.path().join(sink);
            fs::write(&log, domain.server.written()?)?;
            let log = log.display().to_string();
            let file: &[&str] = if sink == "log" { &["-file", &log] } else { &[] };
            let found = inventory(&domain.server, "verify", &[&["-log", &log], file].concat()).await?.json()?;
            // Two starts, two stops, the server's own SVID each time, and what was minted.
            let chain = &found["chains"][0];
            ensure!(chain["records"] == 7 && chain["vouched"] == 7 && chain["gaps"] == json!([]), "{sink}: {found}");
            let web = [&["-spiffeID", "spiffe://example.org/web"], file].concat();
            let counted = inventory(&domain.server, "count", &web).await?.json()?;
            ensure!(counted == json!({ "count": 1 }), "{sink}: {counted}");
        }
        Ok(())
    })
}
