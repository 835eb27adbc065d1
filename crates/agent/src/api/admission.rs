//! The gate in front of the public socket: the Workload API wants its security header.

use async_trait::async_trait;
use steeple_transport::rpc::{Authorize, Authorized, Incoming, ServiceName};
use steeple_transport::security_header;
use tonic::Status;

pub(super) struct Gate;

#[async_trait]
impl Authorize for Gate {
    async fn authorize(&self, request: Incoming<'_>) -> Result<Authorized, Status> {
        if request.method.path.starts_with("/SpiffeWorkloadAPI/") && !security_header::is_in(request.headers) {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        Ok(Authorized::Nobody)
    }
}

/// What workloads call.
pub(super) const WORKLOAD: ServiceName = ServiceName {
    full: "SpiffeWorkloadAPI",
    log: "WorkloadAPI",
    metric: "workload_api",
    connections: Some("workload_api"),
    methods: &[
        "FetchX509SVID",
        "FetchX509Bundles",
        "FetchJWTSVID",
        "FetchJWTBundles",
        "ValidateJWTSVID",
        "FetchWITSVID",
        "FetchWITBundles",
    ],
};

/// What asks whether they can.
pub(super) const HEALTH: ServiceName = ServiceName {
    full: "grpc.health.v1.Health",
    log: "Health",
    metric: "health",
    connections: None,
    methods: &["Check", "List", "Watch"],
};
