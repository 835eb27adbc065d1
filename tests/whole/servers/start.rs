//! Ten servers that start at once on an empty database.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use serde_json::Value;
use steeple_runtime::Clock;
use steeple_spiffe::Certificate;
use steeple_spiffe::x509::{hex, verify_x509_svid};
use steeple_tests::{Domain, Scratch, Server, case, say, until};

use super::Shared;

const SERVERS: usize = 10;

#[test]
fn ten_servers_start_at_once_on_an_empty_postgresql_database() -> Result<()> {
    case(async |scratch| start_at_once(scratch, &Shared::on_postgres(scratch).await?).await)
}

#[test]
fn ten_servers_start_at_once_on_an_empty_mariadb_database() -> Result<()> {
    case(async |scratch| start_at_once(scratch, &Shared::on_mariadb(scratch).await?).await)
}

#[test]
fn ten_servers_start_at_once_on_one_file() -> Result<()> {
    case(async |scratch| start_at_once(scratch, &Shared::on_sqlite(scratch)).await)
}

async fn start_at_once(scratch: &Scratch, shared: &Shared) -> Result<()> {
    let mut domain = Domain::builder().database(shared.database.clone()).write(scratch)?;
    let mut others = Vec::new();
    for number in 1..SERVERS {
        others.push(domain.another_server(&format!("server{number}"), None)?);
    }
    let launched = async |servers: &mut [&mut Server]| {
        servers.iter_mut().try_for_each(|server| server.launch(&[]))?;
        try_join_all(servers.iter_mut().map(|server| server.healthy())).await.map(drop)
    };
    let mut servers: Vec<&mut Server> = std::iter::once(&mut domain.server).chain(&mut others).collect();
    launched(&mut servers).await?;
    let first = authorities(shared, &servers).await?;

    // Killed while they run, all of them find their own again.
    servers.iter_mut().for_each(|server| server.kill());
    launched(&mut servers).await?;
    ensure!(authorities(shared, &servers).await? == first, "other authorities than before the kill");
    for server in &mut servers {
        let log = server.process()?.log()?;
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("level=error")).collect();
        ensure!(errors.is_empty(), "{}: {errors:#?}", server.name);
    }
    say(&format!("servers: {SERVERS} started at once on an empty {} database, and again", shared.database.kind));
    Ok(())
}

/// The key IDs of the authorities that sign, one a server. Each is in the bundle of every server, and has a journal.
async fn authorities(shared: &Shared, servers: &[&mut Server]) -> Result<BTreeSet<String>> {
    let mut signing = BTreeSet::new();
    for server in servers {
        let minted =
            server.command(&["x509", "mint", "-spiffeID", "spiffe://example.org/web", "-output", "json"]).await?;
        let minted = minted.json()?;
        let (chain, roots) = (certificates(&minted["x509_svid"])?, certificates(&minted["root_cas"])?);
        // With what the server gave out at that moment.
        verify_x509_svid(&chain, &roots, Clock::system().now())?;
        signing.insert(hex(chain[0].authority_key_id().context("an SVID without an issuer")?));
    }
    ensure!(signing.len() == servers.len(), "{} authorities of {} servers", signing.len(), servers.len());
    for server in servers {
        // What others have published comes a moment later.
        until(&format!("all authorities in the bundle of {}", server.name), async || {
            let known = server.authorities().await.ok()?;
            let (x509, jwt) = (known["x509"].as_array()?.len(), known["jwt"].as_array()?.len());
            (x509 == servers.len() && jwt == servers.len()).then_some(())
        })
        .await?;
    }
    let journals = shared.column("SELECT active_x509_authority_id FROM ca_journals").await?;
    ensure!(journals.len() == servers.len(), "{} journals of {} servers", journals.len(), servers.len());
    ensure!(journals.into_iter().collect::<BTreeSet<_>>() == signing, "journals of others than those who sign");
    Ok(signing)
}

/// An array of DER in base64.
fn certificates(list: &Value) -> Result<Vec<Certificate>> {
    let list = list.as_array().with_context(|| format!("no list: {list}"))?;
    let read = |der: &Value| {
        let der = STANDARD.decode(der.as_str().context("no text")?)?;
        anyhow::Ok(Certificate::from_der(&der)?)
    };
    list.iter().map(read).collect()
}
