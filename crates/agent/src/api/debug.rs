//! `spire.agent.debug.v1.Debug`, on the admin socket: how the agent is, in figures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use steeple_proto::spire::agent::debug::v1::debug_server::{Debug, DebugServer};
use steeple_proto::spire::agent::debug::v1::{GetInfoRequest, GetInfoResponse, get_info_response::Cert};
use steeple_runtime::Clock;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::x509::{Certificate, verified_paths};
use steeple_transport::id::on_wire;
use tonic::{Request, Response, Status};
use tracing::error;

use crate::cache::{Cache, SyncedAt};
use crate::jwt::JwtSvids;
use crate::upstream::Upstream;

/// So long an answer is given again, as in the reference.
const FRESH: Duration = Duration::from_secs(5);

/// What is told of.
#[derive(Clone)]
pub(crate) struct Agent {
    /// Who the agent is.
    pub upstream: Upstream,
    /// What it knows.
    pub cache: Cache,
    /// Tokens that it keeps.
    pub jwt_svids: Arc<JwtSvids>,
    /// The time.
    pub clock: Clock,
}

struct Service {
    agent: Agent,
    started_at: SystemTime,
    /// And when it was made.
    last: Mutex<Option<(SystemTime, GetInfoResponse)>>,
}

/// The service of an agent that starts now.
pub(super) fn service(agent: Agent) -> DebugServer<impl Debug> {
    let started_at = agent.clock.now();
    DebugServer::new(Service { agent, started_at, last: Mutex::default() })
}

#[tonic::async_trait]
impl Debug for Service {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let now = self.agent.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |made_at: &SystemTime| now.duration_since(*made_at).is_ok_and(|age| age < FRESH);
        if let Some((_, info)) = last.as_ref().filter(|(made_at, _)| is_fresh(made_at)) {
            return Ok(Response::new(info.clone()));
        }
        let info = self.info(now)?;
        *last = Some((now, info.clone()));
        Ok(Response::new(info))
    }
}

impl Service {
    #[expect(deprecated, reason = "readers of the first release look at `svids_count`")]
    fn info(&self, now: SystemTime) -> Result<GetInfoResponse, Status> {
        let Agent { upstream: _, cache, jwt_svids, clock: _ } = &self.agent;
        let svids = number(cache.snapshot().svids());
        let last_sync_success = match cache.synced_at() {
            SyncedAt::Never => 0,
            SyncedAt::Once(at) => unix_seconds(at),
            SyncedAt::AllTheTime => unix_seconds(now),
        };
        Ok(GetInfoResponse {
            svid_chain: self.chain(now)?.iter().map(told).collect(),
            uptime: number(now.duration_since(self.started_at).unwrap_or_default().as_secs()),
            svids_count: svids,
            cached_x509_svids_count: svids,
            cached_jwt_svids_count: number(jwt_svids.kept()),
            cached_svidstore_x509_svids_count: 0,
            last_sync_success,
        })
    }

    /// From the agent's SVID to the root in its bundle.
    fn chain(&self, now: SystemTime) -> Result<Vec<Certificate>, Status> {
        let chain = self.agent.upstream.identity().map(|identity| identity.chain).unwrap_or_default();
        let snapshot = self.agent.cache.snapshot();
        let roots = snapshot.own_bundle().map(|bundle| bundle.authorities()).unwrap_or_default();
        let paths = verified_paths(&chain, &roots, now).map_err(|error| {
            error!(target: "debug_api", error = %error, "Failed to verify agent SVID");
            Status::internal(format!("failed verification against bundle: {error}"))
        })?;
        Ok(paths.into_iter().next().unwrap_or_default())
    }
}

fn told(certificate: &Certificate) -> Cert {
    Cert {
        id: certificate.spiffe_id().ok().map(|id| on_wire(&id)),
        expires_at: unix_seconds(certificate.not_after()),
        subject: certificate.subject_string(),
    }
}

fn number(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}
