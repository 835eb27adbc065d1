//! Files that are truncated, hold something else, or cannot be read or written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use steeple_tests::{Daemon, Domain, Installation, SmallDisk, cannot_run_here, case, heed_modes, read_only, say};

use super::json;
use crate::mistakes::ends_with;

/// What has become of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Half of it is there.
    Truncated,
    /// Nothing of it is there.
    Emptied,
    /// It holds something else.
    Garbage,
    /// A directory is in its place.
    Replaced,
    /// Nobody may read it.
    Forbidden,
}

impl Damage {
    /// All that this machine can do to a daemon that does not run yet.
    async fn to(daemon: &mut Installation) -> Result<Vec<Self>> {
        let mut all = vec![Self::Truncated, Self::Emptied, Self::Garbage, Self::Replaced, Self::Forbidden];
        if let Some(reason) = heed_modes(daemon).await? {
            cannot_run_here("files that nobody may read", &reason)?;
            all.pop();
        }
        Ok(all)
    }

    fn befall(self, path: &Path) -> Result<()> {
        let mut content = fs::read(path)?;
        match self {
            Self::Truncated => content.truncate(content.len() / 2),
            Self::Emptied => content.clear(),
            Self::Garbage => content = b"\x7fELF\x02\x01\x01 not what you expect".repeat(100),
            Self::Replaced => {
                fs::remove_file(path)?;
                return Ok(fs::create_dir(path)?);
            }
            Self::Forbidden => return Ok(fs::set_permissions(path, Permissions::from_mode(0o000))?),
        }
        Ok(fs::write(path, content)?)
    }
}

/// A file that was saved, and that can be damaged and put back.
struct Saved {
    path: PathBuf,
    content: Vec<u8>,
    permissions: Permissions,
}

impl Saved {
    fn new(path: PathBuf) -> Result<Self> {
        let content = fs::read(&path).with_context(|| path.display().to_string())?;
        let permissions = fs::metadata(&path)?.permissions();
        Ok(Self { path, content, permissions })
    }

    /// What is there now, byte by byte; None of a directory, and of what may not be read.
    fn now(&self) -> Option<Vec<u8>> {
        fs::read(&self.path).ok()
    }

    fn put_back(&self) -> Result<()> {
        if self.path.is_dir() {
            fs::remove_dir(&self.path)?;
        } else {
            fs::set_permissions(&self.path, self.permissions.clone())?;
        }
        fs::write(&self.path, &self.content)?;
        Ok(fs::set_permissions(&self.path, self.permissions.clone())?)
    }
}

/// A daemon that ended says which file it was, unless it is the reference, and has not touched it.
async fn refused(
    process: &mut Daemon,
    file: &Saved,
    damaged: Option<Vec<u8>>,
    words: &[&str],
    named: bool,
) -> Result<()> {
    let path = file.path.to_string_lossy();
    let said = [words, &["crashed", if named { &*path } else { "" }]].concat();
    ends_with(process, &said).await?;
    ensure!(file.now() == damaged, "{path} was changed");
    Ok(())
}

#[test]
fn a_server_whose_keys_are_damaged_ends_and_leaves_them_as_they_are() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let authorities = domain.server.authorities().await?;
        domain.server.stop().await?;
        let keys = Saved::new(domain.server.data_dir.join("keys.json"))?;
        let damages = Damage::to(&mut domain.server).await?;
        for &damage in &damages {
            damage.befall(&keys.path)?;
            let damaged = keys.now();
            domain.server.launch(&[])?;
            let words = [match damage {
                Damage::Replaced => "is a directory",
                Damage::Forbidden => "permission denied",
                _ => "rpc error: code = Internal desc = unable to decode keys JSON",
            }];
            let named = !domain.server.program.is_reference;
            let ended = refused(domain.server.process()?, &keys, damaged, &words, named);
            ended.await.with_context(|| format!("{damage:?}"))?;
            ensure!(!domain.server.socket.exists(), "there is a socket");
            keys.put_back()?;
        }
        domain.server.start().await?;
        assert_eq!(domain.server.authorities().await?, authorities);
        say(&format!("faults: {0} of {0} damaged key files of a server refused and left", damages.len()));
        Ok(())
    })
}

