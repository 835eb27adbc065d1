//! The server is away for a while, or one of its answers is: nobody is stranded. `docs/outages.md` tells operators the same.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use steeple_proto::workload::X509svidResponse;
use steeple_runtime::Clock;
use steeple_tests::{
    Agent, Binaries, Domain, Line, Scratch, case, own_selector, passed, say, skipped_on_the_reference, verified, within,
};
use tokio::time::{interval, timeout};
use tonic::{Code, Streaming};

/// How long the server is away in the longest case.
const OUTAGE: Duration = Duration::from_secs(60);
/// What the agent says when its attempt before had no answer.
const AGAIN: &str = "asking again with its key";
const WEB: &str = "spiffe://example.org/web";
const API: &str = "spiffe://example.org/api";
const DB: &str = "spiffe://example.org/db";

#[test]
fn workloads_notice_nothing_of_a_minute_without_the_server() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        let first = follower.until_id(WEB).await?;
        let mut stream = follower.into_stream()?;
        let token = agent.workload().jwt_svids("billing").await?;

        domain.server.stop().await?;
        let (start, mut looks, mut newcomers) = (Instant::now(), interval(Duration::from_secs(1)), 0);
        while start.elapsed() < OUTAGE {
            looks.tick().await;
            ensure!(says(&mut stream).await?.is_none(), "news without a server");
            let served = agent.workload().follow().until_id(WEB).await?;
            ensure!(served == first, "another SVID than before");
            ensure!(agent.workload().jwt_svids("billing").await? == token, "another token than before");
            agent.workload().validate_jwt("billing", &token[0].svid).await?;
            let printed = agent.command(&["api", "fetch", "x509"]).await?.ok()?;
            ensure!(printed.contains(WEB), "{printed}");
            newcomers += 1;
        }
        // What the agent does not have only the server could make.
        let refusal = agent.workload().jwt_svids("shipping").await.err().context("a token from nowhere")?;
        ensure!(refusal.code() == Code::Unavailable, "{refusal}");

        domain.server.start().await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        let update = with(&mut stream, &[DB, WEB]).await?;
        ensure!(update.svids.iter().any(|svid| *svid == first.svids[0]), "{WEB} was made anew");
        agent.workload().jwt_svids("shipping").await?;
        say(&format!(
            "outage: {} s without the server, one stream unchanged, {newcomers} processes served meanwhile",
            OUTAGE.as_secs()
        ));
        Ok(())
    })
}

#[test]
fn what_changed_while_the_agent_could_not_reach_its_server_arrives_afterwards() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let (mut agent, line) = agent_behind_a_line(&domain).await?;
        domain.attest(&mut agent).await?;
        let web = domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id(WEB).await?;
        let mut stream = follower.into_stream()?;
        let api = domain.entry(&agent.id, "/api", &[]).await?;
        with(&mut stream, &[API, WEB]).await?;

        line.cut();
        agent.process()?.line("Synchronize failed").await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        domain.server.command(&["entry", "delete", "-entryID", &api]).await?.ok()?;
        let flags = ["-parentID", &agent.id, "-spiffeID", WEB, "-selector", &own_selector(), "-hint", "external"];
        domain.server.command(&[&["entry", "update", "-entryID", &web], &flags[..]].concat()).await?.ok()?;
        ensure!(says(&mut stream).await?.is_none(), "news over a line that is cut");
        let served = agent.workload().follow().until_id(WEB).await?;
        ensure!(served.svids.len() == 2, "{served:?}");

        line.mend();
        loop {
            let update = with(&mut stream, &[DB, WEB]).await?;
            if update.svids.iter().any(|svid| svid.spiffe_id == WEB && svid.hint == "external") {
                break Ok(());
            }
        }
    })
}

