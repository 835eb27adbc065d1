//! Their agent renews its SVID, and our server loses its database before it has seen the new one: the agent goes on with it, and
//! renews again when the database is back.

use anyhow::{Result, ensure};
use steeple_tests::{Agent, Binaries, Domain, Scratch, Shared, Wire, case, say, until, within};

use crate::domain::{self, WEB, next_svid};

const RENEWED: &str = "Successfully rotated agent SVID";

#[test]
fn their_agent_that_has_just_renewed_goes_on_without_our_postgresql_and_after_it() -> Result<()> {
    case(async |scratch| goes_on(scratch, &Shared::on_postgres(scratch).await?, "PostgreSQL").await)
}

#[test]
fn their_agent_that_has_just_renewed_goes_on_without_our_mariadb_and_after_it() -> Result<()> {
    case(async |scratch| goes_on(scratch, &Shared::on_mariadb(scratch).await?, "MariaDB").await)
}

async fn goes_on(scratch: &Scratch, shared: &Shared, name: &str) -> Result<()> {
    let (ours, theirs) = (Binaries::find()?, Binaries::peers()?);
    let wire = Wire::to(shared.port).await?;
    let builder = Domain::builder().agent_ttl("60s").database(shared.through(wire.port));
    let (domain, mut agent) = domain::of(builder, &ours.server, &theirs.agent, scratch).await?;
    domain.entry(&agent.id, "/web", &["-x509SVIDTTL", "10"]).await?;
    serves(&agent).await?;

    agent.process()?.line(RENEWED).await?;
    wire.cut();
    let next = shared.column("SELECT new_serial_number FROM attested_node_entries").await?;
    ensure!(next.len() == 1 && !next[0].is_empty(), "the new SVID has been seen before the database went: {next:?}");
    serves(&agent).await?;
    // Started again it has to go over a new connection, and knows nothing.
    agent.stop().await?;
    agent.start().await?;
    serves(&agent).await?;

    wire.mend();
    agent.process()?.line(RENEWED).await?;
    until("a write", async || domain.entry(&agent.id, "/after", &[]).await.ok()).await?;
    agent.workload().follow().until_id(&domain.id("/after")).await?;
    serves(&agent).await?;
    let attested = agent.written()?.matches("Node attestation was successful").count();
    ensure!(attested == 1, "the agent attested {attested} times");
    let agents = domain.server.agents().await?;
    ensure!(agents.len() == 1, "{agents:?}");
    say(&format!("peer: {name}: their agent went on without the database of our server, right after it had renewed"));
    Ok(())
}

/// A workload is given one SVID and then another on its stream, and a token for an audience that nobody has asked for.
async fn serves(agent: &Agent) -> Result<()> {
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    let mut stream = follower.into_stream()?;
    let (first, _) = next_svid(&mut stream).await?;
    while next_svid(&mut stream).await?.0 == first {}
    let tokens = within("a token", agent.workload().jwt_svids(&first)).await??;
    ensure!(!tokens.is_empty(), "no token");
    Ok(())
}
