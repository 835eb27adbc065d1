//! `validate`

use std::process::ExitCode;

use steeple_agent::config::ConfigError;
use steeple_console as console;
use steeple_console::daemon::{install_log, log_unknown_keys, log_warnings};
use steeple_console::program::Program;

use super::config::{ConfigFlags, log_flags, parse, told};

/// Says whether an agent would start with a configuration, as far as that can be said without starting it. Plugins are
/// not looked at, as in the reference.
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
    let (file, flags) = flags.read()?;
    match parse(&file, &flags) {
        Ok(config) => {
            install_log(config.log)?;
            log_warnings(&config.warnings);
            Ok(())
        }
        Err(error) => {
            if let ConfigError::UnknownKeys(sections) = &error {
                install_log(file.log_options("agent", log_flags(&flags)))?;
                log_unknown_keys(sections);
            }
            anyhow::bail!(told(program, &error))
        }
    }
}