#[test]
fn svids_that_end_while_the_server_is_away_are_withdrawn_and_their_streams_stay() -> Result<()> {
    case(async |scratch| {
        if Binaries::find()?.agent.is_reference {
            skipped_on_the_reference("an SVID that has ended is withdrawn", "it goes on showing it");
            return Ok(());
        }
        let mut domain = Domain::builder().start(scratch).await?;
        let (mut both, mut short) = (domain.agent("both").await?, domain.agent("short").await?);
        domain.entry(&both.id, "/web", &[]).await?;
        for agent in [&both, &short] {
            domain.entry(&agent.id, "/api", &["-x509SVIDTTL", "10"]).await?;
        }
        let mut of_both = both.workload().follow();
        of_both.until("both", |update| update.svids.len() == 2).await?;
        let mut of_both = of_both.into_stream()?;
        let mut of_short = short.workload().follow();
        let last = of_short.until_id(API).await?;
        let mut of_short = of_short.into_stream()?;

        domain.server.stop().await?;
        // Renewals may have come before that.
        with(&mut of_both, &[WEB]).await?;
        short.process()?.line("SVID ended before it could be renewed").await?;
        while let Some(update) = says(&mut of_short).await? {
            with_ids(&update, &[API])?;
        }
        // Whoever comes now gets what there is, and waits where there is nothing.
        let printed = both.command(&["api", "fetch", "x509"]).await?.ok()?;
        ensure!(printed.contains(WEB) && !printed.contains(API), "{printed}");
        let mut newcomer = short.workload().x509_svids().await?;
        ensure!(says(&mut newcomer).await?.is_none(), "an SVID from nowhere");

        domain.server.start().await?;
        with(&mut of_both, &[API, WEB]).await?;
        for stream in [&mut of_short, &mut newcomer] {
            let update = with(stream, &[API]).await?;
            ensure!(update != last, "the one that had ended");
            verified(&update.svids[0])?;
        }
        ensure!(both.process()?.exited()?.is_none() && short.process()?.exited()?.is_none(), "an agent has ended");
        Ok(())
    })
}

#[test]
fn an_agent_whose_own_svid_has_ended_serves_until_the_server_refuses_it() -> Result<()> {
    case(async |scratch| {
        if Binaries::find()?.agent.is_reference {
            skipped_on_the_reference("an agent without an SVID of its own", "it ends");
            return Ok(());
        }
        let mut domain = Domain::builder().agent_ttl("20s").start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        let first = follower.until_id(WEB).await?;
        let mut stream = follower.into_stream()?;
        domain.server.stop().await?;
        // However it was renewed just before.
        passed("the end of the agent's SVID", Clock::system().now() + Duration::from_secs(21)).await?;
        ensure!(agent.workload().follow().until_id(WEB).await? == first, "another SVID than before");
        ensure!(says(&mut stream).await?.is_none(), "news without a server");

        domain.server.start().await?;
        let status = agent.process()?.exit().await?;
        ensure!(!status.success(), "{status}");
        within("the end of the stream", async { while let Ok(Some(_)) = stream.message().await {} }).await?;
        // It has nothing left to show; as a new agent it is welcome.
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(WEB).await?;
        Ok(())
    })
}

#[test]
fn an_agent_that_loses_the_answer_to_its_join_token_attests_all_the_same() -> Result<()> {
    case(async |scratch| {
        let Some(Lost { domain, mut agent, line, token }) = lose_an_answer(scratch).await? else { return Ok(()) };
        let key = key_of(&agent)?;
        line.mend();
        agent.process()?.line(AGAIN).await?;
        agent.healthy().await?;
        ensure!(key_of(&agent)? == key, "another key");
        goes_on(&domain, &mut agent, &token).await
    })
}

#[test]
fn an_agent_that_is_killed_before_the_answer_to_its_join_token_attests_all_the_same() -> Result<()> {
    case(async |scratch| {
        let Some(Lost { mut domain, mut agent, line, token }) = lose_an_answer(scratch).await? else { return Ok(()) };
        let key = key_of(&agent)?;
        agent.kill();
        // The server as well: what it has to remember is on disk.
        domain.server.kill();
        domain.server.start().await?;
        line.mend();
        agent.launch(&["-joinToken", &token])?;
        agent.process()?.line(AGAIN).await?;
        agent.healthy().await?;
        ensure!(key_of(&agent)? == key, "another key");
        goes_on(&domain, &mut agent, &token).await
    })
}

