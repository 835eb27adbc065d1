//! What the `Logger` services of both daemons do: the level of the whole process, at once. Each daemon tells of it itself,
//! because only the server's lines have a subsystem.

use steeple_proto::spire::api::types;
use steeple_runtime::logging::{Level, Log};

/// Answers GetLogger.
pub fn get(log: &Log) -> types::Logger {
    types::Logger { current_level: log.level() as i32, launch_level: log.launch_level() as i32 }
}

/// Answers SetLogLevel.
pub fn set(log: &Log, level: Level) -> types::Logger {
    log.set_level(level);
    get(log)
}

/// Answers ResetLogLevel.
pub fn reset(log: &Log) -> types::Logger {
    log.set_level(log.launch_level());
    get(log)
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
