//! What the commands `logger get`, `logger set` and `logger reset` of both daemons say and understand.

use anyhow::{anyhow, ensure};
use serde_json::Value;
use steeple_proto::spire::api::types::{LogLevel, Logger};
use steeple_runtime::logging::Level;
use steeple_transport::logger::asked;

use crate::json::object;
use crate::output::{Format, print_json};
use crate::print;

/// What the usage says of `-level`.
pub const LEVEL_HELP: &str = "The least severe `level` in the log: panic, fatal, error, warn, info, debug or trace";

/// The level of `-level`.
///
/// # Errors
/// None was given, or one that there is not.
pub fn level(word: &str) -> anyhow::Result<LogLevel> {
    ensure!(!word.is_empty(), "a value (-level) must be set");
    let level: Level = word.parse().map_err(|_| anyhow!("the value {word:?} is not a valid setting"))?;
    Ok(LogLevel::try_from(level as i32)?)
}

/// Prints how much a daemon logs, and how much it did when it was started.
pub fn print(format: Format, logger: &Logger) {
    match format {
        Format::Json => print_json(&json(logger)),
        Format::Pretty => {
            let (now, at_launch) = (word_of(logger.current_level()), word_of(logger.launch_level()));
            print::out(&format!("Logger Level : {now}\nLaunch Level : {at_launch}\n\n"));
        }
    }
}

/// `Logger`
pub fn json(logger: &Logger) -> Value {
    let name = |level: LogLevel| level.as_str_name().into();
    object([("current_level", name(logger.current_level())), ("launch_level", name(logger.launch_level()))])
}

fn word_of(level: LogLevel) -> String {
    asked(level as i32).map_or_else(|_| "unspecified".to_owned(), |level| level.to_string())
}
