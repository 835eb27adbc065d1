//! `validate`

use std::process::ExitCode;

use steeple_catalog::load;
use steeple_config::flags::FlagSet;
use steeple_console as console;
use steeple_console::daemon::log_warnings;
use steeple_console::output::{Format, Output, print_verdict};
use steeple_console::program::Program;
use steeple_console::usage;
use steeple_plugins::AGENT;

use super::config::{ConfigFlags, parse, prepare};

/// Says whether an agent would start with a configuration, as far as that can be said without starting it. The reference
/// does not look at plugins: under its name only those are told that it would have, and this agent does not.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let (mut flags, mut output) = (ConfigFlags::default(), Output::default());
    let own = output.add_to(program, FlagSet::new("validate"));
    if let Err(misused) = usage::parse(flags.add_to(own), args) {
        return misused.tell();
    }
    let checked = check(program, flags, output.format());
    if output.format() == Format::Json {
        print_verdict("valid", checked.as_ref().err());
    }
    match checked {
        Ok(()) => {
            if output.format() == Format::Pretty {
                console::out("SPIRE agent configuration file is valid.\n");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            console::err(&format!("SPIRE agent configuration file is invalid: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The log is opened, and written to, as in the reference; but not where a program reads what is printed.
fn check(program: &Program, flags: ConfigFlags, format: Format) -> anyhow::Result<()> {
    let config = match format {
        Format::Json => parse(program, flags)?,
        Format::Pretty => {
            let (config, _log) = prepare(program, flags)?;
            log_warnings(&config.warnings);
            config
        }
    };
    let has_join_token = config.join_token.is_some();
    if program.is_the_reference() {
        AGENT.cover(&config.plugins, has_join_token)?;
    } else {
        load::check_agent(&config.plugins, &AGENT, has_join_token)?;
    }
    Ok(())
}
