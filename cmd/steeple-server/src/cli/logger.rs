//! `logger get`, `logger set` and `logger reset`.

use anyhow::anyhow;
use steeple_config::flags::FlagSet;
use steeple_console::logger;
use steeple_proto::spire::api::server::logger::v1::logger_client::LoggerClient;
use steeple_proto::spire::api::server::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};

use super::client::ServerFlags;
use super::output::Output;
use super::usage;

/// Prints how much the server logs, and how much it did when it was started.
pub(crate) async fn get(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("logger get").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = LoggerClient::new(server.channel()).get_logger(GetLoggerRequest {}).await;
    let answer = response.map_err(|status| anyhow!("error fetching logger: {}", server.failed(&status)))?;
    logger::print(output.format(), &answer.into_inner());
    Ok(())
}

/// Has the server log more or less until it ends, or another level is set.
pub(crate) async fn set(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut level) = (ServerFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new("logger set");
    let flags = flags.flag("output", &mut output, Output::HELP).flag("level", &mut level, logger::LEVEL_HELP);
    usage::parse(server.add_to(flags), args)?;

    let request = SetLogLevelRequest { new_level: logger::level(&level)?.into() };
    let server = server.server()?;
    let response = LoggerClient::new(server.channel()).set_log_level(request).await;
    let answer = response.map_err(|status| anyhow!("failed to set log level: {}", server.failed(&status)))?;
    logger::print(output.format(), &answer.into_inner());
    Ok(())
}

/// Has the server log as much as when it was started.
pub(crate) async fn reset(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("logger reset").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = LoggerClient::new(server.channel()).reset_log_level(ResetLogLevelRequest {}).await;
    let answer = response.map_err(|status| anyhow!("failed to reset logger: {}", server.failed(&status)))?;
    logger::print(output.format(), &answer.into_inner());
    Ok(())
}
