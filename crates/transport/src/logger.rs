//! What the `Logger` services of both daemons do: the level of the whole process, at once.

use steeple_proto::spire::api::types;
use steeple_runtime::logging::{Level, Log};
use tracing::info;

/// Answers GetLogger.
pub fn get(log: &Log) -> types::Logger {
    info!(target: "api", "GetLogger Called");
    levels(log)
}

/// Answers SetLogLevel.
pub fn set(log: &Log, level: Level) -> types::Logger {
    log.set_level(level);
    info!(target: "api", new_log_level = %level, "SetLogLevel Called");
    levels(log)
}

/// Answers ResetLogLevel.
pub fn reset(log: &Log) -> types::Logger {
    log.set_level(log.launch_level());
    info!(target: "api", launch_log_level = %log.launch_level(), "ResetLogLevel Called");
    levels(log)
}

/// The level that a request asks for.
///
/// # Errors
/// In the reference's words: it asks for none, or for one that there is not.
pub fn asked(level: i32) -> Result<Level, &'static str> {
    match types::LogLevel::try_from(level) {
        Ok(types::LogLevel::Unspecified) => Err("newLevel value cannot be LogLevel_UNSPECIFIED"),
        Ok(types::LogLevel::Panic) => Ok(Level::Panic),
        Ok(types::LogLevel::Fatal) => Ok(Level::Fatal),
        Ok(types::LogLevel::Error) => Ok(Level::Error),
        Ok(types::LogLevel::Warn) => Ok(Level::Warn),
        Ok(types::LogLevel::Info) => Ok(Level::Info),
        Ok(types::LogLevel::Debug) => Ok(Level::Debug),
        Ok(types::LogLevel::Trace) => Ok(Level::Trace),
        Err(_) => Err("unsupported log level"),
    }
}

fn levels(log: &Log) -> types::Logger {
    types::Logger { current_level: log.level() as i32, launch_level: log.launch_level() as i32 }
}
