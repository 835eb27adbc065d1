//! `healthcheck`

use std::process::ExitCode;

use anyhow::bail;
use steeple_config::flags::FlagSet;
use steeple_console::program::{Program, block_on};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::AgentFlags;
use super::output::{Format, Output, print_verdict};
use super::{console, usage};

/// Asks the agent how it is.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let (mut agent, mut output) = (AgentFlags::default(), Output::default());
    let (mut shallow, mut verbose) = (false, false);
    let flags = FlagSet::new("health").flag("shallow", &mut shallow, "Has no effect; the reference takes it").flag(
        "verbose",
        &mut verbose,
        "Say what is done, and why it failed",
    );
    if let Err(misused) = usage::parse(output.add_to(program, agent.add_to(flags)), args) {
        return misused.tell();
    }

    let format = output.format();
    if verbose && format == Format::Pretty {
        console::out("Checking agent health...\n");
    }
    let checked = block_on(check(&agent, verbose));
    if format == Format::Json {
        print_verdict("healthy", checked.as_ref().err());
    }
    match checked {
        Ok(()) => {
            if format == Format::Pretty {
                console::out("Agent is healthy.\n");
            }
            ExitCode::SUCCESS
        }
        Err(reason) => {
            console::err(&format!("Agent is unhealthy: {reason}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn check(agent: &AgentFlags, verbose: bool) -> anyhow::Result<()> {
    let agent = agent.agent()?;
    let mut client = HealthClient::new(agent.channel());
    match client.check(HealthCheckRequest::default()).await.map(|response| response.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(status) => bail!("agent returned status {:?}", status.as_str_name()),
        Err(status) => {
            if verbose {
                console::err(&format!("Failed to check health: {}\n", agent.failed(&status)));
            }
            bail!("unable to determine health")
        }
    }
}
