//! The gate in front of the public socket: the Workload API wants its security header (Workload Endpoint standard,
//! section 4), so that no one is tricked into calling it by a URL.

use async_trait::async_trait;
use steeple_transport::rpc::{Authorize, Authorized, Incoming, ServiceName};
use tonic::Status;

pub(super) struct Gate;

const HEADER: &str = "workload.spiffe.io";

#[async_trait]
impl Authorize for Gate {
    async fn authorize(&self, request: Incoming<'_>) -> Result<Authorized, Status> {
        if request.method.path.starts_with("/SpiffeWorkloadAPI/") {
            let mut values = request.headers.get_all(HEADER).iter();
            let one = values.next().is_some_and(|value| value.as_bytes() == b"true") && values.next().is_none();
            if !one {
                return Err(Status::invalid_argument("security header missing from request"));
            }
        }
        Ok(Authorized::Nobody)
    }
}

/// The services of the public socket.
pub(super) const SERVICES: &[ServiceName] = &[
    ServiceName {
        full: "SpiffeWorkloadAPI",
        log: "WorkloadAPI",
        metric: "workload_api",
        methods: &[
            "FetchX509SVID",
            "FetchX509Bundles",
            "FetchJWTSVID",
            "FetchJWTBundles",
            "ValidateJWTSVID",
            "FetchWITSVID",
            "FetchWITBundles",
        ],
    },
    ServiceName { full: "grpc.health.v1.Health", log: "Health", metric: "health", methods: &["Check"] },
];
