//! The database is away for a while, and comes back. `docs/outages.md` tells operators the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_proto::workload::X509svidResponse;
use steeple_tests::{Agent, Domain, DomainBuilder, Scratch, Wire, case, say, until, within};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::{Shared, at_postgres, is_ours};

const WEB: &str = "spiffe://example.org/web";
const DB: &str = "spiffe://example.org/db";

/// A server whose database is at the other end of a wire, and an agent with a workload's open stream.
struct Far {
    shared: Shared,
    wire: Wire,
    domain: Domain,
    agent: Agent,
    stream: Streaming<X509svidResponse>,
}

async fn far(scratch: &Scratch, builder: DomainBuilder) -> Result<Far> {
    let shared = Shared::on_postgres(scratch).await?;
    let wire = Wire::to(shared.port).await?;
    let domain = builder.database(at_postgres(wire.port, &shared.name)).start(scratch).await?;
    let agent = domain.agent("node1").await?;
    domain.entry(&agent.id, "/web", &["-x509SVIDTTL", "10"]).await?;
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    let stream = follower.into_stream()?;
    Ok(Far { shared, wire, domain, agent, stream })
}

fn staleness(length: &str) -> DomainBuilder {
    let steeple =
        format!("experimental {{\n        steeple {{\n            max_staleness = \"{length}\"\n        }}\n    }}");
    Domain::builder().default_intervals().server_text(&steeple)
}

#[test]
fn without_its_database_a_server_signs_and_syncs_and_hands_out_nothing_new() -> Result<()> {
    case(async |scratch| without(scratch, |wire| wire.cut()).await)
}

#[test]
fn without_an_answer_of_its_database_a_server_signs_and_syncs_and_hands_out_nothing_new() -> Result<()> {
    case(async |scratch| without(scratch, |wire| wire.swallow("")).await)
}

async fn without(scratch: &Scratch, lose: impl Fn(&Wire)) -> Result<()> {
    if !is_ours("a server without its database")? {
        return Ok(());
    }
    let Far { shared: _, wire, mut domain, mut agent, mut stream } =
        far(scratch, Domain::builder().agent_ttl("60s")).await?;
    // Its new SVID has just been stored when the database goes.
    agent.process()?.line("Successfully rotated agent SVID").await?;
    lose(&wire);
    let renewed = next(&mut stream).await?;
    ensure!(next(&mut stream).await? != renewed, "the same SVID again");
    agent.workload().jwt_svids("billing").await?;
    let refused = domain.server.command(&["token", "generate"]).await?.refused()?;
    ensure!(refused.contains("code = Unavailable"), "{refused}");
    let refused = domain.server.command(&["agent", "ban", "-spiffeID", &agent.id]).await?.refused()?;
    ensure!(refused.contains("code = Unavailable"), "{refused}");
    domain.server.command(&["healthcheck"]).await?.refused()?;
    // From memory.
    ensure!(domain.server.bundle_pem().await?.contains("BEGIN CERTIFICATE"), "no bundle");
    // It has to go over a new connection, and knows nothing.
    agent.stop().await?;
    agent.start().await?;
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    let mut stream = follower.into_stream()?;

    wire.mend();
    within("the server's recovery", domain.server.healthy()).await??;
    domain.entry(&agent.id, "/db", &[]).await?;
    with(&mut stream, DB).await?;
    ensure!(agent.process()?.exited()?.is_none(), "the agent has ended");
    Ok(())
}

