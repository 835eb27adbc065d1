//! `grpc.health.v1.Health`, on the admin socket alone: SERVING when the own bundle can be read.

use std::time::Duration;

use futures::FutureExt;
use steeple_datastore::{DataStore, Error};
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::error;

struct Service {
    trust_domain: TrustDomain,
    store: DataStore,
    clock: Clock,
}

/// Whoever asks wants to know it now: a database that has not answered by then is away.
const LIMIT: Duration = Duration::from_secs(5);

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
        let trust_domain = self.trust_domain.id();
        let fetched = self.clock.within(LIMIT, self.store.fetch_bundle(trust_domain.as_str()).boxed()).await;
        let late = || Err(Error::Unavailable(format!("the database did not answer within {} s", LIMIT.as_secs())));
        let status = match fetched.unwrap_or_else(late) {
            Ok(Some(_)) => ServingStatus::Serving,
            Ok(None) => {
                error!(target: "api", "Health check failed: the own bundle is not in the datastore");
                ServingStatus::NotServing
            }
            Err(error) => {
                error!(target: "api", error = %error, "Health check failed: unable to fetch the own bundle");
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
