//! A disk without room, or one that becomes read-only: what was acknowledged is kept, what cannot be kept is refused, and all
//! goes on when it can be written to again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use steeple_tests::{
    Binaries, Domain, Installation, Scratch, Server, Shim, SmallDisk, Trap, cannot_run_here, case, say,
    skipped_on_the_reference,
};

/// Enough for a daemon to start with.
const ROOM: u32 = 1 << 20;
/// What is left of it for entries: enough for a few.
const LEFT: u64 = 200 << 10;
/// More than that do not go there.
const AT_MOST: usize = 200;

/// Runs a case if this machine can.
fn on_a_small_disk(name: &str, body: impl AsyncFnOnce(&Scratch) -> Result<()>) -> Result<()> {
    case(async |scratch| match SmallDisk::missing().await? {
        Some(reason) => cannot_run_here(name, &reason),
        None => body(scratch).await,
    })
}

#[test]
fn a_server_without_room_refuses_entries_and_keeps_what_it_has_acknowledged() -> Result<()> {
    on_a_small_disk("a server without room", async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let disk = SmallDisk::below(&mut domain.server, scratch, ROOM).await?;
        domain.server.start().await?;
        let authorities = domain.server.authorities().await?;
        disk.leave(LEFT)?;
        let entry = |i: usize| {
            let id = format!("spiffe://example.org/{i}");
            ["entry", "create", "-parentID", "spiffe://example.org/p", "-selector", "unix:uid:1", "-spiffeID", &id]
                .map(str::to_owned)
        };
        let (acknowledged, refusal) = until_refused(&domain.server, entry).await?;
        ensure!(acknowledged > 0, "the disk was full from the beginning");
        let code = if domain.server.program.is_reference { "Internal" } else { "Unavailable" };
        let told = format!("(code: {code}, msg: \"failed to create entry: datastore-sql: ");
        ensure!(refusal.contains(&told), "{refusal}");
        ensure!(refusal.contains("database or disk is full"), "{refusal}");
        let (_, refusal) = until_refused(&domain.server, |_| ["token", "generate"].map(str::to_owned)).await?;
        ensure!(refusal.contains("failed to create token: datastore-sql: database or disk is full"), "{refusal}");
        // It can still read, and says that it is well, as the reference does.
        domain.server.command(&["healthcheck"]).await?.ok()?;
        let entries = domain.server.entry_ids().await?;
        ensure!(entries.len() == acknowledged, "{} of {acknowledged} entries", entries.len());

        disk.make_room()?;
        let flags = ["-parentID", "spiffe://example.org/p", "-spiffeID", "spiffe://example.org/last"];
        let last = domain.server.create_entry(&[&flags[..], &["-selector", "unix:uid:1"]].concat()).await?;
        let entries: BTreeSet<String> = entries.into_iter().chain([last]).collect();

        // On disk, and not only in memory.
        domain.server.kill();
        domain.server.start().await?;
        ensure!(domain.server.entry_ids().await? == entries);
        ensure!(domain.server.authorities().await? == authorities);
        say(&format!("disk: server without room, all of {acknowledged} acknowledged entries kept"));
        Ok(())
    })
}

#[test]
fn an_agent_without_room_keeps_its_identity_until_it_can_renew_it() -> Result<()> {
    on_a_small_disk("an agent without room", async |scratch| {
        let domain = Domain::builder().agent_ttl("40s").start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let disk = SmallDisk::below(&mut agent, scratch, ROOM).await?;
        domain.attest(&mut agent).await?;
        let before = domain.server.agents().await?;

        disk.leave(0)?;
        let line = agent.process()?.line("Could not rotate agent SVID").await?;
        ensure!(line.contains("keys.json") && line.contains("no space left on device"), "{line}");
        // With the old identity it goes on.
        create_for_everybody(&domain, &agent.id, "/web").await?;
        let mut follower = agent.workload().follow();
        follower.until_id(&domain.id("/web")).await?;

        disk.make_room()?;
        agent.process()?.line("Successfully rotated agent SVID").await?;
        create_for_everybody(&domain, &agent.id, "/db").await?;
        follower.until_id(&domain.id("/db")).await?;
        let after = domain.server.agents().await?;
        ensure!(after.len() == 1 && after[0]["id"] == before[0]["id"], "{after:?}");
        ensure!(after[0]["x509svid_serial_number"] != before[0]["x509svid_serial_number"], "{after:?}");

        agent.kill();
        agent.start().await?;
        agent.workload().follow().until_id(&domain.id("/db")).await?;
        Ok(())
    })
}

#[test]
fn an_agent_without_room_does_not_use_its_token_up() -> Result<()> {
    on_a_small_disk("an agent that begins without room", async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let disk = SmallDisk::below(&mut agent, scratch, ROOM).await?;
        let token = domain.server.token(&[]).await?;
        disk.leave(0)?;
        agent.launch(&["-joinToken", &token])?;
        let line = agent.process()?.line("Failed to retrieve attestation result").await?;
        ensure!(line.contains("node1") && line.contains("no space left on device"), "{line}");
        ensure!(domain.server.agents().await?.is_empty());
        disk.make_room()?;
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await
    })
}

