//! A server of each kind behind one name with two addresses: agents of both kinds stay with whichever is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use steeple_proto::workload::X509svidResponse;
use steeple_tests::{
    Agent, Binaries, Domain, Scratch, Shared, SmallDisk, cannot_run_here, case, figures, find_by_name, move_beside,
    own_selector, say, within,
};
use tonic::Streaming;

const STAYS: &str = "spiffe://example.org/stays";
/// Each server goes so often, killed and ended in order by turns, and comes back before the other one goes.
const LOSSES: usize = 8;

#[test]
fn agents_of_both_kinds_stay_with_servers_of_both_kinds_behind_one_name_on_postgresql() -> Result<()> {
    case(async |scratch| stay(scratch, &Shared::on_postgres(scratch).await?, "PostgreSQL").await)
}

#[test]
fn agents_of_both_kinds_stay_with_servers_of_both_kinds_behind_one_name_on_mariadb() -> Result<()> {
    case(async |scratch| stay(scratch, &Shared::on_mariadb(scratch).await?, "MariaDB").await)
}

/// An agent, and the open stream of a workload of it.
struct Follower {
    kind: &'static str,
    agent: Agent,
    stream: Streaming<X509svidResponse>,
    /// How many of its syncs have failed.
    failures: usize,
}

async fn stay(scratch: &Scratch, shared: &Shared, name: &str) -> Result<()> {
    if let Some(reason) = SmallDisk::missing().await? {
        return cannot_run_here("a name with several addresses", &reason);
    }
    let (ours, theirs) = (Binaries::find()?.clone(), Binaries::peers()?);
    let mut domain = Domain::builder().database(shared.database.clone()).write(scratch)?;
    domain.server.program = theirs.server;
    domain.server.start().await?;
    let mut other = domain.another_server("ours", None)?;
    move_beside(&mut other, &domain.server)?;
    other.start().await?;
    let mut followers = Vec::new();
    for (kind, program) in [("their agent", theirs.agent), ("our agent", ours.agent)] {
        let mut agent = domain.new_agent(&kind.replace(' ', "-")).await?;
        agent.program = program;
        find_by_name(&mut agent)?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/stays", &[]).await?;
        let mut follower = agent.workload().follow();
        // Who has not heard of a server's authority cannot go there.
        follower.until_authorities(2).await?;
        followers.push(Follower { kind, agent, stream: follower.into_stream()?, failures: 0 });
    }

    let (mut times, mut entries) = (BTreeMap::<&str, Vec<_>>::new(), Vec::<String>::new());
    for round in 0..LOSSES {
        let (lost, left) = if round % 2 == 0 { (&mut domain.server, &other) } else { (&mut other, &domain.server) };
        if round % 4 < 2 {
            lost.kill()
        } else {
            lost.stop().await?
        }
        // What was registered in the last round goes, and something else comes.
        for entry in std::mem::take(&mut entries) {
            left.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
        }
        let (id, selector) = (format!("spiffe://example.org/round-{round}"), own_selector());
        for Follower { kind, agent, stream, failures } in &mut followers {
            let created = Instant::now();
            let flags = ["-parentID", &agent.id, "-spiffeID", &id, "-selector", &selector];
            entries.push(left.create_entry(&flags).await?);
            until_ids(stream, &[STAYS, &id]).await?;
            times.entry(kind).or_default().push(created.elapsed());
            // What fails at one server is asked of the other one at the next time.
            let log = agent.process()?.log()?;
            let failed = log.matches("Synchronize failed").count();
            ensure!(failed - *failures <= 1, "{kind}: {} failures in round {round}:\n{log}", failed - *failures);
            *failures = failed;
        }
        lost.start().await?;
    }

    for Follower { kind, agent, .. } in &mut followers {
        ensure!(agent.process()?.exited()?.is_none(), "{kind} has ended");
        let attested = agent.process()?.log()?.matches("Node attestation was successful").count();
        ensure!(attested == 1, "{kind} attested {attested} times");
    }
    for server in [&domain.server, &other] {
        let (known, listed) = (server.agents().await?.len(), server.entry_ids().await?.len());
        ensure!((known, listed) == (followers.len(), 2 * followers.len()), "{known} agents, {listed} entries");
    }
    let failures: Vec<_> =
        followers.iter().map(|Follower { kind, failures, .. }| format!("{kind} {failures}")).collect();
    say(&format!("peer: {name}: {LOSSES} losses behind one name, syncs that failed: {}", failures.join(", ")));
    for (kind, times) in times {
        say(&figures(&format!("peer: {name}: {LOSSES} losses behind one name, entry to the stream: {kind}"), times));
    }
    Ok(())
}

/// Waits for an update with these SVIDs and no others on a stream that must not end.
async fn until_ids(stream: &mut Streaming<X509svidResponse>, ids: &[&str; 2]) -> Result<()> {
    loop {
        let update = within("an update", stream.message()).await??.context("the stream ended")?;
        let shown: BTreeSet<_> = update.svids.iter().map(|svid| svid.spiffe_id.as_str()).collect();
        if shown == ids.iter().copied().collect() {
            return Ok(());
        }
    }
}
