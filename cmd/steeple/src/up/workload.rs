//! A workload: it asks the agent for its identities over the Workload API, as every SPIFFE library does.

use std::path::Path;
use std::time::Duration;

use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use steeple_runtime::Clock;
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::{
    BundleError, BundleSet, Certificate, IdError, JwtError, JwtSvid, TrustDomain, X509Error, X509Svid, x509,
};
use steeple_transport::dial;
use steeple_transport::security_header;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The workload's side of the socket. Connects when first used, and again when the agent was away.
pub(super) struct Workload(SpiffeWorkloadApiClient<Channel>);

impl Workload {
    pub(super) fn new(socket: &Path) -> Self {
        Self(SpiffeWorkloadApiClient::new(dial::local(socket)))
    }

    /// Whom the tokens are for.
    pub(super) const AUDIENCE: &str = "steeple-up";

    /// Holds the stream open on which the agent sends all X.509-SVIDs of this process, at once and after each change,
    /// and opens it again, after telling why, each time that it ends.
    pub(super) fn x509_updates(&self, clock: Clock) -> Receiver<Result<X509Update, WorkloadError>> {
        let (sender, receiver) = mpsc::channel(1);
        let mut client = self.0.clone();
        tokio::spawn(async move {
            let mut pause = SHORTEST_PAUSE;
            while let Err(error) = relay(&mut client, &sender, &mut pause).await {
                if sender.send(Err(error)).await.is_err() {
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
        let message = JwtsvidRequest { audience: vec![Self::AUDIENCE.into()], spiffe_id: String::new() };
        let JwtsvidResponse { svids } =
            self.0.clone().fetch_jwtsvid(security_header::with(message)).await?.into_inner();
        let parse = |Jwtsvid { spiffe_id: _, svid, hint: _ }| Ok(JwtSvid::parse_unverified(&svid)?);
        svids.into_iter().map(parse).collect()
    }

    /// The keys with which JWT-SVIDs are verified, for each trust domain that this process may know.
    pub(super) async fn jwt_bundles(&self) -> Result<BundleSet, WorkloadError> {
        let mut stream =
            self.0.clone().fetch_jwt_bundles(security_header::with(JwtBundlesRequest {})).await?.into_inner();
        let JwtBundlesResponse { bundles } = stream.message().await?.ok_or(WorkloadError::Ended)?;
        let mut set = BundleSet::new();
        for (trust_domain, document) in bundles {
            set.insert(jwks::parse_jwt_keys_document(&TrustDomain::parse(&trust_domain)?, &document)?);
        }
        Ok(set)
    }
}

/// Passes on what the stream says, and sets `pause` back when it says something. Ends well only when nobody listens any
/// more.
async fn relay(
    client: &mut SpiffeWorkloadApiClient<Channel>,
    to: &Sender<Result<X509Update, WorkloadError>>,
    pause: &mut Duration,
) -> Result<(), WorkloadError> {
    let mut stream = client.fetch_x509svid(security_header::with(X509svidRequest {})).await?.into_inner();
    loop {
        let message = stream.message().await?.ok_or(WorkloadError::Ended)?;
        *pause = SHORTEST_PAUSE;
        if to.send(X509Update::parse(message)).await.is_err() {
            return Ok(());
        }
    }
}

/// Everything that the agent says about this process's X.509 identities.
#[derive(Default)]
pub(super) struct X509Update {
    pub(super) svids: Vec<X509Svid>,
    /// The bundle of their trust domain.
    pub(super) authorities: Vec<Certificate>,
}

impl X509Update {
    fn parse(message: X509svidResponse) -> Result<Self, WorkloadError> {
        let X509svidResponse { svids, crl: _, federated_bundles: _ } = message;
        let mut update = Self::default();
        for X509svid { spiffe_id: _, x509_svid, x509_svid_key, bundle, hint } in svids {
            let mut svid = X509Svid::parse(&x509_svid, &x509_svid_key)?;
            svid.hint = hint;
            update.svids.push(svid);
            // All identities are of one trust domain, and each comes with the same bundle.
            for authority in x509::parse_chain_der(&bundle)? {
                if !update.authorities.contains(&authority) {
                    update.authorities.push(authority);
                }
            }
        }
        Ok(update)
    }
}

/// Why the Workload API gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkloadError {
    /// No entry matches this process (or not yet).
    #[error("no identity issued")]
    NoIdentity,
    /// The agent refused, or is not there.
    #[error("{0:?}: {1}")]
    Refused(Code, String),
    /// The agent ended a stream that has no end.
    #[error("the agent ended the stream")]
    Ended,
    /// A certificate or key that it sent is malformed.
    #[error("the agent sent an X.509-SVID that is none: {0}")]
    X509(#[from] X509Error),
    /// A token that it sent is malformed.
    #[error("the agent sent a JWT-SVID that is none: {0}")]
    Jwt(#[from] JwtError),
    /// A bundle that it sent is malformed.
    #[error("the agent sent a bundle that is none: {0}")]
    Bundle(#[from] BundleError),
    /// The bundle's trust domain is malformed.
    #[error("the agent sent a bundle of a trust domain that is none: {0}")]
    TrustDomain(#[from] IdError),
}

impl From<Status> for WorkloadError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::PermissionDenied => Self::NoIdentity,
            code => Self::Refused(code, status.message().into()),
        }
    }
}

/// Short at first, so that an identity is seen as soon as it is there; the agent logs each refusal.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
