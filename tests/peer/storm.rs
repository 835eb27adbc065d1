//! A storm of our agents at our server, and one of theirs among them.

use anyhow::{Context, Result, ensure};
use steeple_tests::{Binaries, Force, Storm, case, say};

use crate::domain::{WEB, next_svid};

#[test]
fn their_agent_keeps_its_svid_and_its_stream_in_a_storm() -> Result<()> {
    let peers = Binaries::peers()?;
    case(async |scratch| {
        let (name, force) = ("a storm with their agent", Force { newcomers: None, ..Force::of_environment() });
        let Some(mut storm) = Storm::before(name, force, scratch).await? else { return Ok(()) };
        let mut theirs = storm.domain.new_agent("theirs").await?;
        theirs.program = peers.agent.clone();
        storm.domain.attest(&mut theirs).await?;
        storm.domain.entry(&theirs.id, "/web", &[]).await?;
        let mut follower = theirs.workload().follow();
        follower.until_id(WEB).await?;
        let mut stream = follower.into_stream()?;
        let ours = storm.domain.agent("ours").await?;
        let shown = serial(&storm, &theirs.id).await?;

        storm.breaks_loose(&ours).await?;

        // Who it was, with the SVID that it had, and on the same stream.
        ensure!(serial(&storm, &theirs.id).await? == shown, "another SVID");
        ensure!(theirs.process()?.exited()?.is_none(), "their agent has ended");
        storm.domain.entry(&theirs.id, "/db", &[]).await?;
        next_svid(&mut stream).await?;
        let log = theirs.written()?;
        let failures = log.lines().filter(|line| line.contains("Failed to")).count();
        say(&format!("peer: their agent kept its SVID in the storm; {failures} lines of its log tell of failures"));
        Ok(())
    })
}

/// Of an agent's SVID, as the server knows it.
async fn serial(storm: &Storm, id: &str) -> Result<String> {
    let path = id.trim_start_matches("spiffe://example.org");
    let agents = storm.domain.server.agents().await?;
    let agent = agents.iter().find(|agent| agent["id"]["path"] == path).with_context(|| format!("no {id}"))?;
    Ok(agent["x509svid_serial_number"].to_string())
}
