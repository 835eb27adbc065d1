//! A server that is lost comes back from an archive, and a database moves, without a word to agents and workloads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_tests::{
    Agent, Binaries, Database, Domain, Output, Scratch, Shared, SmallDisk, cannot_run_here, case, hosts, say,
    skipped_on_the_reference, verified,
};
use tokio::net::TcpListener;

#[test]
fn a_server_restored_with_its_keys_goes_on_and_its_agent_does_not_attest_again() -> Result<()> {
    ours("restored with keys", async |scratch| {
        let mut lost = Lost::new(scratch).await?;
        let authorities = lost.domain.server.authorities().await?;
        let saved = lost.backup(&["-withKeys", "-output", "json"]).await?.json()?;
        ensure!(saved["keys"] == Value::Bool(true), "no keys: {saved}");
        ensure!(fs::metadata(&lost.archive)?.permissions().mode() & 0o777 == 0o600, "others can read the archive");
        let keys = fs::read(lost.keys())?;

        // As long as it runs there is nothing to restore, neither in its place nor beside it.
        let (dir, text) = lost.beside(scratch)?;
        let refusal = lost.restore(&[]).await?.refused()?;
        ensure!(refusal.contains("still runs at 127.0.0.1:"), "{refusal}");
        ensure!(fs::read_dir(&dir)?.next().is_none(), "something was written beside the server");
        let forced = lost.restore(&["-force"]).await?.ok()?;
        ensure!(forced.contains("and the server's keys"), "{forced}");
        ensure!(fs::read(dir.join("keys.json"))? == keys, "other keys");
        fs::write(&lost.domain.server.conf, text)?;

        lost.lose().await?;
        let restored = lost.restore(&["-output", "json"]).await?.json()?;
        ensure!(restored["rows"] == saved["rows"], "{restored} of {saved}");
        lost.domain.server.start().await?;
        ensure!(lost.domain.server.authorities().await? == authorities, "other authorities");
        ensure!(fs::read(lost.keys())? == keys, "other keys");
        let log = lost.goes_on("/after").await?;
        ensure!(!log.contains("CA prepared"), "the server has made an authority");
        say("backup: a lost server came back with keys, its agent did not attest again");
        Ok(())
    })
}

#[test]
fn a_server_restored_with_new_authorities_keeps_the_old_ones_in_its_bundle() -> Result<()> {
    ours("restored with new authorities", async |scratch| {
        let mut lost = Lost::new(scratch).await?;
        let before = x509_authorities(&lost.domain).await?;
        let keys = fs::read(lost.keys())?;
        lost.backup(&["-withKeys"]).await?.ok()?;
        lost.lose().await?;
        let said = lost.restore(&["-newAuthority"]).await?.ok()?;
        ensure!(said.ends_with("Servers make new authorities when they start.\n"), "{said}");
        ensure!(!lost.keys().exists(), "the keys of the archive are there");
        lost.domain.server.start().await?;
        let after = x509_authorities(&lost.domain).await?;
        ensure!(after.starts_with(&before), "old authorities are gone");
        ensure!(after.len() > before.len(), "no new authority");
        ensure!(fs::read(lost.keys())? != keys, "the old keys");
        // Those who have met it before know the old authorities alone.
        let agent = lost.domain.agent("node2").await?;
        lost.domain.entry(&agent.id, "/later", &[]).await?;
        let update = agent.workload().follow().until_id(&lost.domain.id("/later")).await?;
        verified(&update.svids[0])?;
        Ok(())
    })
}

#[test]
fn a_server_with_other_authorities_at_the_recorded_address_is_no_obstacle() -> Result<()> {
    ours("another server at the address", async |scratch| {
        let mut lost = Lost::new(scratch).await?;
        let saved = lost.backup(&["-output", "json"]).await?.json()?;
        ensure!(saved["keys"] == Value::Bool(false), "keys nobody asked for: {saved}");
        ensure!(!fs::read_to_string(&lost.archive)?.contains("{\"keys\":"), "there are keys in the archive");
        lost.lose().await?;
        lost.domain.server.start().await?;
        let (dir, _) = lost.beside(scratch)?;
        lost.restore(&[]).await?.ok()?;
        ensure!(dir.join("datastore.sqlite3").exists(), "nothing was restored");
        ensure!(!dir.join("keys.json").exists(), "keys were restored");
        Ok(())
    })
}

