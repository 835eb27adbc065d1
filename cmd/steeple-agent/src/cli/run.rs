//! `run`

use std::process::ExitCode;

use steeple_agent::Process;
use steeple_config::flags::FlagSet;
use steeple_console as console;
use steeple_console::daemon::{self, log_unbuilt, log_warnings};
use steeple_console::program::Program;
use steeple_console::usage;
use steeple_plugins::AGENT;
use steeple_plugins::node_attestor::join_token;
use steeple_runtime::signals::Hangup;
use steeple_runtime::{Clock, signals};

use super::config::{ConfigFlags, prepare};

/// Runs an agent until it fails or a signal stops it.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let mut flags = ConfigFlags::default();
    if let Err(misused) = usage::parse(flags.add_to(FlagSet::new("run")), args) {
        return misused.tell_twice();
    }
    let (config, log) = match signals::hold().map_err(Into::into).and_then(|()| prepare(program, flags)) {
        Ok(prepared) => prepared,
        Err(error) => {
            console::err(&format!("{error:#}\n"));
            return ExitCode::FAILURE;
        }
    };
    log_warnings(&config.warnings);
    log_unbuilt(&config.unbuilt);
    daemon::run("Agent", &log.clone(), Hangup::Ends, |shutdown, signals| async move {
        let process = Process { log, clock: Clock::system(), signals, shutdown };
        steeple_agent::run(config, &AGENT, join_token::with_token, process).await
    })
}
