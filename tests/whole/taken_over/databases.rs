//! A server whose database is a dump of PostgreSQL or MariaDB.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use steeple_spiffe::x509::{hex, parse_pem};
use steeple_testkit::database::{USER, mariadb, postgres, restore_mariadb, restore_postgres};
use steeple_tests::{Domain, Server, case, say};

use crate::mistakes::ends_with;

use super::{PORT, copy, is_the_same_server, keys_of};

/// The dumps, and what the reference said of them.
const DUMPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/datastore/tests/data");
/// The keys and the configuration of each.
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/whole/data");

#[test]
fn a_server_of_the_reference_on_postgres_goes_on_where_it_was_stopped() -> Result<()> {
    restore_postgres("taken_over", &dump("postgres.sql"));
    let theirs = "user=postgres host=127.0.0.1 port=55432";
    let ours = format!("user={USER} host=127.0.0.1 port={}", postgres().port);
    goes_on("postgres", |conf| conf.replace("dbname=spire", "dbname=taken_over").replace(theirs, &ours))
}

#[test]
fn a_server_of_the_reference_on_mariadb_goes_on_where_it_was_stopped() -> Result<()> {
    restore_mariadb("taken_over", &dump("mysql.sql"));
    let ours = format!("{USER}@tcp(127.0.0.1:{})/taken_over", mariadb().port);
    goes_on("mysql", |conf| conf.replace("spire:spire@tcp(127.0.0.1:53306)/spire", &ours))
}

fn dump(name: &str) -> PathBuf {
    Path::new(DUMPS).join(name)
}

fn goes_on(kind: &str, to_our_database: impl Fn(&str) -> String) -> Result<()> {
    case(async |scratch| {
        let said: Value = serde_json::from_slice(&fs::read(dump(&format!("{kind}.json")))?)?;
        let mut domain = Domain::builder().write(scratch)?;
        let dir = domain.server.conf.parent().context("no directory")?.to_owned();
        copy(&Path::new(SERVERS).join(format!("spire-1.15.3-{kind}")), &dir)?;
        domain.server.data_dir.clone_from(&dir);
        let port = domain.server.port.to_string();
        domain.server.reconfigure(|conf| to_our_database(&conf.replace(PORT, &port)))?;
        let keys = keys_of(&domain.server)?;

        // As often as it is started.
        for _ in 0..2 {
            domain.server.start().await?;
            is_the_same_server(&domain, &said).await?;
            ensure!(entries(&domain.server).await? == by_id(&said["entries"])?, "other entries");
            ensure!(state(&domain.server).await? == said["authority_state"], "{}", state(&domain.server).await?);
            signs(&domain, &said["authority_state"]).await?;
            ensure!(keys_of(&domain.server)? == keys, "the server has other keys");
            domain.server.stop().await?;
        }

        domain.server.start().await?;
        rotates(&domain.server, &said["authority_state"]).await?;
        let rotated = state(&domain.server).await?;
        signs(&domain, &rotated).await?;
        domain.server.stop().await?;
        domain.server.start().await?;
        ensure!(state(&domain.server).await? == rotated, "another state after a start");
        signs(&domain, &rotated).await?;
        domain.server.stop().await?;

        domain.server.reconfigure(|conf| conf.replace("\"example.org\"", "\"other.test\""))?;
        domain.server.launch(&[])?;
        let words = "a registration entry with trust domain 'example.org' has been detected, which does not match the \
                     configured trust domain of 'other.test'";
        ends_with(domain.server.process()?, &[words]).await?;
        say(&format!(
            "taken over: a server of SPIRE 1.15.3 on {kind} with {} entries, its authorities, agents and keys; it rotates",
            entries_in(&said["entries"])?.len()
        ));
        Ok(())
    })
}

fn entries_in(list: &Value) -> Result<&Vec<Value>> {
    list.as_array().context("no entries")
}

/// By their IDs; selectors and trust domains are sets.
fn by_id(list: &Value) -> Result<BTreeMap<String, Value>> {
    let mut sorted = BTreeMap::new();
    for entry in entries_in(list)? {
        let mut entry = entry.clone();
        for set in ["selectors", "federates_with"] {
            entry[set].as_array_mut().context("no list")?.sort_by_key(Value::to_string);
        }
        sorted.insert(entry["id"].to_string(), entry);
    }
    Ok(sorted)
}

async fn entries(server: &Server) -> Result<BTreeMap<String, Value>> {
    by_id(&server.command(&["entry", "show", "-output", "json"]).await?.json()?["entries"])
}

/// The active and the prepared authority of both kinds, as the manifest has them.
async fn state(server: &Server) -> Result<Value> {
    let mut state = Value::Null;
    for kind in ["x509", "jwt"] {
        let shown = server.command(&["localauthority", kind, "show", "-output", "json"]).await?.json()?;
        for slot in ["active", "prepared"] {
            state[kind][slot] = shown[slot].clone();
        }
    }
    Ok(state)
}

/// What the reference has prepared is activated, what it had in use is tainted, and something new is prepared.
async fn rotates(server: &Server, before: &Value) -> Result<()> {
    for kind in ["x509", "jwt"] {
        let id = |slot: &str| before[kind][slot]["authority_id"].as_str().context("no authority");
        for (verb, id) in [("activate", id("prepared")?), ("taint", id("active")?)] {
            server.command(&["localauthority", kind, verb, "-authorityID", id]).await?.ok()?;
        }
        server.command(&["localauthority", kind, "prepare"]).await?.ok()?;
    }
    let after = state(server).await?;
    for kind in ["x509", "jwt"] {
        ensure!(after[kind]["active"]["authority_id"] == before[kind]["prepared"]["authority_id"], "{after}");
    }
    // Published, each of them.
    let bundle = server.authorities().await?;
    let count = |kind: &str| bundle[kind].as_array().map_or(0, Vec::len);
    ensure!((count("x509"), count("jwt")) == (4, 4), "{} and {} authorities", count("x509"), count("jwt"));
    Ok(())
}

/// What is minted is signed by the active authorities.
async fn signs(domain: &Domain, state: &Value) -> Result<()> {
    let id = domain.id("/minted");
    let dir = &domain.server.data_dir;
    domain.server.command(&["x509", "mint", "-spiffeID", &id, "-write", &dir.to_string_lossy()]).await?.ok()?;
    let leaf = parse_pem(&fs::read_to_string(dir.join("svid.pem"))?)?.swap_remove(0);
    let issuer = leaf.authority_key_id().map(hex).context("no issuer")?;
    ensure!(state["x509"]["active"]["authority_id"] == issuer, "the issuer is {issuer}");
    let token = domain.server.command(&["jwt", "mint", "-spiffeID", &id, "-audience", "a"]).await?.ok()?;
    let head = token.split('.').next().context("no token")?;
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head)?)?;
    ensure!(state["jwt"]["active"]["authority_id"] == head["kid"], "the key is {head}");
    Ok(())
}
