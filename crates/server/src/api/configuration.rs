//! `steeple.server.configuration.v1.Configuration`, on the admin socket alone: another configuration for a server that runs.

use steeple_proto::steeple::server::configuration::v1::configuration_server::{Configuration, ConfigurationServer};
use steeple_proto::steeple::server::configuration::v1::{Change, ReloadRequest, ReloadResponse};
use tonic::{Request, Response, Status};

use crate::reload::{self, Reload};

struct Service(Reload);

/// The service.
pub(crate) fn service(reload: Reload) -> ConfigurationServer<impl Configuration> {
    ConfigurationServer::new(Service(reload))
}

#[tonic::async_trait]
impl Configuration for Service {
    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let reloaded = self.0.reload(request.into_inner().dry_run).await;
        let changes = reloaded.map_err(|error| Status::failed_precondition(error.to_string()))?;
        let change = |reload::Change { setting, needs_restart }| Change { setting, needs_restart };
        Ok(Response::new(ReloadResponse { changes: changes.into_iter().map(change).collect() }))
    }
}
