//! `logger get`, `logger set` and `logger reset`.

use anyhow::anyhow;
use steeple_config::flags::FlagSet;
use steeple_console::logger;
use steeple_proto::spire::api::agent::logger::v1::logger_client::LoggerClient;
use steeple_proto::spire::api::agent::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};

use super::client::AdminFlags;
use super::output::Output;
use super::usage;

/// Prints how much the agent logs, and how much it did when it was started.
pub(crate) async fn get(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output) = (AdminFlags::default(), Output::default());
    let flags = FlagSet::new("logger get").flag("output", &mut output, Output::HELP);
    usage::parse(agent.add_to(flags), args)?;

    let agent = agent.agent();
    let response = LoggerClient::new(agent.channel()).get_logger(GetLoggerRequest {}).await;
    let answer = response.map_err(|status| anyhow!("error fetching logger: {}", agent.failed(&status)))?;
    logger::print(output.format(), &answer.into_inner());
    Ok(())
}

/// Has the agent log more or less until it ends, or another level is set.
pub(crate) async fn set(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output, mut level) = (AdminFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new("logger set");
    let flags = flags.flag("output", &mut output, Output::HELP).flag("level", &mut level, logger::LEVEL_HELP);
    usage::parse(agent.add_to(flags), args)?;

    let request = SetLogLevelRequest { new_level: logger::level(&level)?.into() };
    let agent = agent.agent();
    let response = LoggerClient::new(agent.channel()).set_log_level(request).await;
    let answer = response.map_err(|status| anyhow!("failed to set log level: {}", agent.failed(&status)))?;
    logger::print(output.format(), &answer.into_inner());
    Ok(())
}

/// Has the agent log as much as when it was started.
pub(crate) async fn reset(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output) = (AdminFlags::default(), Output::default());
    let flags = FlagSet::new("logger reset").flag("output", &mut output, Output::HELP);
    usage::parse(agent.add_to(flags), args)?;

    let agent = agent.agent();
    let response = LoggerClient::new(agent.channel()).reset_log_level(ResetLogLevelRequest {}).await;
    let answer = response.map_err(|status| anyhow!("failed to reset logger: {}", agent.failed(&status)))?;
    logger::print(output.format(), &answer.into_inner());
    Ok(())
}
