//! `healthcheck`

use anyhow::bail;
use steeple_config::flags::FlagSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::ServerFlags;
use super::{console, usage};

/// Asks the server how it is.
pub(crate) async fn run(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut shallow, mut verbose) = (ServerFlags::default(), false, false);
    let flags = FlagSet::new("healthcheck")
        .flag("shallow", &mut shallow, "Has no effect; the reference takes it")
        .flag("verbose", &mut verbose, "Say what is done, and why it failed");
    usage::parse(server.add_to(flags), args)?;

    if verbose {
        console::out("Checking server health...\n");
    }
    let server = server.server()?;
    let mut client = HealthClient::new(server.channel());
    match client.check(HealthCheckRequest::default()).await.map(|response| response.into_inner().status()) {
        Ok(ServingStatus::Serving) => {
            console::out("Server is healthy.\n");
            Ok(())
        }
        Ok(status) => bail!("server is unhealthy: server returned status {:?}", status.as_str_name()),
        Err(status) => {
            if verbose {
                console::err(&format!("Failed to check health: {}\n", server.failed(&status)));
            }
            bail!("server is unhealthy: unable to determine health")
        }
    }
}
