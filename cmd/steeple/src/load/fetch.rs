//! The Workload API, as a process without a library would call it.

use std::path::{Path, PathBuf};

use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{JwtsvidRequest, X509svidRequest, X509svidResponse};
use steeple_transport::{dial, security_header};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::mint::{audience, svid_in};
use super::pace::Work;

/// `FetchX509SVID`, a new connection each time.
pub(super) struct Fetch(pub(super) PathBuf);

impl Work for Fetch {
    async fn once(&self, _: u64) -> Result<(), Status> {
        open(&mut connect(&self.0)).await.map(drop)
    }
}

/// `FetchX509SVID`, a new stream each time on one connection.
pub(super) struct FetchHeld(SpiffeWorkloadApiClient<Channel>);

impl FetchHeld {
    pub(super) fn new(socket: &Path) -> Self {
        Self(connect(socket))
    }
}

impl Work for FetchHeld {
    async fn once(&self, _: u64) -> Result<(), Status> {
        open(&mut self.0.clone()).await.map(drop)
    }
}

/// `FetchJWTSVID` for somebody new each time, so that the agent cannot answer from its cache.
pub(super) struct FetchJwt {
    client: SpiffeWorkloadApiClient<Channel>,
    /// Stands in the audiences, so that a run does not meet what an earlier one left in the cache.
    run: String,
}

impl FetchJwt {
    pub(super) fn new(socket: &Path, run: String) -> Self {
        Self { client: connect(socket), run }
    }
}

impl Work for FetchJwt {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let audience = vec![format!("{}-{}", audience(number), self.run)];
        let message = JwtsvidRequest { audience, spiffe_id: String::new() };
        let answer = self.client.clone().fetch_jwtsvid(security_header::with(message)).await?.into_inner();
        svid_in(answer.svids.into_iter().next())
    }
}

/// A connection that is made with the first call.
pub(super) fn connect(socket: &Path) -> SpiffeWorkloadApiClient<Channel> {
    SpiffeWorkloadApiClient::new(dial::local(socket))
}

/// Opens the stream of X.509-SVIDs and takes the first message from it.
pub(super) async fn open(client: &mut SpiffeWorkloadApiClient<Channel>) -> Result<Streaming<X509svidResponse>, Status> {
    let mut stream = client.fetch_x509svid(security_header::with(X509svidRequest {})).await?.into_inner();
    let message = stream.message().await?;
    svid_in(message.and_then(|message| message.svids.into_iter().next()))?;
    Ok(stream)
}
