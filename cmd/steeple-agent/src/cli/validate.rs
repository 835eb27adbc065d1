//! `validate`

use std::process::ExitCode;

use steeple_catalog::load;
use steeple_console as console;
use steeple_console::daemon::log_warnings;
use steeple_console::program::Program;
use steeple_plugins::AGENT;

use super::config::{ConfigFlags, prepare};

/// Says whether an agent would start with a configuration, as far as that can be said without starting it. The reference
/// does not look at plugins: under its name only those are told that it would have, and this agent does not.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let flags = match ConfigFlags::parse("validate", args) {
        Ok(flags) => flags,
        Err(misused) => return misused.tell(),
    };
    match check(program, flags) {
        Ok(()) => {
            console::out("SPIRE agent configuration file is valid.\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            console::err(&format!("SPIRE agent configuration file is invalid: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The log is opened, and written to, as in the reference.
fn check(program: &Program, flags: ConfigFlags) -> anyhow::Result<()> {
    let (config, _log) = prepare(program, flags)?;
    log_warnings(&config.warnings);
    let has_join_token = config.join_token.is_some();
    if program.is_the_reference() {
        AGENT.cover(&config.plugins, has_join_token)?;
    } else {
        load::check_agent(&config.plugins, &AGENT, has_join_token)?;
    }
    Ok(())
}
