//! Attestation with a certificate that the node has anyway.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use steeple_proto::workload::X509svidResponse;
use steeple_runtime::Clock;
pub(crate) use steeple_tests::x509pop::ID;
use steeple_tests::x509pop::{JOIN_TOKEN, attestor, of_agent, of_server};
use steeple_tests::{
    Agent, Binaries, Domain, DomainBuilder, Scratch, case, passed, skipped_on_the_reference, until, verified, within,
};
use tonic::{Code, Streaming};

/// A server that takes nodes by their certificates' names, and an agent with such a certificate.
pub(crate) async fn domain_and_agent(scratch: &Scratch) -> Result<(Domain, Agent)> {
    domain_of_and_agent(Domain::builder(), scratch).await
}

async fn domain_of_and_agent(builder: DomainBuilder, scratch: &Scratch) -> Result<(Domain, Agent)> {
    let (domain, mut agent) = server_and_agent(builder.write(scratch)?).await?;
    agent.start().await?;
    Ok((domain, agent))
}

/// The same in a domain that was written and not started; its agent does not run yet.
pub(crate) async fn server_and_agent(mut domain: Domain) -> Result<(Domain, Agent)> {
    domain.server.reconfigure(|conf| conf.replace(JOIN_TOKEN, &of_server()))?;
    domain.server.start().await?;
    let mut agent = domain.new_agent("node1").await?;
    agent.reconfigure(|conf| conf.replace(JOIN_TOKEN, &of_agent()))?;
    agent.id = ID.to_owned();
    Ok((domain, agent))
}

#[test]
fn a_node_attests_with_an_svid_that_another_agent_gives_it_and_only_with_one_that_is_for_that() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let both = format!("{JOIN_TOKEN}\n    {}", attestor(&[("mode", "spiffe")]));
        domain.server.reconfigure(|conf| conf.replace(JOIN_TOKEN, &both))?;
        domain.server.start().await?;
        let upper = domain.agent("upper").await?;
        let mut agent = domain.new_agent("node1").await?;
        let endpoint = format!("unix://{}", upper.socket.display());
        agent.reconfigure(|conf| conf.replace(JOIN_TOKEN, &attestor(&[("spiffe_endpoint_socket", &endpoint)])))?;
        agent.id = ID.to_owned();

        let entry = domain.entry(&upper.id, "/web", &[]).await?;
        let mut given = upper.workload().follow();
        given.until_id("spiffe://example.org/web").await?;
        agent.launch(&[])?;
        agent.process()?.line("x509 cert doesnt match SVID prefix").await?;
        agent.kill();
        domain.server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
        domain.entry(&upper.id, "/spire-exchange/node1", &[]).await?;
        let its_own = |update: &X509svidResponse| {
            update.svids.len() == 1 && update.svids[0].spiffe_id == "spiffe://example.org/spire-exchange/node1"
        };
        given.until("the SVID for the exchange alone", its_own).await?;

        agent.start().await?;
        let shown = domain.server.command(&["agent", "show", "-spiffeID", ID]).await?.ok()?;
        assert!(shown.contains("Can re-attest     : true"), "{shown}");
        domain.entry(&agent.id, "/api", &[]).await?;
        let update = agent.workload().follow().until_id("spiffe://example.org/api").await?;
        verified(update.svids.first().context("no SVID")?)?;
        // Whatever it loses, with the other one's help it is the same agent.
        agent.kill();
        fs::remove_dir_all(&agent.data_dir)?;
        agent.start().await?;
        agent.workload().follow().until_id("spiffe://example.org/api").await?;
        assert_eq!(domain.server.agents().await?.len(), 2);
        Ok(())
    })
}

#[test]
fn a_node_attests_with_its_certificate_and_needs_nobody_to_do_so_again() -> Result<()> {
    case(async |scratch| {
        let (domain, mut agent) = domain_and_agent(scratch).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        let shown = domain.server.command(&["agent", "show", "-spiffeID", ID]).await?.ok()?;
        for line in ["x509pop:subject:cn:node1", "x509pop:serialnumber:0abc", "Can re-attest     : true"] {
            assert!(shown.contains(line), "no {line} in {shown}");
        }
        // It loses everything, and is the same agent.
        agent.kill();
        fs::remove_dir_all(&agent.data_dir)?;
        agent.start().await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        Ok(())
    })
}

#[test]
fn an_agent_that_is_evicted_attests_again_and_its_workloads_keep_their_streams() -> Result<()> {
    case(async |scratch| {
        let (domain, mut agent) = domain_and_agent(scratch).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/web").await?;
        let mut stream: Streaming<_> = follower.into_stream()?;
        domain.server.command(&["agent", "evict", "-spiffeID", ID]).await?.ok()?;
        until("the agent is there again", async || {
            let shown = domain.server.command(&["agent", "show", "-spiffeID", ID]).await.ok()?;
            shown.ok().ok()
        })
        .await?;
        domain.entry(&agent.id, "/api", &[]).await?;
        brings_api(&mut stream).await?;
        // SPIRE's tells no reason.
        if !agent.program.is_reference {
            let told = agent.process()?.line("Agent needs to re-attest; attesting again").await?;
            assert!(told.contains("reason=AGENT_NOT_ATTESTED"), "{told}");
        }
        Ok(())
    })
}

#[test]
fn an_agent_whose_own_svid_ends_while_the_server_is_away_attests_again_and_its_workloads_keep_their_streams()
-> Result<()> {
    case(async |scratch| {
        if Binaries::find()?.agent.is_reference {
            skipped_on_the_reference("an agent without an SVID of its own", "it ends");
            return Ok(());
        }
        let (mut domain, mut agent) = domain_of_and_agent(Domain::builder().agent_ttl("20s"), scratch).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        let first = follower.until_id("spiffe://example.org/web").await?;
        let mut stream = follower.into_stream()?;
        domain.server.stop().await?;
        // However it was renewed just before.
        passed("the end of the agent's SVID", Clock::system().now() + Duration::from_secs(21)).await?;
        assert_eq!(agent.workload().follow().until_id("spiffe://example.org/web").await?, first);
        domain.server.start().await?;
        domain.entry(&agent.id, "/api", &[]).await?;
        brings_api(&mut stream).await?;
        assert!(agent.process()?.exited()?.is_none());
        Ok(())
    })
}

async fn brings_api(stream: &mut Streaming<X509svidResponse>) -> Result<()> {
    within("the second SVID on the same stream", async {
        loop {
            let update = stream.message().await?.context("the stream ended")?;
            if update.svids.iter().any(|svid| svid.spiffe_id == "spiffe://example.org/api") {
                return Ok(());
            }
        }
    })
    .await?
}

#[test]
fn an_agent_that_is_banned_does_not_come_back() -> Result<()> {
    case(async |scratch| {
        let (domain, mut agent) = domain_and_agent(scratch).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/web").await?;
        let mut stream = follower.into_stream()?;
        domain.server.command(&["agent", "ban", "-spiffeID", ID]).await?.ok()?;
        within("the end of the stream", async { while let Ok(Some(_)) = stream.message().await {} }).await?;
        assert!(agent.launch(&[]).is_ok());
        assert!(agent.healthy().await.is_err(), "a banned agent serves");
        let status = agent.workload().x509_svids().await.err().context("somebody answers")?;
        assert_eq!(status.code(), Code::Unavailable);
        Ok(())
    })
}
