//! `logger get`, `logger set` and `logger reset`.

use anyhow::{anyhow, bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::logger::v1::logger_client::LoggerClient;
use steeple_proto::spire::api::server::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use steeple_proto::spire::api::types::{LogLevel, Logger};

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, json, usage};

/// Prints how much the server logs, and how much it did when it was started.
pub(crate) async fn get(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("logger get").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = LoggerClient::new(server.channel()).get_logger(GetLoggerRequest {}).await;
    let logger = response.map_err(|status| anyhow!("error fetching logger: {}", server.failed(&status)))?;
    print(output.format(), &logger.into_inner());
    Ok(())
}

/// Has the server log more or less until it ends, or another level is set.
pub(crate) async fn set(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut level) = (ServerFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new("logger set").flag("output", &mut output, Output::HELP).flag(
        "level",
        &mut level,
        "The least severe `level` in the log: panic, fatal, error, warn, info, debug or trace",
    );
    usage::parse(server.add_to(flags), args)?;

    ensure!(!level.is_empty(), "a value (-level) must be set");
    let request = SetLogLevelRequest { new_level: level_of(&level)?.into() };
    let server = server.server()?;
    let response = LoggerClient::new(server.channel()).set_log_level(request).await;
    let logger = response.map_err(|status| anyhow!("failed to set log level: {}", server.failed(&status)))?;
    print(output.format(), &logger.into_inner());
    Ok(())
}

/// Has the server log as much as when it was started.
pub(crate) async fn reset(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("logger reset").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = LoggerClient::new(server.channel()).reset_log_level(ResetLogLevelRequest {}).await;
    let logger = response.map_err(|status| anyhow!("failed to reset logger: {}", server.failed(&status)))?;
    print(output.format(), &logger.into_inner());
    Ok(())
}

fn level_of(word: &str) -> anyhow::Result<LogLevel> {
    Ok(match word.to_lowercase().as_str() {
        "panic" => LogLevel::Panic,
        "fatal" => LogLevel::Fatal,
        "error" => LogLevel::Error,
        "warn" | "warning" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => bail!("the value {word:?} is not a valid setting"),
    })
}

fn print(format: Format, logger: &Logger) {
    match format {
        Format::Json => print_json(&json::logger(logger)),
        Format::Pretty => {
            let (now, at_launch) = (word_of(logger.current_level()), word_of(logger.launch_level()));
            console::out(&format!("Logger Level : {now}\nLaunch Level : {at_launch}\n\n"));
        }
    }
}

fn word_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Unspecified => "unspecified",
        LogLevel::Panic => "panic",
        LogLevel::Fatal => "fatal",
        LogLevel::Error => "error",
        LogLevel::Warn => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
