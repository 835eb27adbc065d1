//! An SVID of this node from the Workload API of another agent.

use std::path::{Path, PathBuf};

use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{X509svid, X509svidRequest};
use steeple_transport::{dial, security_header};
use tonic::Status;

/// The path in `unix:///path`, which is how the standard writes sockets (SPIFFE Workload Endpoint, section 4).
///
/// # Errors
/// Other forms.
pub(super) fn socket(address: &str) -> Result<PathBuf, String> {
    let path = address.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(format!("{address:?} is not of the form unix:///path")),
    }
}

/// The first SVID that this process gets. Whoever attests limits how long that may take.
///
/// # Errors
/// The agent's.
pub(super) async fn x509_svid(socket: &Path) -> Result<X509svid, Status> {
    let mut client = SpiffeWorkloadApiClient::new(dial::local(socket));
    let mut answers = client.fetch_x509svid(security_header::with(X509svidRequest {})).await?.into_inner();
    let first = answers.message().await?.and_then(|answer| answer.svids.into_iter().next());
    first.ok_or_else(|| Status::not_found("no SVID in the answer"))
}