#[test]
fn a_server_that_answers_at_a_named_address_alone_is_an_obstacle() -> Result<()> {
    ours("another address", async |scratch| {
        let lost = Lost::new(scratch).await?;
        let server = &lost.domain.server;
        let (bound, named) = (format!("127.0.0.2:{}", server.port), format!("localhost:{}", server.port));
        // It goes on where it was started.
        server.reconfigure(|conf| conf.replace("bind_address = \"127.0.0.1\"", "bind_address = \"127.0.0.2\""))?;
        let saved = lost.backup(&["-address", &named, "-output", "json"]).await?.json()?;
        ensure!(saved["addresses"] == serde_json::json!([bound, named]), "{saved}");
        lost.beside(scratch)?;
        let refusal = lost.restore(&[]).await?.refused()?;
        ensure!(refusal.contains(&format!("still runs at {named}")), "{refusal}");
        Ok(())
    })
}

#[test]
fn a_server_that_answers_at_one_address_of_a_name_is_an_obstacle_though_another_one_hangs() -> Result<()> {
    ours("a name with several addresses", async |scratch| {
        if let Some(reason) = SmallDisk::missing().await? {
            return cannot_run_here("a name with several addresses", &reason);
        }
        let lost = Lost::new(scratch).await?;
        let server = &lost.domain.server;
        let _hangs = TcpListener::bind((hosts::ADDRESSES[1], server.port)).await?;
        // The archive knows the name alone: what is bound says nothing.
        server.reconfigure(|conf| conf.replace("bind_address = \"127.0.0.1\"", "bind_address = \"127.0.0.3\""))?;
        let named = format!("{}:{}", hosts::NAME, server.port);
        lost.backup(&["-address", &named]).await?.ok()?;
        lost.beside(scratch)?;
        let starter = hosts::with_name(&scratch.folder()?.join("hosts"))?;
        let restore =
            [path(&server.program.path)?, "restore", "-in", path(&lost.archive)?, "-config", path(&server.conf)?];
        let args: Vec<_> = starter[1..].iter().map(String::as_str).chain(restore).collect();
        // Which address comes first is chance.
        for _ in 0..4 {
            let refusal = Output::of(Path::new(&starter[0]), &args).await?.refused()?;
            ensure!(refusal.contains(&format!("still runs at {named}")), "{refusal}");
        }
        Ok(())
    })
}

#[test]
fn a_server_goes_on_with_a_database_that_was_copied() -> Result<()> {
    ours("copied", async |scratch| {
        let mut lost = Lost::new(scratch).await?;
        let authorities = lost.domain.server.authorities().await?;
        lost.domain.server.stop().await?;
        let new = lost.domain.server.data_dir.join("new.sqlite3");
        let to = scratch.folder()?.join("to.conf");
        let connection = format!("database_type = \"sqlite3\"\nconnection_string = \"{}\"\n", new.display());
        fs::write(&to, connection)?;
        let copied = lost.run(&["migrate", "-to", path(&to)?]).await?.ok()?;
        ensure!(copied.ends_with(" rows, and compared them.\n"), "{copied}");
        let again = lost.run(&["migrate", "-to", path(&to)?]).await?.refused()?;
        ensure!(again.contains("the database is not empty"), "{again}");
        lost.domain.server.reconfigure(|conf| conf.replace("datastore.sqlite3", "new.sqlite3"))?;
        lost.domain.server.start().await?;
        ensure!(lost.domain.server.authorities().await? == authorities, "other authorities");
        lost.goes_on("/after").await?;
        Ok(())
    })
}

#[test]
fn a_server_goes_on_in_postgresql_and_comes_back_there_from_an_archive() -> Result<()> {
    ours("moved to PostgreSQL", async |scratch| {
        let emptied = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
        moves(scratch, &Shared::on_postgres(scratch).await?, emptied).await
    })
}

#[test]
fn a_server_goes_on_in_mariadb_and_comes_back_there_from_an_archive() -> Result<()> {
    ours("moved to MariaDB", async |scratch| {
        let shared = Shared::on_mariadb(scratch).await?;
        let emptied = format!("DROP DATABASE {0}; CREATE DATABASE {0} CHARACTER SET utf8", shared.name);
        moves(scratch, &shared, &emptied).await
    })
}

