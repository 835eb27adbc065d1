//! How old what a server knows may become while its database is away, and what holds of bans then. The ways of being away
//! have their own suite, `outages`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_proto::workload::X509svidResponse;
use steeple_tests::{Agent, Domain, DomainBuilder, Scratch, Wire, case, http, until, within};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::{Shared, is_ours};

const WEB: &str = "spiffe://example.org/web";
const DB: &str = "spiffe://example.org/db";

/// A server whose database is at the other end of a wire, and an agent with a workload's open stream.
struct Far {
    shared: Shared,
    wire: Wire,
    domain: Domain,
    /// Where the server tells its health.
    health: u16,
    agent: Agent,
    stream: Streaming<X509svidResponse>,
}

async fn far(scratch: &Scratch, shared: Shared, builder: DomainBuilder) -> Result<Far> {
    let wire = Wire::to(shared.port).await?;
    let mut domain = builder.database(shared.through(wire.port)).write(scratch)?;
    let health = domain.server.tell_health()?;
    domain.server.start().await?;
    let agent = domain.agent("node1").await?;
    domain.entry(&agent.id, "/web", &["-x509SVIDTTL", "10"]).await?;
    let mut follower = agent.workload().follow();
    follower.until_id(WEB).await?;
    let stream = follower.into_stream()?;
    Ok(Far { shared, wire, domain, health, agent, stream })
}

fn staleness(length: &str) -> DomainBuilder {
    let steeple =
        format!("experimental {{\n        steeple {{\n            max_staleness = \"{length}\"\n        }}\n    }}");
    Domain::builder().default_intervals().server_text(&steeple)
}

#[test]
fn what_is_known_of_postgresql_counts_for_as_long_as_max_staleness_says_and_no_longer() -> Result<()> {
    case(async |scratch| grows_stale(scratch, Shared::on_postgres(scratch).await?).await)
}

#[test]
fn what_is_known_of_mariadb_counts_for_as_long_as_max_staleness_says_and_no_longer() -> Result<()> {
    case(async |scratch| grows_stale(scratch, Shared::on_mariadb(scratch).await?).await)
}

async fn grows_stale(scratch: &Scratch, shared: Shared) -> Result<()> {
    if !is_ours("max_staleness")? {
        return Ok(());
    }
    let site = far(scratch, shared, staleness("10s")).await?;
    let Far { shared: _, wire, mut domain, health, mut agent, mut stream } = site;
    wire.cut();
    domain.server.process()?.line("Database could not be read for too long").await?;
    let refused = agent.process()?.line("could not be read for more than 10s").await?;
    let told = ["Synchronize failed", "SVID sync failed", "Failed to fetch authorized entries"];
    ensure!(told.iter().any(|text| refused.contains(text)), "{refused}");
    let refusal = agent.workload().jwt_svids("billing").await.err().context("a token of a stale server")?;
    ensure!(refusal.code() == Code::Unavailable, "{refusal}");
    let refused = domain.server.command(&["bundle", "show"]).await?.refused()?;
    ensure!(refused.contains("code = Unavailable"), "{refused}");
    // Now it has nothing left to give.
    let is_dead = async || (http(health, "GET /live", "").await.ok()?.0 == 500).then_some(());
    until("liveness to end", is_dead).await?;
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
}

#[test]
fn a_ban_in_postgresql_holds_at_the_other_server_at_once_and_at_one_that_is_cut_off_within_the_bound() -> Result<()> {
    case(async |scratch| banned(scratch, Shared::on_postgres(scratch).await?).await)
}

#[test]
fn a_ban_in_mariadb_holds_at_the_other_server_at_once_and_at_one_that_is_cut_off_within_the_bound() -> Result<()> {
    case(async |scratch| banned(scratch, Shared::on_mariadb(scratch).await?).await)
}

async fn banned(scratch: &Scratch, shared: Shared) -> Result<()> {
    if !is_ours("max_staleness")? {
        return Ok(());
    }
    let site = far(scratch, shared, staleness("10s")).await?;
    let Far { shared, wire, domain, health: _, mut agent, stream: _stream } = site;
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

async fn next(stream: &mut Streaming<X509svidResponse>) -> Result<X509svidResponse> {
    within("an update", stream.message()).await??.context("the stream ended")
}

/// Waits for a message with an SVID of this ID.
async fn with(stream: &mut Streaming<X509svidResponse>, id: &str) -> Result<()> {
    while !next(stream).await?.svids.iter().any(|svid| svid.spiffe_id == id) {}
    Ok(())
}
