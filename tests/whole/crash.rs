//! kill -9 at random moments, also while a daemon is still starting: what was acknowledged is there afterwards.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use steeple_tests::{Agent, DEADLINE, Domain, POLL, Random, Server, case, say};

const KILLS: usize = 10;

/// From the start of the process. Starting takes less, so some kills hit it there and most while it serves.
const LATEST: Duration = Duration::from_millis(2000);

#[test]
fn a_server_that_is_killed_ten_times_loses_nothing() -> Result<()> {
    case(async |scratch| {
        let mut random = Random::seeded("crash of the server")?;
        let mut domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/web").await?;
        let (authorities, agents) = (domain.server.authorities().await?, domain.server.agents().await?);

        let mut writer = Writer::default();
        for _ in 0..KILLS {
            // The kill comes when it comes; a command that it interrupts was not acknowledged.
            let _ = tokio::time::timeout(random.moment(LATEST), writer.create_entries(&domain.server)).await;
            domain.server.kill();
            domain.server.launch(&[])?;
        }
        domain.server.healthy().await?;

        ensure!(domain.server.authorities().await? == authorities, "other authorities than before");
        assert_eq!(domain.server.agents().await?, agents);
        let entries = domain.server.entry_ids().await?;
        let Writer { tried, acknowledged } = writer;
        let lost: Vec<&String> = acknowledged.iter().filter(|id| !entries.contains(*id)).collect();
        assert!(lost.is_empty(), "lost entries: {lost:?}");
        // The stream was never touched; it must carry what comes now.
        domain.entry(&agent.id, "/db", &[]).await?;
        follower.until_id("spiffe://example.org/db").await?;
        let kept = acknowledged.len();
        say(&format!("crash: server killed {KILLS} times, {kept} of {kept} acknowledged entries kept ({tried} tried)"));
        Ok(())
    })
}

#[test]
fn an_agent_that_is_killed_ten_times_keeps_its_identity() -> Result<()> {
    case(async |scratch| {
        let mut random = Random::seeded("crash of the agent")?;
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/web").await?;
        let agents = domain.server.agents().await?;

        let mut updates = 0;
        for _ in 0..KILLS {
            // The same client all the time: it finds each new agent by itself.
            let follow = async {
                while follower.until_id("spiffe://example.org/web").await.is_ok() {
                    updates += 1;
                }
            };
            let _ = tokio::time::timeout(random.moment(LATEST), follow).await;
            agent.kill();
            agent.launch(&[])?;
        }

        domain.entry(&agent.id, "/db", &[]).await?;
        follower.until_id("spiffe://example.org/db").await?;
        assert!(!agent.process()?.log()?.contains("Node attestation was successful"));
        assert_eq!(domain.server.agents().await?, agents);
        say(&format!(
            "crash: agent killed {KILLS} times, its stream came back by itself, {updates} updates in between"
        ));
        Ok(())
    })
}

#[test]
fn an_agent_that_is_killed_while_it_renews_keeps_its_identity() -> Result<()> {
    const RENEWALS: usize = 4;
    case(async |scratch| {
        let mut random = Random::seeded("crash of a renewing agent")?;
        let domain = Domain::builder().agent_ttl("20s").start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        for _ in 0..RENEWALS {
            begins_to_renew(&mut agent).await?;
            tokio::time::sleep(random.moment(Duration::from_millis(40))).await;
            agent.kill();
            agent.start().await?;
            agent.workload().follow().until_id("spiffe://example.org/web").await?;
        }
        let agents = domain.server.agents().await?;
        assert_eq!(agents.len(), 1, "{agents:?}");
        say(&format!("crash: agent killed in {RENEWALS} renewals, its identity kept"));
        Ok(())
    })
}

/// Waits until the agent has stored the key for its next SVID, which is how a renewal begins.
async fn begins_to_renew(agent: &mut Agent) -> Result<()> {
    let keys = agent.data_dir.join("keys.json");
    let before = fs::read(&keys)?;
    let start = Instant::now();
    while fs::read(&keys)? == before {
        ensure!(start.elapsed() < DEADLINE, "the agent does not renew its SVID");
        ensure!(agent.process()?.exited()?.is_none(), "the agent ended");
        // Shorter than all other waiting: a renewal is over in a few milliseconds.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Creates entries as fast as the command line can.
#[derive(Default)]
struct Writer {
    tried: usize,
    /// The IDs of those that the command reported.
    acknowledged: Vec<String>,
}

impl Writer {
    /// Never ends.
    async fn create_entries(&mut self, server: &Server) {
        loop {
            self.tried += 1;
            let id = format!("spiffe://example.org/crash/{}", self.tried);
            let flags = ["-parentID", "spiffe://example.org/nobody", "-spiffeID", &id, "-selector", "unix:uid:1"];
            match server.create_entry(&flags).await {
                Ok(id) => self.acknowledged.push(id),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}
