//! The Workload API as a workload of this node uses it.

use std::path::Path;

use anyhow::{Context, Result};
use steeple_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
};
use steeple_runtime::Clock;
use steeple_spiffe::workload_api::{Stub, WorkloadApiClient};
use steeple_spiffe::x509::{X509Svid, parse_chain_der, verify_x509_svid};
use steeple_transport::dial;
use tonic::{Code, Status, Streaming};

use crate::wait::{POLL, within};

/// A client of the Workload API. It hands out the messages as they are, since the cases look at what an agent says; what a
/// program makes of them is [`Workload::client`]'s.
#[derive(Clone)]
pub struct Workload {
    client: WorkloadApiClient,
}

impl Workload {
    /// One that connects to `socket` when first used, and again whenever the connection broke.
    pub fn at(socket: &Path) -> Self {
        Self { client: WorkloadApiClient::with_channel(dial::local(socket)) }
    }

    /// The client that programs have, for its typed calls and its sources.
    pub fn client(&self) -> &WorkloadApiClient {
        &self.client
    }

    fn calls(&self) -> Stub {
        self.client.stub()
    }

    /// Opens a stream of X.509-SVIDs.
    ///
    /// # Errors
    /// The agent's.
    pub async fn x509_svids(&self) -> Result<Streaming<X509svidResponse>, Status> {
        Ok(self.calls().fetch_x509svid(X509svidRequest {}).await?.into_inner())
    }

    /// Opens a stream of X.509 bundles.
    ///
    /// # Errors
    /// The agent's.
    pub async fn x509_bundles(&self) -> Result<Streaming<X509BundlesResponse>, Status> {
        Ok(self.calls().fetch_x509_bundles(X509BundlesRequest {}).await?.into_inner())
    }

    /// Opens a stream of JWT bundles.
    ///
    /// # Errors
    /// The agent's.
    pub async fn jwt_bundles(&self) -> Result<Streaming<JwtBundlesResponse>, Status> {
        Ok(self.calls().fetch_jwt_bundles(JwtBundlesRequest {}).await?.into_inner())
    }

    /// A JWT-SVID of each identity of this workload.
    ///
    /// # Errors
    /// The agent's.
    pub async fn jwt_svids(&self, audience: &str) -> Result<Vec<Jwtsvid>, Status> {
        let request = JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
        Ok(self.calls().fetch_jwtsvid(request).await?.into_inner().svids)
    }

    /// Has the agent validate a JWT-SVID.
    ///
    /// # Errors
    /// The agent's.
    pub async fn validate_jwt(&self, audience: &str, svid: &str) -> Result<ValidateJwtsvidResponse, Status> {
        let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        Ok(self.calls().validate_jwtsvid(request).await?.into_inner())
    }

    /// Follows the X.509-SVIDs as workloads do, over any number of streams.
    pub fn follow(&self) -> Follower {
        Follower { workload: self.clone(), stream: None }
    }
}

/// Follows the X.509-SVIDs of a workload and opens a new stream whenever one ends, whatever it ends with: the entry may
/// come later, the agent may be away. go-spiffe does the same.
pub struct Follower {
    workload: Workload,
    stream: Option<Streaming<X509svidResponse>>,
}

impl Follower {
    /// Waits for an update that `wanted` accepts.
    ///
    /// # Errors
    /// It does not come.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&X509svidResponse) -> bool) -> Result<X509svidResponse> {
        within(what, async {
            loop {
                match self.next().await {
                    Ok(update) if wanted(&update) => return update,
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            }
        })
        .await
    }

    /// Waits until there is an SVID with `id`.
    ///
    /// # Errors
    /// It does not come.
    pub async fn until_id(&mut self, id: &str) -> Result<X509svidResponse> {
        self.until(id, |update| update.svids.iter().any(|svid| svid.spiffe_id == id)).await
    }

    /// Waits until there are so many authorities in the bundle of an SVID: who has not heard of a server's authority cannot
    /// go there.
    ///
    /// # Errors
    /// They do not come.
    pub async fn until_authorities(&mut self, count: usize) -> Result<X509svidResponse> {
        let has_all = |svid: &X509svid| parse_chain_der(&svid.bundle).is_ok_and(|bundle| bundle.len() == count);
        self.until("the authorities of all servers", |update| update.svids.iter().any(has_all)).await
    }

    /// The stream that is open now, for a case that looks at how it goes on.
    ///
    /// # Errors
    /// None is open.
    pub fn into_stream(self) -> Result<Streaming<X509svidResponse>> {
        self.stream.context("no stream is open")
    }

    async fn next(&mut self) -> Result<X509svidResponse, Status> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.workload.x509_svids().await?,
        };
        let update = stream.message().await?.ok_or(Status::new(Code::Ok, "the stream ended"))?;
        self.stream = Some(stream);
        Ok(update)
    }
}

/// Waits for an update with so many SVIDs on a stream that must not end.
///
/// # Errors
/// It does not come, or the stream ends.
pub async fn until_count(stream: &mut Streaming<X509svidResponse>, count: usize) -> Result<()> {
    loop {
        let update = within("an update", stream.message()).await??.context("the stream ended")?;
        if update.svids.len() == count {
            return Ok(());
        }
    }
}

/// The SVID in an update, read and verified against the bundle that came with it.
///
/// # Errors
/// It breaks a rule of the standard, or nothing in the bundle vouches for it.
pub fn verified(svid: &X509svid) -> Result<X509Svid> {
    let X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, hint } = svid;
    let mut read = X509Svid::parse(x509_svid, x509_svid_key)?;
    let id = verify_x509_svid(&read.chain, &parse_chain_der(bundle)?, Clock::system().now())?;
    anyhow::ensure!(id.to_string() == *spiffe_id, "the SVID of {spiffe_id} names {id}");
    read.hint.clone_from(hint);
    Ok(read)
}
