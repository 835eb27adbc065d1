//! `grpc.health.v1.Health`, on the admin socket alone: SERVING when the own bundle can be read.

use steeple_datastore::DataStore;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::error;

use crate::health::read_bundle;

struct Service {
    trust_domain: TrustDomain,
    store: DataStore,
    clock: Clock,
}

/// The service.
pub(crate) fn service(trust_domain: TrustDomain, store: DataStore, clock: Clock) -> HealthServer<impl Health> {
    HealthServer::new(Service { trust_domain, store, clock })
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(super::status::invalid_argument("per-service health is not supported"));
        }
        let status = match read_bundle(&self.store, &self.trust_domain, &self.clock).await {
            Ok(()) => ServingStatus::Serving,
            Err(error) => {
                error!(target: "api", error, "Health check failed: unable to fetch the own bundle");
                ServingStatus::NotServing
            }
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("method Watch not implemented"))
    }
}
