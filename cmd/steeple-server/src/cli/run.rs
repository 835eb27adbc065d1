//! `run`

use std::process::ExitCode;
use std::sync::Arc;

use steeple_config::flags::FlagSet;
use steeple_console as console;
use steeple_console::daemon::{self, install_log, log_unbuilt, log_warnings};
use steeple_console::program::Program;
use steeple_console::usage;
use steeple_plugins::SERVER;
use steeple_runtime::Clock;
use steeple_runtime::logging::Log;
use steeple_runtime::signals::{self, Hangup};
use steeple_server::config::{Config, ConfigError};
use steeple_server::{Process, Reread};
use tracing::error;

use super::config::{ConfigFlags, log_flags, parse, told};

/// Runs a server until it fails or a signal stops it.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let mut flags = ConfigFlags::default();
    if let Err(misused) = usage::parse(flags.add_to(FlagSet::new("run")), args) {
        return misused.tell_twice();
    }
    let (config, log, reread) = match signals::hold().map_err(Into::into).and_then(|()| prepare(program, flags)) {
        Ok(prepared) => prepared,
        Err(error) => {
            console::err(&format!("{error:#}\n"));
            return ExitCode::FAILURE;
        }
    };
    log_warnings(&config.warnings);
    log_unbuilt(&config.unbuilt);
    let hangup = if config.reload_on_hup { Hangup::Reloads } else { Hangup::under_a_supervisor() };
    daemon::run("Server", &log.clone(), hangup, |shutdown, signals| async move {
        let process = Process { log, clock: Clock::system(), signals, reread, shutdown };
        // On the heap: all of a server's start is in it.
        Box::pin(steeple_server::run(config, &SERVER, process)).await.inspect_err(|failed| {
            error!(error = %failed, "Fatal run error");
        })
    })
}

/// Reads the configuration and starts the log that it asks for. Returns what reads it again, too.
fn prepare(program: &Program, flags: ConfigFlags) -> anyhow::Result<(Config, Log, Reread)> {
    let again = flags.clone();
    let reread: Reread = Arc::new(move || {
        let (file, flags) = again.clone().read().map_err(|error| format!("{error:#}"))?;
        parse(&file, &flags).map_err(|error| file.explained(error.in_full()))
    });
    let (file, flags) = flags.read()?;
    match parse(&file, &flags) {
        Ok(config) => {
            let log = install_log(config.log.clone())?;
            Ok((config, log, reread))
        }
        Err(error) => {
            if let ConfigError::UnknownKeys(sections) = &error {
                file.log_unknown_keys("server", log_flags(&flags), sections)?;
            }
            anyhow::bail!(told(program, &file, &error))
        }
    }
}
