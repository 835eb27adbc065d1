//! `spire.api.agent.logger.v1.Logger`, on the admin socket.

use steeple_proto::spire::api::agent::logger::v1::logger_server::{Logger, LoggerServer};
use steeple_proto::spire::api::agent::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use steeple_proto::spire::api::types;
use steeple_runtime::logging::Log;
use steeple_transport::logger;
use tonic::{Request, Response, Status};
use tracing::{error, info};

struct Service(Log);

/// The service.
pub(super) fn service(log: Log) -> LoggerServer<impl Logger> {
    LoggerServer::new(Service(log))
}

#[tonic::async_trait]
impl Logger for Service {
    async fn get_logger(&self, _: Request<GetLoggerRequest>) -> Result<Response<types::Logger>, Status> {
        info!("GetLogger Called");
        Ok(Response::new(logger::get(&self.0)))
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let level = logger::asked(request.into_inner().new_level).map_err(|refused| {
            error!("Invalid argument: {refused}");
            Status::invalid_argument(refused)
        })?;
        let answer = logger::set(&self.0, level);
        info!(new_log_level = %level, "SetLogLevel Called");
        Ok(Response::new(answer))
    }

    async fn reset_log_level(&self, _: Request<ResetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let answer = logger::reset(&self.0);
        info!(launch_log_level = %self.0.launch_level(), "ResetLogLevel Called");
        Ok(Response::new(answer))
    }
}