async fn moves(scratch: &Scratch, shared: &Shared, emptied: &str) -> Result<()> {
    let mut lost = Lost::new(scratch).await?;
    let authorities = lost.domain.server.authorities().await?;
    lost.domain.server.stop().await?;
    let file = lost.domain.server.data_dir.join("datastore.sqlite3");
    let keys = |kind: &str, string: &str| {
        format!("database_type = \"{kind}\"\n            connection_string = \"{string}\"\n")
    };
    let Database { kind, connection_string } = &shared.database;
    let (before, after) = (keys("sqlite3", path(&file)?), keys(kind, connection_string));
    let to = scratch.folder()?.join("to.conf");
    fs::write(&to, &after)?;
    lost.run(&["migrate", "-to", path(&to)?]).await?.ok()?;
    lost.domain.server.reconfigure(|conf| conf.replace(&before, &after))?;
    fs::remove_file(file)?;
    lost.domain.server.start().await?;
    ensure!(lost.domain.server.authorities().await? == authorities, "other authorities after the move");
    lost.goes_on("/moved").await?;

    let saved = lost.backup(&["-withKeys", "-output", "json"]).await?.json()?;
    lost.lose().await?;
    shared.column(emptied).await?;
    let restored = lost.restore(&["-output", "json"]).await?.json()?;
    ensure!(restored["rows"] == saved["rows"], "{restored} of {saved}");
    lost.domain.server.start().await?;
    ensure!(lost.domain.server.authorities().await? == authorities, "other authorities after the restore");
    let log = lost.goes_on("/restored").await?;
    ensure!(!log.contains("CA prepared"), "the server has made an authority");
    say(&format!("backup: a server moved to {kind}, and came back there with {} rows", saved["rows"]));
    Ok(())
}

/// SPIRE has no such commands.
fn ours(name: &str, body: impl AsyncFnOnce(&Scratch) -> Result<()>) -> Result<()> {
    if Binaries::find()?.server.is_reference {
        skipped_on_the_reference(name, "it has no command for it");
        return Ok(());
    }
    case(body)
}

/// A trust domain whose server gets lost, with an agent and a workload that do not.
struct Lost {
    domain: Domain,
    agent: Agent,
    archive: PathBuf,
}

impl Lost {
    async fn new(scratch: &Scratch) -> Result<Self> {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        // Its log begins anew, without its attestation.
        agent.stop().await?;
        agent.start().await?;
        domain.entry(&agent.id, "/before", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/before")).await?;
        Ok(Self { domain, agent, archive: scratch.folder()?.join("archive") })
    }

    async fn run(&self, args: &[&str]) -> Result<Output> {
        let server = &self.domain.server;
        Output::of(&server.program.path, &[args, &["-config", path(&server.conf)?]].concat()).await
    }

    async fn backup(&self, flags: &[&str]) -> Result<Output> {
        self.run(&[&["backup", "-out", path(&self.archive)?], flags].concat()).await
    }

    async fn restore(&self, flags: &[&str]) -> Result<Output> {
        self.run(&[&["restore", "-in", path(&self.archive)?], flags].concat()).await
    }

    fn keys(&self) -> PathBuf {
        self.domain.server.data_dir.join("keys.json")
    }

    /// Configures the server for an empty directory. Returns that, and the configuration that there was.
    fn beside(&self, scratch: &Scratch) -> Result<(PathBuf, String)> {
        let (dir, server) = (scratch.folder()?, &self.domain.server);
        let (ours, beside) = (path(&server.data_dir)?, path(&dir)?);
        let text = server.reconfigure(|conf| conf.replace(ours, beside))?;
        Ok((dir, text))
    }

    /// The server ends, and its data are gone.
    async fn lose(&mut self) -> Result<()> {
        self.domain.server.kill();
        fs::remove_dir_all(&self.domain.server.data_dir)?;
        Ok(fs::create_dir(&self.domain.server.data_dir)?)
    }

    /// The agent gets a new entry, without attesting. Returns the server's log.
    async fn goes_on(&mut self, new: &str) -> Result<String> {
        self.domain.entry(&self.agent.id, new, &[]).await?;
        let update = self.agent.workload().follow().until_id(&self.domain.id(new)).await?;
        let before = self.domain.id("/before");
        ensure!(update.svids.iter().any(|svid| svid.spiffe_id == before), "{before} is gone");
        for svid in &update.svids {
            verified(svid)?;
        }
        let log = self.agent.process()?.log()?;
        ensure!(!log.contains("Node attestation was successful"), "the agent attested again");
        self.domain.server.process()?.log()
    }
}

async fn x509_authorities(domain: &Domain) -> Result<Vec<Value>> {
    let authorities = domain.server.authorities().await?;
    Ok(authorities["x509"].as_array().context("no X.509 authorities")?.clone())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}
