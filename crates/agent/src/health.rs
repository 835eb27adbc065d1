//! What an agent looks at to tell whether it is well: the Workload API, asked as workloads ask.

use std::path::PathBuf;
use std::time::Duration;

use steeple_proto::workload::X509BundlesRequest;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_runtime::health::{Check, Found, Health};
use steeple_runtime::{Clock, Shutdown};
use steeple_transport::dial::{self, DialError};
use steeple_transport::security_header;
use tonic::{Code, Status};

const AGENT: Check = Check { name: "agent", field: "make_new_x509_err" };

/// Whoever asks wants to know it now.
const LIMIT: Duration = Duration::from_secs(5);

/// A start that takes longer is told as a failure.
const START: Duration = Duration::from_secs(8);

/// Of an agent that has not been looked at.
pub(crate) fn unknown(clock: Clock) -> Health {
    Health::new(&[AGENT], clock)
}

/// In the reference's words.
const UNAVAILABLE: &str = "workload api is unavailable";

/// Looks until it is told to stop. An agent whose socket has not been there yet is starting, and that it does not answer is
/// no reason to start it again.
pub(crate) async fn watch(socket: PathBuf, health: Health, clock: Clock, shutdown: Shutdown) {
    let (mut has_started, patience) = (false, clock.now() + START);
    loop {
        let looking = async {
            let found = match ask(&socket, &clock).await {
                Ok(()) => Found::well(),
                Err(reason) if has_started => Found::dead(reason),
                Err(reason) => Found::unready(reason),
            };
            has_started |= found == Found::well();
            if has_started || clock.now() > patience {
                health.report(AGENT, found);
            }
            health.next_look().await;
        };
        if shutdown.unless_stopped(looking).await.is_none() {
            return;
        }
    }
}

/// Any answer will do but that there is none: the agent itself need not have an identity.
async fn ask(socket: &PathBuf, clock: &Clock) -> Result<(), String> {
    let mut client = SpiffeWorkloadApiClient::new(dial::local(socket));
    let asked = async {
        let request = security_header::with(X509BundlesRequest {});
        client.fetch_x509_bundles(request).await?.into_inner().message().await
    };
    let is_away = |status: &Status| status.code() == Code::Unavailable || DialError::of(status).is_some();
    match clock.within(LIMIT, asked).await {
        Some(Err(status)) if is_away(&status) => Err(UNAVAILABLE.to_owned()),
        Some(_) => Ok(()),
        None => Err(format!("workload api did not answer within {} s", LIMIT.as_secs())),
    }
}