#[test]
fn what_is_known_counts_for_as_long_as_max_staleness_says_and_no_longer() -> Result<()> {
    case(async |scratch| {
        if !is_ours("max_staleness")? {
            return Ok(());
        }
        let Far { shared: _, wire, mut domain, mut agent, mut stream } = far(scratch, staleness("10s")).await?;
        wire.cut();
        domain.server.process()?.line("Database could not be read for too long").await?;
        let refused = agent.process()?.line("could not be read for more than 10s").await?;
        let told = ["Synchronize failed", "SVID sync failed", "Failed to fetch authorized entries"];
        ensure!(told.iter().any(|text| refused.contains(text)), "{refused}");
        let refusal = agent.workload().jwt_svids("billing").await.err().context("a token of a stale server")?;
        ensure!(refusal.code() == Code::Unavailable, "{refusal}");
        let refused = domain.server.command(&["bundle", "show"]).await?.refused()?;
        ensure!(refused.contains("code = Unavailable"), "{refused}");
        // Streams stay.
        while let Ok(message) = timeout(Duration::from_millis(20), stream.message()).await {
            message?.context("the stream ended")?;
        }

        wire.mend();
        domain.server.process()?.line("Database is read again").await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        with(&mut stream, DB).await?;
        agent.workload().jwt_svids("billing").await?;
        Ok(())
    })
}

#[test]
fn a_ban_holds_at_the_other_server_at_once_and_at_one_that_is_cut_off_within_the_bound() -> Result<()> {
    case(async |scratch| {
        if !is_ours("max_staleness")? {
            return Ok(());
        }
        let Far { shared, wire, domain, mut agent, stream: _stream } = far(scratch, staleness("10s")).await?;
        let mut other = domain.another_server("other", Some(&shared.database))?;
        other.start().await?;
        let mut second = domain.agent("node2").await?;
        let ban = async |id: &str| other.command(&["agent", "ban", "-spiffeID", id]).await?.ok();

        ban(&second.id).await?;
        let status = second.process()?.exit().await?;
        ensure!(!status.success(), "{status}");

        wire.cut();
        ban(&agent.id).await?;
        // Its server does not know it, and stops believing what it knows.
        agent.process()?.line("could not be read for more than 10s").await?;
        ensure!(agent.workload().jwt_svids("shipping").await.is_err(), "a token for an agent that is banned");
        wire.mend();
        let status = agent.process()?.exit().await?;
        ensure!(!status.success(), "{status}");
        ensure!(agent.process()?.log()?.contains("banned"), "it ended for another reason");
        Ok(())
    })
}

#[test]
fn a_max_staleness_that_means_nothing_is_refused_by_validate() -> Result<()> {
    case(async |scratch| {
        if !is_ours("max_staleness")? {
            return Ok(());
        }
        for (length, why) in [("1s", "it must be at least 10s"), ("soon", "invalid duration"), ("-1h", "at least 10s")]
        {
            let domain = staleness(length).write(scratch)?;
            let refused = domain.server.validate(&domain.server.conf).await?.refused()?;
            ensure!(refused.contains("experimental.steeple.max_staleness: ") && refused.contains(why), "{refused}");
        }
        Ok(())
    })
}

#[test]
fn a_database_server_that_is_started_again_is_found_again_by_all_servers() -> Result<()> {
    case(async |scratch| {
        let Far { shared: _, wire, domain, agent, mut stream } = far(scratch, Domain::builder()).await?;
        for round in 0..5 {
            wire.cut();
            let failing = async || domain.server.command(&["token", "generate"]).await.ok()?.refused().ok();
            until("the loss", failing).await?;
            wire.mend();
            let created = async || domain.entry(&agent.id, &format!("/r{round}"), &[]).await.ok();
            until("an entry", created).await?;
            with(&mut stream, &format!("spiffe://example.org/r{round}")).await?;
        }
        say("servers: 5 losses of the database, each change after them arrived");
        Ok(())
    })
}

async fn next(stream: &mut Streaming<X509svidResponse>) -> Result<X509svidResponse> {
    within("an update", stream.message()).await??.context("the stream ended")
}

/// Waits for a message with an SVID of this ID.
async fn with(stream: &mut Streaming<X509svidResponse>, id: &str) -> Result<()> {
    while !next(stream).await?.svids.iter().any(|svid| svid.spiffe_id == id) {}
    Ok(())
}
