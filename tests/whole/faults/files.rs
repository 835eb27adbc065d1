//! Files that are truncated, hold something else, or cannot be read or written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use steeple_tests::{Daemon, Domain, SmallDisk, cannot_run_here, case, read_only, say};

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
    /// There is something in its place that cannot be read. (Root may read every file.)
    Unreadable,
}

impl Damage {
    const ALL: [Self; 4] = [Self::Truncated, Self::Emptied, Self::Garbage, Self::Unreadable];

    fn befall(self, path: &Path) -> Result<()> {
        let mut content = fs::read(path)?;
        match self {
            Self::Truncated => content.truncate(content.len() / 2),
            Self::Emptied => content.clear(),
            Self::Garbage => content = b"\x7fELF\x02\x01\x01 not what you expect".repeat(100),
            Self::Unreadable => {
                fs::remove_file(path)?;
                return Ok(fs::create_dir(path)?);
            }
        }
        Ok(fs::write(path, content)?)
    }
}

/// A file that was saved, and that can be damaged and put back.
struct Saved {
    path: PathBuf,
    content: Vec<u8>,
}

impl Saved {
    fn new(path: PathBuf) -> Result<Self> {
        let content = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, content })
    }

    /// What is there now, byte by byte; None of a directory.
    fn now(&self) -> Option<Vec<u8>> {
        fs::read(&self.path).ok()
    }

    fn put_back(&self) -> Result<()> {
        if self.path.is_dir() {
            fs::remove_dir(&self.path)?;
        }
        Ok(fs::write(&self.path, &self.content)?)
    }
}

/// A daemon that ended says which file it was, unless it is the reference, and has not touched it.
async fn refused(process: &mut Daemon, file: &Saved, damaged: Option<Vec<u8>>, words: &str, named: bool) -> Result<()> {
    let path = file.path.to_string_lossy();
    ends_with(process, &[words, if named { &*path } else { "" }]).await?;
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
        for damage in Damage::ALL {
            damage.befall(&keys.path)?;
            let damaged = keys.now();
            domain.server.launch(&[])?;
            let words = match damage {
                Damage::Unreadable => "is a directory",
                _ => "rpc error: code = Internal desc = unable to decode keys JSON",
            };
            let named = !domain.server.program.is_reference;
            let ended = refused(domain.server.process()?, &keys, damaged, words, named);
            ended.await.with_context(|| format!("{damage:?}"))?;
            keys.put_back()?;
        }
        domain.server.start().await?;
        assert_eq!(domain.server.authorities().await?, authorities);
        say(&format!("faults: {0} of {0} damaged key files of a server refused and left", Damage::ALL.len()));
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
        // An empty file is an empty database.
        for damage in [Damage::Truncated, Damage::Garbage, Damage::Unreadable] {
            damage.befall(&database.path)?;
            let damaged = database.now();
            domain.server.launch(&[])?;
            let words = match damage {
                Damage::Garbage => "datastore-sql: file is not a database",
                Damage::Unreadable => "datastore-sql: unable to open database file",
                _ => "datastore-sql: database disk image is malformed",
            };
            let named = !domain.server.program.is_reference;
            let ended = refused(domain.server.process()?, &database, damaged, words, named);
            ended.await.with_context(|| format!("{damage:?}"))?;
            database.put_back()?;
        }
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
        for (file, words, unreadable) in [
            (
                "agent-data.json",
                "failed to open storage: failed to unmarshal data: ",
                "failed to open storage: failed to read data: ",
            ),
            ("keys.json", "rpc error: code = Internal desc = unable to decode keys JSON", "is a directory"),
        ] {
            let file = Saved::new(agent.data_dir.join(file))?;
            for damage in Damage::ALL {
                damage.befall(&file.path)?;
                let damaged = file.now();
                agent.launch(&[])?;
                let words = if matches!(damage, Damage::Unreadable) { unreadable } else { words };
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
        say(&format!("faults: {0} of {0} damaged files of an agent refused and left", 2 * Damage::ALL.len()));
        Ok(())
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
