//! The admin socket: who may open it may ask how the agent is, and change how much it logs.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use steeple_runtime::Shutdown;
use steeple_runtime::logging::Log;
use steeple_transport::listen::{Tracking, UnixListener, UnixSocket};
use steeple_transport::rpc::{self, Audit, Authorize, Authorized, Bounds, Incoming, Layers, Methods, ServiceName};
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;
use tracing::info;

use super::debug::{self, Agent};
use super::endpoint::{EndpointError, HEADERS, STREAMS, WINDOW};
use super::logger;

const DEBUG: ServiceName = ServiceName {
    full: "spire.agent.debug.v1.Debug",
    log: "agent.debug.v1.Debug",
    metric: "debug",
    connections: Some("debug_api"),
    methods: &["GetInfo"],
};

const LOGGER: ServiceName = ServiceName {
    full: "spire.api.agent.logger.v1.Logger",
    log: "agent.logger.v1.Logger",
    metric: "logger",
    connections: Some("logger_api"),
    methods: &["GetLogger", "SetLogLevel", "ResetLogLevel"],
};

/// The bound socket.
pub(crate) struct Admin {
    listener: UnixListener,
    routes: Routes,
}

/// The permissions of the socket are the authorization.
struct Everybody;

#[async_trait]
impl Authorize for Everybody {
    async fn authorize(&self, _: Incoming<'_>) -> Result<Authorized, Status> {
        Ok(Authorized::Nobody)
    }
}

impl Admin {
    /// Binds it.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub(crate) async fn bind(socket: PathBuf, agent: Agent, log: Log) -> Result<Self, EndpointError> {
        info!(launch_log_level = %log.launch_level(), "Logger service configured");
        let mut routes = Routes::builder();
        routes.add_service(debug::service(agent)).add_service(logger::service(log));
        let socket = UnixSocket { path: socket, directory_mode: 0o750, mode: 0o770, tracking: Tracking::On };
        Ok(Self { listener: UnixListener::bind(socket).await?, routes: routes.routes() })
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// [`EndpointError::Serve`].
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), EndpointError> {
        let Self { listener, routes } = self;
        let address = listener.path().display().to_string();
        info!(address, network = "unix", "Starting Admin APIs");
        let methods = Methods::new(&[DEBUG, LOGGER]);
        let (limits, audit) = (rpc::Limits::none(), Audit::new(false));
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_max_header_list_size(HEADERS)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .layer(Layers::new(methods, Arc::new(Everybody), limits, audit, Bounds::none()).naming_processes())
            .add_routes(routes)
            .serve_with_incoming(listener);
        match shutdown.unless_stopped(serving).await {
            Some(served) => served?,
            None => info!(address, network = "unix", "Stopping Admin APIs"),
        }
        info!(address, network = "unix", "Admin APIs have stopped");
        Ok(())
    }
}