#[test]
fn a_server_whose_database_is_damaged_ends_and_leaves_it_as_it_is() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        domain
            .server
            .create_entry(&[
                "-parentID",
                "spiffe://example.org/p",
                "-spiffeID",
                "spiffe://example.org/a",
                "-selector",
                "unix:uid:1",
            ])
            .await?;
        let (entries, authorities) = (domain.server.entry_ids().await?, domain.server.authorities().await?);
        domain.server.stop().await?;
        let database = Saved::new(domain.server.data_dir.join("datastore.sqlite3"))?;
        for damage in Damage::to(&mut domain.server).await? {
            if matches!(damage, Damage::Emptied) {
                continue;
            }
            damage.befall(&database.path)?;
            let damaged = database.now();
            domain.server.launch(&[])?;
            let words = [match damage {
                Damage::Garbage => "datastore-sql: file is not a database",
                Damage::Replaced | Damage::Forbidden => "datastore-sql: unable to open database file",
                _ => "datastore-sql: database disk image is malformed",
            }];
            let named = !domain.server.program.is_reference;
            let ended = refused(domain.server.process()?, &database, damaged, &words, named);
            ended.await.with_context(|| format!("{damage:?}"))?;
            ensure!(!domain.server.socket.exists(), "there is a socket");
            database.put_back()?;
        }
        // An empty one is the beginning of another trust domain, whose keys take the place of those that were there.
        let keys = Saved::new(domain.server.data_dir.join("keys.json"))?;
        Damage::Emptied.befall(&database.path)?;
        domain.server.start().await?;
        ensure!(domain.server.entry_ids().await?.is_empty() && domain.server.authorities().await? != authorities);
        domain.server.stop().await?;
        ensure!(keys.now().as_ref() != Some(&keys.content), "the keys are those of before");
        database.put_back()?;
        keys.put_back()?;
        domain.server.start().await?;
        assert_eq!(domain.server.entry_ids().await?, entries);
        assert_eq!(domain.server.authorities().await?, authorities);
        Ok(())
    })
}

#[test]
fn an_agent_whose_files_are_damaged_ends_and_leaves_them_as_they_are() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        agent.stop().await?;
        let agents = domain.server.agents().await?;
        let named = !agent.program.is_reference;
        let damages = Damage::to(&mut agent).await?;
        for (file, words, unreadable) in [
            (
                "agent-data.json",
                "failed to open storage: failed to unmarshal data: ",
                "failed to open storage: failed to read data: ",
            ),
            ("keys.json", "rpc error: code = Internal desc = unable to decode keys JSON", ""),
        ] {
            let file = Saved::new(agent.data_dir.join(file))?;
            for &damage in &damages {
                damage.befall(&file.path)?;
                let damaged = file.now();
                agent.launch(&[])?;
                let words: &[&str] = match damage {
                    Damage::Replaced => &[unreadable, "is a directory"],
                    Damage::Forbidden => &[unreadable, "permission denied"],
                    _ => &[words],
                };
                let ended = refused(agent.process()?, &file, damaged, words, named);
                ended.await.with_context(|| format!("{damage:?} {}", file.path.display()))?;
                ensure!(!agent.socket.exists(), "there is a socket");
                file.put_back()?;
            }
        }
        // The same identity as before, without attestation.
        agent.start().await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        assert_eq!(domain.server.agents().await?, agents);
        say(&format!("faults: {0} of {0} damaged files of an agent refused and left", 2 * damages.len()));
        Ok(())
    })
}

