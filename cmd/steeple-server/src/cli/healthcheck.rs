//! `healthcheck`

use anyhow::bail;
use steeple_config::flags::FlagSet;
use steeple_console::program::Program;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::ServerFlags;
use super::output::{Format, Output, print_verdict};
use super::{console, usage};

/// Asks the server how it is.
pub(crate) async fn run(program: &Program, args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut shallow, mut verbose) = (false, false);
    let flags = FlagSet::new("healthcheck")
        .flag("shallow", &mut shallow, "Has no effect; the reference takes it")
        .flag("verbose", &mut verbose, "Say what is done, and why it failed");
    usage::parse(output.add_to(program, server.add_to(flags)), args)?;

    let format = output.format();
    if verbose && format == Format::Pretty {
        console::out("Checking server health...\n");
    }
    let checked = check(&server, verbose).await;
    match (format, &checked) {
        (Format::Json, _) => print_verdict("healthy", checked.as_ref().err()),
        (Format::Pretty, Ok(())) => console::out("Server is healthy.\n"),
        (Format::Pretty, Err(_)) => {}
    }
    checked
}

async fn check(server: &ServerFlags, verbose: bool) -> anyhow::Result<()> {
    let server = server.server()?;
    let mut client = HealthClient::new(server.channel());
    match client.check(HealthCheckRequest::default()).await.map(|response| response.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(status) => bail!("server is unhealthy: server returned status {:?}", status.as_str_name()),
        Err(status) => {
            if verbose {
                console::err(&format!("Failed to check health: {}\n", server.failed(&status)));
            }
            bail!("server is unhealthy: unable to determine health")
        }
    }
}
