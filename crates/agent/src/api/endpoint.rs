//! The public socket: Workload API, health and reflection.

use std::path::PathBuf;
use std::sync::Arc;

use steeple_proto::descriptors;
use steeple_runtime::logging::with_fields;
use steeple_runtime::trace::Tracer;
use steeple_runtime::{Clock, Shutdown};
use steeple_transport::listen::{ListenError, Tracking, UnixListener, UnixSocket};
use steeple_transport::rpc::{self, Audit, Bounds, Layers, Methods};
use tonic::service::Routes;
use tonic::transport::Server;
use tracing::info;

use super::admission::{Gate, HEALTH, WORKLOAD};
use super::limits::Limits;
use super::{health, workload};
use crate::cache::Cache;
use crate::config::RateLimits;
use crate::jwt::JwtSvids;
use crate::log_fields;
use crate::workload::Attestor;

/// Calls at a time, streams among them, which users share.
const CALLS: usize = 64 << 10;
/// Bytes of messages that are on their way, which users share.
const BYTES: usize = 64 << 20;
/// Streams of one connection.
pub(super) const STREAMS: u32 = 1000;
/// Bytes of a call's metadata.
pub(super) const HEADERS: u32 = 16 * 1024;
/// Bytes that a connection, or one of its calls, may send ahead of being read.
pub(super) const WINDOW: u32 = 128 * 1024;

/// What the services stand on.
pub(crate) struct Parts {
    /// What is known.
    pub cache: Cache,
    /// Who calls.
    pub attestor: Arc<Attestor>,
    /// Tokens.
    pub jwt_svids: Arc<JwtSvids>,
    /// The time.
    pub clock: Clock,
    /// What begins traces, where they are wanted.
    pub tracer: Option<Tracer>,
    /// The rest.
    pub options: Options,
}

/// What the configuration says of the Workload API.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `disable_workload_api`
    pub disabled: bool,
    /// `allow_unauthenticated_verifiers`
    pub allow_unauthenticated_verifiers: bool,
    /// `allowed_foreign_jwt_claims`
    pub allowed_foreign_claims: Vec<String>,
    /// `log_selectors`
    pub log_selectors: Vec<String>,
    /// `experimental.ratelimit`
    pub limits: RateLimits,
    /// The agent's own process, whose calls (its health checks) are neither limited nor told in the log.
    pub own_pid: Option<i32>,
}

/// Why the agent cannot be reached by its workloads.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The socket is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The gRPC server broke.
    #[error("gRPC server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The descriptions of the services are damaged.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The bound socket.
pub(crate) struct Endpoint {
    listener: UnixListener,
    routes: Routes,
    methods: Methods,
    tracer: Option<Tracer>,
}

impl Endpoint {
    /// Binds it.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub(crate) async fn bind(socket: PathBuf, parts: Parts) -> Result<Self, EndpointError> {
        let Parts { cache, attestor, jwt_svids, clock, tracer, options } = parts;
        let Options {
            disabled,
            allow_unauthenticated_verifiers,
            allowed_foreign_claims,
            log_selectors,
            limits,
            own_pid,
        } = options;
        let service = workload::Service {
            cache,
            attestor,
            jwt_svids,
            limits: Limits::new(&limits, &clock),
            clock,
            allow_unauthenticated_verifiers,
            allowed_foreign_claims: allowed_foreign_claims.into(),
            log_selectors: log_selectors.into(),
            own_pid,
        };
        // Each version of reflection tells of both, as the reference's do.
        let reflection = || {
            let described = tonic_reflection::server::Builder::configure().include_reflection_service(false);
            let own = (!disabled).then_some(descriptors::WORKLOAD);
            let others = [
                tonic_health::pb::FILE_DESCRIPTOR_SET,
                tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            ];
            own.into_iter()
                .chain(others)
                .fold(described, |described, set| described.register_encoded_file_descriptor_set(set))
        };
        let mut routes = Routes::builder();
        let services = if disabled {
            vec![HEALTH]
        } else {
            routes.add_service(workload::service(service));
            vec![WORKLOAD, HEALTH]
        };
        routes
            .add_service(health::service(socket.clone()))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let socket = UnixSocket { path: socket, directory_mode: 0o755, mode: 0o777, tracking: Tracking::On };
        let listener = UnixListener::bind(socket).await?;
        Ok(Self { listener, routes: routes.routes(), methods: Methods::new(&services), tracer })
    }

    /// Serves until it is told to stop. Calls under way are dropped then: a workload's stream never ends by itself.
    ///
    /// # Errors
    /// [`EndpointError::Serve`].
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), EndpointError> {
        let Self { listener, routes, methods, tracer } = self;
        let path = listener.path().display().to_string();
        with_fields(vec![log_fields::socket("address", &path)], || {
            info!(target: "endpoints", network = "unix", apis = "Workload API", "Starting agent APIs");
        });
        let bounds = Bounds::new(CALLS, CALLS, BYTES);
        let layers = Layers::new(methods, Arc::new(Gate), rpc::Limits::none(), Audit::new(false), bounds)
            .naming_processes()
            .traced(tracer);
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_max_header_list_size(HEADERS)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .layer(layers)
            .add_routes(routes)
            .serve_with_incoming(listener);
        match shutdown.unless_stopped(serving).await {
            Some(served) => served?,
            None => info!(target: "endpoints", apis = "Workload API", "Stopping agent APIs"),
        }
        Ok(())
    }
}
