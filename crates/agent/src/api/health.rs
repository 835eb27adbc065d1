//! `grpc.health.v1.Health`: whether the Workload API answers, asked the way that workloads ask.

use std::path::PathBuf;

use steeple_proto::workload::X509svidRequest;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_transport::security_header;
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::warn;

struct Service {
    socket: PathBuf,
}

/// The service, for the socket that it is on.
pub(super) fn service(socket: PathBuf) -> HealthServer<impl Health> {
    HealthServer::new(Service { socket })
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::invalid_argument("per-service health is not supported"));
        }
        let mut client = SpiffeWorkloadApiClient::new(steeple_transport::dial::local(self.socket.clone()));
        let answer = match client.fetch_x509svid(security_header::with(X509svidRequest {})).await {
            Ok(stream) => stream.into_inner().message().await.map(drop),
            Err(status) => Err(status),
        };
        let status = match answer {
            Ok(()) => ServingStatus::Serving,
            // The agent itself need not have an identity.
            Err(status) if status.code() == Code::PermissionDenied => ServingStatus::Serving,
            Err(status) => {
                warn!(target: "endpoints", error = %status.message(), "Unable to query the Workload API");
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
