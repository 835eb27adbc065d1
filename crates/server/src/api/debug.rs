//! `spire.api.server.debug.v1.Debug`, on the admin socket alone: how much the server has to do with.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use steeple_datastore::entries::EntryFilter;
use steeple_datastore::nodes::NodeFilter;
use steeple_proto::spire::api::server::debug::v1::debug_server::{Debug, DebugServer};
use steeple_proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse, get_info_response::Cert};
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::x509::{Certificate, parse_chain_der, verified_paths};
use steeple_transport::id::on_wire;
use steeple_transport::tls::CredentialWatch;
use tonic::{Request, Response, Status};

use super::{Parts, status};

/// So long an answer is given again, as in the reference: each count is a walk through a table.
const FRESH: Duration = Duration::from_secs(5);

struct Service {
    parts: Parts,
    credential: CredentialWatch,
    started_at: SystemTime,
    /// And when it was made.
    last: Mutex<Option<(SystemTime, GetInfoResponse)>>,
}

/// The service of a server that starts now, and whose SVID this is.
pub(crate) fn service(parts: Parts, credential: CredentialWatch) -> DebugServer<impl Debug> {
    let started_at = parts.clock.now();
    DebugServer::new(Service { parts, credential, started_at, last: Mutex::default() })
}

#[tonic::async_trait]
impl Debug for Service {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let now = self.parts.clock.now();
        if let Some(info) = self.fresh(now) {
            return Ok(Response::new(info));
        }
        let store = &self.parts.store;
        let agents = store.count_nodes(&NodeFilter::default()).await;
        let agents = agents.map_err(|error| status::internal("failed to count agents", error))?;
        let entries = store.count_entries(&EntryFilter::default()).await;
        let entries = entries.map_err(|error| status::internal("failed to count entries", error))?;
        // The own one is counted as well, as in the reference.
        let bundles = store.count_bundles().await;
        let bundles = bundles.map_err(|error| status::internal("failed to count bundles", error))?;
        let info = GetInfoResponse {
            svid_chain: self.chain(now).await?.iter().map(told).collect(),
            uptime: number(now.duration_since(self.started_at).unwrap_or_default().as_secs()),
            agents_count: number(agents),
            entries_count: number(entries),
            federated_bundles_count: number(bundles),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, info.clone()));
        Ok(Response::new(info))
    }
}

impl Service {
    fn fresh(&self, now: SystemTime) -> Option<GetInfoResponse> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (made_at, info) = last.as_ref()?;
        now.duration_since(*made_at).is_ok_and(|age| age < FRESH).then(|| info.clone())
    }

    /// From the server's SVID to the root in the bundle.
    async fn chain(&self, now: SystemTime) -> Result<Vec<Certificate>, Status> {
        let bundle = self.parts.store.fetch_bundle(self.parts.trust_domain.id().as_str()).await;
        let bundle = bundle.map_err(|error| status::internal("failed to fetch trust domain bundle", error))?;
        let bundle = bundle.ok_or_else(|| status::not_found("trust domain bundle not found"))?;
        let roots: Vec<_> = bundle
            .root_cas
            .iter()
            .map(|root| parse_chain_der(&root.der_bytes))
            .collect::<Result<_, _>>()
            .map_err(|error| status::internal("failed to parse bundle", error))?;
        let credential = self.credential.borrow().clone();
        let chain = credential.iter().flat_map(|credential| credential.chain_der()).map(Certificate::from_der);
        let failed = |error| status::internal("failed verification against bundle", error);
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(failed)?;
        let paths = verified_paths(&chain, &roots.concat(), now).map_err(failed)?;
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

fn number(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
