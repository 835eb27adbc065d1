//! A workload: it asks the agent for its identities over the Workload API, as every SPIFFE program does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use steeple_runtime::Clock;
use steeple_spiffe::workload_api::{ClientError, Endpoint, WorkloadApiClient, X509Context};
use steeple_spiffe::{BundleSet, Certificate, JwtSvid, X509Svid};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tonic::Code;

/// The workload's side of the socket. Connects when first used, and again when the agent was away.
pub(super) struct Workload(WorkloadApiClient);

impl Workload {
    /// # Errors
    /// There is no runtime.
    pub(super) fn new(socket: &Path) -> Result<Self, WorkloadError> {
        Ok(Self(WorkloadApiClient::new(&Endpoint::Unix(socket.into()))?))
    }

    /// Whom the tokens are for.
    pub(super) const AUDIENCE: &str = "steeple-up";

    /// Holds the stream open on which the agent sends all X.509-SVIDs of this process, at once and after each change,
    /// and opens it again, after telling why, each time that it ends. A source would not tell.
    pub(super) fn x509_updates(&self, clock: Clock) -> Receiver<Result<X509Update, WorkloadError>> {
        let (sender, receiver) = mpsc::channel(1);
        let client = self.0.clone();
        tokio::spawn(async move {
            let mut pause = SHORTEST_PAUSE;
            while let Err(error) = relay(&client, &sender, &mut pause).await {
                if sender.send(Err(error.into())).await.is_err() {
                    return;
                }
                clock.sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        receiver
    }

    /// The JWT-SVIDs of this process for [`Self::AUDIENCE`]: one for each of its identities.
    pub(super) async fn jwt_svids(&self) -> Result<Vec<JwtSvid>, WorkloadError> {
        let fetched = self.0.fetch_jwt_svids(&[Self::AUDIENCE], None).await?;
        Ok(fetched.into_iter().map(|fetched| fetched.svid).collect())
    }

    /// The keys with which JWT-SVIDs are verified, for each trust domain that this process may know.
    pub(super) async fn jwt_bundles(&self) -> Result<BundleSet, WorkloadError> {
        Ok(self.0.fetch_jwt_bundles().await?.bundles)
    }
}

/// Passes on what the stream says, and sets `pause` back when it says something. Ends well only when nobody listens any
/// more.
async fn relay(
    client: &WorkloadApiClient,
    to: &Sender<Result<X509Update, WorkloadError>>,
    pause: &mut Duration,
) -> Result<(), ClientError> {
    let mut answers = client.stream::<X509Context>().await?;
    loop {
        let update = answers.next().await?.into();
        *pause = SHORTEST_PAUSE;
        if to.send(Ok(update)).await.is_err() {
            return Ok(());
        }
    }
}

/// Everything that the agent says about this process's X.509 identities.
#[derive(Default)]
pub(super) struct X509Update {
    pub(super) svids: Vec<Arc<X509Svid>>,
    /// The bundle of their trust domain.
    pub(super) authorities: Vec<Certificate>,
}

impl From<X509Context> for X509Update {
    fn from(context: X509Context) -> Self {
        let X509Context { svids, bundles, crls: _ } = context;
        // All identities are of one trust domain.
        let bundle = svids.first().and_then(|svid| bundles.get(&svid.id.trust_domain()));
        let authorities = bundle.map(|bundle| bundle.x509_certificates().cloned().collect()).unwrap_or_default();
        Self { svids, authorities }
    }
}

/// Why the Workload API gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkloadError {
    /// No entry matches this process (or not yet).
    #[error("no identity issued")]
    NoIdentity,
    /// The agent refused, is not there, or sent what it must not send.
    #[error(transparent)]
    Client(ClientError),
}

impl From<ClientError> for WorkloadError {
    fn from(error: ClientError) -> Self {
        match error.code() {
            Some(Code::PermissionDenied) => Self::NoIdentity,
            _ => Self::Client(error),
        }
    }
}

/// Short at first, so that an identity is seen as soon as it is there; the agent logs each refusal.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