#[test]
fn whoever_has_the_token_of_a_lost_answer_and_not_its_key_gets_nothing() -> Result<()> {
    case(async |scratch| {
        let Some(Lost { mut domain, agent, line: _, token }) = lose_an_answer(scratch).await? else { return Ok(()) };
        let mut thief = domain.new_agent("thief").await?;
        thief.launch(&["-joinToken", &token])?;
        let line = thief.process()?.line("Failed to retrieve attestation result").await?;
        ensure!(line.contains("join token does not exist or has already been used"), "{line}");
        // The operator is told what to do for an agent that makes a new key each time.
        let line = domain.server.process()?.line("Join token has been used").await?;
        ensure!(line.contains(&agent.id) && line.contains("token generate"), "{line}");
        Ok(())
    })
}

/// An agent that has not heard what the server has answered.
struct Lost {
    domain: Domain,
    agent: Agent,
    line: Line,
    token: String,
}

/// None where daemons run that do not know of it.
async fn lose_an_answer(scratch: &Scratch) -> Result<Option<Lost>> {
    let Binaries { server, agent } = Binaries::find()?;
    if server.is_reference || agent.is_reference {
        skipped_on_the_reference("an answer that is lost", "a token that was used is used up");
        return Ok(None);
    }
    let domain = Domain::builder().start(scratch).await?;
    let (mut agent, line) = agent_behind_a_line(&domain).await?;
    let token = domain.server.token(&[]).await?;
    agent.id = domain.id(&format!("/spire/agent/join_token/{token}"));
    line.lose_answers();
    agent.launch(&["-joinToken", &token])?;
    let stored = async || domain.server.agents().await.ok().filter(|agents| !agents.is_empty());
    agent.process()?.until("the agent in the server's list", stored).await?;
    Ok(Some(Lost { domain, agent, line, token }))
}

/// The agent is the one that the server knew before, and its token is good for nobody any more.
async fn goes_on(domain: &Domain, agent: &mut Agent, token: &str) -> Result<()> {
    let agents = domain.server.agents().await?;
    ensure!(agents.len() == 1, "{agents:?}");
    domain.entry(&agent.id, "/web", &[]).await?;
    agent.workload().follow().until_id(WEB).await?;
    // It has called, so that its token is good for nothing more.
    agent.stop().await?;
    fs::remove_file(agent.data_dir.join("agent-data.json"))?;
    agent.launch(&["-joinToken", token])?;
    let line = agent.process()?.line("Failed to retrieve attestation result").await?;
    ensure!(line.contains("join token does not exist or has already been used"), "{line}");
    Ok(())
}

/// A new agent, and the line by which it reaches its server.
async fn agent_behind_a_line(domain: &Domain) -> Result<(Agent, Line)> {
    let (agent, line) = (domain.new_agent("node1").await?, Line::to(domain.server.port).await?);
    let [directly, by_line] = [domain.server.port, line.port].map(|port| format!("server_port = {port}"));
    agent.reconfigure(|conf| conf.replace(&directly, &by_line))?;
    Ok((agent, line))
}

/// The agent's first key, as it is stored.
fn key_of(agent: &Agent) -> Result<String> {
    let stored: serde_json::Value = serde_json::from_slice(&fs::read(agent.data_dir.join("keys.json"))?)?;
    Ok(stored["keys"]["agent-svid-A"].as_str().context("no key agent-svid-A")?.to_owned())
}

/// What an open stream says at this moment.
async fn says(stream: &mut Streaming<X509svidResponse>) -> Result<Option<X509svidResponse>> {
    match timeout(Duration::from_millis(20), stream.message()).await {
        Err(_) => Ok(None),
        Ok(message) => message?.context("the stream ended").map(Some),
    }
}

/// The next message of a stream with the SVIDs of just these SPIFFE IDs, which are sorted.
async fn with(stream: &mut Streaming<X509svidResponse>, ids: &[&str]) -> Result<X509svidResponse> {
    within(&ids.join(" and "), async {
        loop {
            let update = stream.message().await?.context("the stream ended")?;
            if with_ids(&update, ids).is_ok() {
                return Ok(update);
            }
        }
    })
    .await?
}

fn with_ids(update: &X509svidResponse, ids: &[&str]) -> Result<()> {
    let mut held: Vec<&str> = update.svids.iter().map(|svid| &*svid.spiffe_id).collect();
    held.sort_unstable();
    ensure!(held == ids, "{held:?} in place of {ids:?}");
    Ok(())
}