/// Runs a case if the daemons change their files where that can be refused.
fn on_a_disk_that_fails(name: &str, body: impl AsyncFnOnce(&Scratch, Shim) -> Result<()>) -> Result<()> {
    case(async |scratch| {
        let daemons = Binaries::find()?;
        if daemons.server.is_reference || daemons.agent.is_reference {
            skipped_on_the_reference(name, "it does not change files through the C library");
            return Ok(());
        }
        body(scratch, Shim::build(scratch).await?).await
    })
}

/// Puts a daemon's files where they can become read-only.
fn below(shim: &Shim, daemon: &mut Installation) -> Result<Trap> {
    shim.before(daemon, Duration::ZERO)
}

#[test]
fn a_server_whose_disk_becomes_read_only_refuses_changes_and_signs_on_until_it_can_write_again() -> Result<()> {
    on_a_disk_that_fails("a server whose disk becomes read-only", async |scratch, shim| {
        let mut domain = Domain::builder().write(scratch)?;
        let disk = below(&shim, &mut domain.server)?;
        domain.server.start().await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        let first = follower.until_id(&domain.id("/web")).await?;
        let (entries, authorities) = (domain.server.entry_ids().await?, domain.server.authorities().await?);

        disk.make_read_only()?;
        let create = ["entry", "create", "-parentID", &agent.id, "-selector", "unix:uid:1", "-spiffeID"];
        let refusal = domain.server.command(&[&create[..], &["spiffe://example.org/no"]].concat()).await?.refused()?;
        ensure!(refusal.contains("failed to create entry: datastore-sql: disk I/O error"), "{refusal}");
        let refusal = domain.server.command(&["localauthority", "x509", "prepare"]).await?.refused()?;
        ensure!(refusal.contains("keys.json") && refusal.contains("read-only file system"), "{refusal}");
        // It reads and signs, and says that it is well.
        domain.server.command(&["healthcheck"]).await?.ok()?;
        ensure!(domain.server.entry_ids().await? == entries && domain.server.authorities().await? == authorities);
        let token = agent.workload().jwt_svids("billing").await?;
        agent.workload().validate_jwt("billing", &token.first().context("no token")?.svid).await?;
        ensure!(agent.workload().follow().until_id(&domain.id("/web")).await? == first, "another SVID than before");

        disk.take_away()?;
        let last = domain.entry(&agent.id, "/last", &[]).await?;
        follower.until_id(&domain.id("/last")).await?;
        domain.server.command(&["localauthority", "x509", "prepare"]).await?.ok()?;
        let authorities = domain.server.authorities().await?;
        domain.server.kill();
        domain.server.starter.clear();
        domain.server.start().await?;
        ensure!(domain.server.entry_ids().await? == entries.into_iter().chain([last]).collect());
        ensure!(domain.server.authorities().await? == authorities);
        Ok(())
    })
}

#[test]
fn an_agent_whose_disk_becomes_read_only_keeps_its_identity_until_it_can_write_again() -> Result<()> {
    on_a_disk_that_fails("an agent whose disk becomes read-only", async |scratch, shim| {
        let domain = Domain::builder().agent_ttl("40s").start(scratch).await?;
        let mut agent = domain.new_agent("node1").await?;
        let disk = below(&shim, &mut agent)?;
        domain.attest(&mut agent).await?;
        let before = domain.server.agents().await?;

        disk.make_read_only()?;
        let line = agent.process()?.line("Could not rotate agent SVID").await?;
        ensure!(line.contains("keys.json") && line.contains("read-only file system"), "{line}");
        // With the old identity it goes on.
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id(&domain.id("/web")).await?;

        disk.take_away()?;
        agent.process()?.line("Successfully rotated agent SVID").await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        follower.until_id(&domain.id("/db")).await?;
        let after = domain.server.agents().await?;
        ensure!(after.len() == 1 && after[0]["id"] == before[0]["id"], "{after:?}");
        ensure!(after[0]["x509svid_serial_number"] != before[0]["x509svid_serial_number"], "{after:?}");

        agent.kill();
        agent.starter.clear();
        agent.start().await?;
        agent.workload().follow().until_id(&domain.id("/db")).await?;
        Ok(())
    })
}

/// Runs commands, the first with 0, until one is refused. Returns how many were not, and the refusal.
async fn until_refused<const N: usize>(
    server: &Server,
    command: impl Fn(usize) -> [String; N],
) -> Result<(usize, String)> {
    for i in 0..AT_MOST {
        let output = server.command(&command(i).each_ref().map(String::as_str)).await?;
        if output.code != 0 {
            return Ok((i, output.refused()?));
        }
    }
    bail!("there is room for {AT_MOST}")
}

/// An entry for whatever this user is called where the agent runs.
async fn create_for_everybody(domain: &Domain, parent: &str, path: &str) -> Result<String> {
    let id = domain.id(path);
    domain.server.create_entry(&["-parentID", parent, "-spiffeID", &id, "-selector", "unix:uid:0"]).await
}