/// All agents at the same time, until they give up.
#[test]
fn an_agent_whose_first_bundle_cannot_be_read_ends_after_a_minute_and_leaves_its_token_unused() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let token = domain.server.token(&[]).await?;
        let mut agent = domain.new_agent("none").await?;
        let damages = Damage::to(&mut agent).await?;
        let mut agents = Vec::new();
        for damage in damages.into_iter().map(Some).chain([None]) {
            let mut agent = domain.new_agent(&format!("{}", agents.len())).await?;
            let path = agent.conf.with_extension("pem");
            match damage {
                Some(damage) => damage.befall(&path)?,
                None => fs::remove_file(&path)?,
            }
            if matches!(damage, Some(Damage::Forbidden)) {
                heed_modes(&mut agent).await?;
            }
            agent.launch(&["-joinToken", &token])?;
            agents.push((agent, path, damage));
        }
        for (agent, path, damage) in &mut agents {
            let is_reference = agent.program.is_reference;
            let words = match damage {
                Some(Damage::Truncated) if !is_reference => "has no end",
                Some(Damage::Truncated | Damage::Emptied | Damage::Garbage) => "no PEM blocks",
                Some(Damage::Replaced) => "could not parse trust bundle: read ",
                Some(Damage::Forbidden) | None => "could not parse trust bundle: open ",
            };
            let named = words.starts_with("could not parse") || !is_reference;
            let path = path.to_string_lossy();
            let said = ["Agent crashed", words, if named { &*path } else { "" }];
            let ended = ends_with(agent.process()?, &said);
            ended.await.with_context(|| format!("{damage:?}"))?;
            ensure!(!agent.socket.exists(), "{damage:?}: there is a socket");
            let data = json(&agent.data_dir.join("agent-data.json"))?;
            ensure!(data["svid"].is_null() && data["bundle"].is_null(), "{damage:?}: {data}");
            ensure!(!agent.data_dir.join("keys.json").exists(), "{damage:?}: there is a key");
        }
        say(&format!("faults: {0} of {0} first bundles refused, and the token kept", agents.len()));
        let (mut agent, path, _) = agents.pop().context("no agent")?;
        fs::write(path, domain.server.bundle_pem().await?)?;
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await
    })
}

#[test]
fn a_server_that_has_lost_its_keys_makes_new_authorities_beside_the_old_ones() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let before = domain.server.authorities().await?;
        domain.server.stop().await?;
        fs::remove_file(domain.server.data_dir.join("keys.json"))?;
        domain.server.start().await?;
        let after = domain.server.authorities().await?;
        for kind in ["x509", "jwt"] {
            let (before, after) = (before[kind].as_array().context(kind)?, after[kind].as_array().context(kind)?);
            ensure!(after.len() == before.len() + 1, "{kind}: {after:?}");
            ensure!(before.iter().all(|authority| after.contains(authority)), "{kind}: an old one is gone");
        }
        // A new agent is told of both and is none the worse for it.
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let update = agent.workload().follow().until_id("spiffe://example.org/web").await?;
        steeple_tests::verified(&update.svids[0])?;
        Ok(())
    })
}

#[test]
fn a_daemon_that_may_not_write_ends_before_it_listens_and_goes_on_when_it_may() -> Result<()> {
    case(async |scratch| {
        if let Some(reason) = SmallDisk::missing().await? {
            return cannot_run_here("a data directory that cannot be written to", &reason);
        }
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.stop().await?;
        read_only(&mut agent);
        agent.launch(&[])?;
        let words = ["directory validation failed: ", "read-only file system"];
        ends_with(agent.process()?, &words).await?;
        ensure!(!agent.socket.exists());
        agent.starter.clear();
        agent.start().await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;

        let entries = domain.server.entry_ids().await?;
        domain.server.stop().await?;
        read_only(&mut domain.server);
        domain.server.launch(&[])?;
        ends_with(domain.server.process()?, &["datastore-sql: "]).await?;
        domain.server.starter.clear();
        domain.server.start().await?;
        assert_eq!(domain.server.entry_ids().await?, entries);
        Ok(())
    })
}
