//! A server of each kind behind one address, of which each connection leads to the next one: agents of both kinds stay
//! with whichever is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use steeple_proto::workload::X509svidResponse;
use steeple_tests::{
    Agent, Binaries, Domain, Scratch, Server, Shared, Wire, case, figures, own_selector, say, until_count,
};
use tonic::Streaming;

const STAYS: &str = "/stays";
const KILLS: usize = 6;

#[test]
fn agents_of_both_kinds_stay_with_servers_of_both_kinds_behind_one_address() -> Result<()> {
    case(async |scratch| stay(scratch, &Shared::on_postgres(scratch).await?).await)
}

async fn stay(scratch: &Scratch, shared: &Shared) -> Result<()> {
    let (ours, theirs) = (Binaries::find()?.clone(), Binaries::peers()?);
    let mut domain = Domain::builder().database(shared.database.clone()).write(scratch)?;
    domain.server.program = theirs.server;
    domain.server.start().await?;
    let mut other = domain.another_server("ours", None)?;
    other.start().await?;
    let wire = Wire::in_turn(&[domain.server.port, other.port]).await?;
    let mut agents = Vec::new();
    for (name, program) in [("their agent", &theirs.agent), ("our agent", &ours.agent)] {
        let mut agent = domain.new_agent(&name.replace(' ', "-")).await?;
        agent.program = program.clone();
        let port = |port: u16| format!("server_port = {port}");
        agent.reconfigure(|conf| conf.replace(&port(domain.server.port), &port(wire.port)))?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, STAYS, &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_authorities(2).await?;
        agents.push((name, agent, follower.into_stream()?));
    }

    let mut times = BTreeMap::<&str, Vec<_>>::new();
    for round in 0..KILLS {
        let servers = (&mut domain.server, &mut other);
        let (killed, left) = if round % 2 == 0 { servers } else { (servers.1, servers.0) };
        killed.kill();
        for (name, agent, stream) in &mut agents {
            let arrived = comes_and_goes(left, agent, stream).await?;
            times.entry(name).or_default().push(arrived);
        }
        killed.start().await?;
    }
    for (name, agent, _) in &mut agents {
        ensure!(agent.process()?.exited()?.is_none(), "{name} has ended");
        let attested = agent.process()?.log()?.matches("Node attestation was successful").count();
        ensure!(attested == 1, "{name} attested {attested} times");
    }
    let known = domain.server.agents().await?.len();
    ensure!(known == agents.len(), "{known} agents");
    for (name, times) in times {
        say(&figures(&format!("peer: {KILLS} kills behind one address, entry to the stream: {name}"), times));
    }
    Ok(())
}

/// An entry that is created at this server arrives on the stream, which stays open, and goes again. Returns how long it
/// took to arrive.
async fn comes_and_goes(server: &Server, agent: &Agent, stream: &mut Streaming<X509svidResponse>) -> Result<Duration> {
    let selector = own_selector();
    let flags = ["-parentID", &agent.id, "-spiffeID", "spiffe://example.org/new", "-selector", &selector];
    let entry = server.create_entry(&flags).await?;
    let created = Instant::now();
    until_count(stream, 2).await?;
    let arrived = created.elapsed();
    server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
    until_count(stream, 1).await?;
    Ok(arrived)
}
