//! Join tokens that are good for nothing, from the first line to the exit code.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_runtime::Clock;
use steeple_tests::{Agent, Domain, case, passed, say};

const GONE: &str = "code = InvalidArgument desc = failed to attest: join token does not exist or has already been used";
const EXPIRED: &str = "code = InvalidArgument desc = join token expired";
const NOT_GIVEN: &str = "nodeattestor(join_token): join token was not provided";

/// Until an agent gives up: about a minute, all of them at the same time.
#[test]
fn an_agent_without_a_good_token_says_why_and_ends_after_a_minute() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let used = domain.server.token(&[]).await?;
        let mut first = domain.new_agent("first").await?;
        first.launch(&["-joinToken", &used])?;
        first.healthy().await?;
        let expired = expired_token(&domain).await?;

        // What the first attempt meets, and what the last one does: an attempt uses an expired token up.
        let cases = [
            ("used", vec!["-joinToken", &*used], GONE, GONE),
            ("expired", vec!["-joinToken", &*expired], EXPIRED, GONE),
            ("unknown", vec!["-joinToken", "nobody"], GONE, GONE),
            ("none", vec![], NOT_GIVEN, NOT_GIVEN),
        ];
        let mut agents: Vec<Agent> = Vec::new();
        for (name, flags, ..) in &cases {
            let mut agent = domain.new_agent(name).await?;
            agent.launch(flags)?;
            agents.push(agent);
        }
        for (agent, (name, _, at_first, _)) in agents.iter_mut().zip(&cases) {
            let line = agent.process()?.line("Failed to retrieve attestation result").await?;
            ensure!(line.contains("level=warning") && line.contains(at_first), "{name}: {line}");
            let text = agent.command(&["healthcheck"]).await?.refused()?;
            ensure!(text.contains("Agent is unhealthy"), "{name}: {text}");
        }
        for (agent, (name, _, at_first, at_last)) in agents.iter_mut().zip(&cases) {
            let is_reference = agent.program.is_reference;
            let process = agent.process()?;
            ensure!(process.exit().await?.code() == Some(1), "{name}: another exit code");
            let log = process.log()?;
            let line = log.lines().last().context("an empty log")?;
            ensure!(line.contains("level=error") && line.contains("Agent crashed"), "{name}: {line}");
            // The reference tells the last failure alone.
            ensure!(line.contains(at_last) && (is_reference || line.contains(at_first)), "{name}: {line}");
        }
        assert_eq!(domain.server.agents().await?.len(), 1);
        first.command(&["healthcheck"]).await?.ok()?;
        say(&format!("mistakes: {0} of {0} agents without a good token ended with the reason", cases.len()));
        Ok(())
    })
}

async fn expired_token(domain: &Domain) -> Result<String> {
    let token = domain.server.token(&["-ttl", "1"]).await?;
    passed("the end of the token", Clock::system().now() + Duration::from_secs(2)).await?;
    Ok(token)
}
