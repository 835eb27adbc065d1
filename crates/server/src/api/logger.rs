//! `spire.api.server.logger.v1.Logger`, on the admin socket alone: the level of the whole process, at once.

use steeple_proto::spire::api::server::logger::v1::logger_server::{Logger, LoggerServer};
use steeple_proto::spire::api::server::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use steeple_proto::spire::api::types;
use steeple_runtime::logging::{Level, Log};
use steeple_transport::rpc::Call;
use tonic::{Request, Response, Status};
use tracing::info;

use super::status;

struct Service(Log);

/// The service.
pub(crate) fn service(log: Log) -> LoggerServer<impl Logger> {
    LoggerServer::new(Service(log))
}

#[tonic::async_trait]
impl Logger for Service {
    async fn get_logger(&self, _: Request<GetLoggerRequest>) -> Result<Response<types::Logger>, Status> {
        info!(target: "api", "GetLogger Called");
        Ok(Response::new(self.levels()))
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let call = Call::of(&request)?;
        let asked = request.into_inner().new_level;
        let level = match types::LogLevel::try_from(asked) {
            Ok(types::LogLevel::Unspecified) => {
                return Err(status::invalid_argument("newLevel value cannot be LogLevel_UNSPECIFIED"));
            }
            Ok(level) => level_of(level),
            Err(_) => return Err(status::invalid_argument("unsupported log level")),
        };
        self.0.set_level(level);
        call.audit("new_log_level", level.to_string().to_uppercase());
        info!(target: "api", new_log_level = %level, "SetLogLevel Called");
        Ok(Response::new(self.levels()))
    }

    async fn reset_log_level(&self, _: Request<ResetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        self.0.set_level(self.0.launch_level());
        info!(target: "api", launch_log_level = %self.0.launch_level(), "ResetLogLevel Called");
        Ok(Response::new(self.levels()))
    }
}

impl Service {
    fn levels(&self) -> types::Logger {
        types::Logger { current_level: self.0.level() as i32, launch_level: self.0.launch_level() as i32 }
    }
}

fn level_of(level: types::LogLevel) -> Level {
    match level {
        types::LogLevel::Panic => Level::Panic,
        types::LogLevel::Fatal => Level::Fatal,
        types::LogLevel::Error => Level::Error,
        types::LogLevel::Warn => Level::Warn,
        types::LogLevel::Unspecified | types::LogLevel::Info => Level::Info,
        types::LogLevel::Debug => Level::Debug,
        types::LogLevel::Trace => Level::Trace,
    }
}
