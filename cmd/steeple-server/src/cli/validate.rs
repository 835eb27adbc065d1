//! `validate`

use std::process::ExitCode;

use steeple_catalog::Host;
use steeple_catalog::load::{self, LoadError};
use steeple_console::daemon::{ConfigFile, install_log, log_warnings};
use steeple_plugins::SERVER;
use steeple_runtime::Clock;
use steeple_server::config::ConfigError;

use super::config::{ConfigFlags, parse, told};
use super::console;
use steeple_console::program::Program;

/// Says whether a server would start with a configuration, as far as that can be said without starting it.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let flags = match ConfigFlags::parse("validate", args) {
        Ok(flags) => flags,
        Err(misused) => return misused.tell(),
    };
    match check(program, flags) {
        Ok(()) => {
            console::out("SPIRE server configuration file is valid.\n");
            ExitCode::SUCCESS
        }
        Err(invalid) => {
            console::err(&invalid.text());
            ExitCode::FAILURE
        }
    }
}

/// Why a configuration is invalid, by how it is told.
enum Invalid {
    /// By the file itself.
    File(String),
    /// By plugins that there are not.
    Plugins(String),
    /// By what plugins say to their configurations.
    Notes(Vec<Note>),
}

struct Note {
    /// Which plugin, or only its type.
    of: String,
    text: String,
}

impl Invalid {
    /// The second text has no end of line, as in the reference.
    fn text(&self) -> String {
        match self {
            Self::File(error) => format!("SPIRE server configuration file is invalid: {error}\n"),
            Self::Plugins(error) => format!("Could not validate configuration file: {error}"),
            Self::Notes(notes) => {
                let notes: String = notes.iter().map(|Note { of, text }| format!("\t{of}:\n\t\t{text}\n")).collect();
                format!("SPIRE server configuration file is invalid.\nValidation errors:\n{notes}")
            }
        }
    }
}

fn check(program: &Program, flags: ConfigFlags) -> Result<(), Invalid> {
    let (file, flags) = flags.read().map_err(|error| Invalid::File(format!("{error:#}")))?;
    let config = parse(&file, &flags).map_err(|error| refused(program, &file, &error))?;
    // Without a file there is no log: the answer is all that is printed.
    if config.log.file.is_some() {
        install_log(config.log.clone()).map_err(|error| Invalid::File(error.to_string()))?;
        log_warnings(&config.warnings);
    }
    let host = Host::new(Clock::system());
    let wrong = load::check_server(&config.plugins, &SERVER, &config.trust_domain, &host);
    // One that is not there is told alone.
    let notes: Vec<Note> = wrong.iter().map(not_loaded).collect::<Result<_, String>>().map_err(Invalid::Plugins)?;
    if notes.is_empty() { Ok(()) } else { Err(Invalid::Notes(notes)) }
}

fn refused(program: &Program, file: &ConfigFile, error: &ConfigError) -> Invalid {
    let note = |text: String| Invalid::Notes(vec![Note { of: "DataStore \"sql\"".into(), text }]);
    match error {
        ConfigError::NoDataStore => note("'datastore' must be configured".into()),
        ConfigError::DataStore(_) | ConfigError::DataFile { .. } => note(error.to_string()),
        error => Invalid::File(told(program, file, error)),
    }
}

/// What is noted of a plugin, or why there is none.
fn not_loaded(error: &LoadError) -> Result<Note, String> {
    match error {
        LoadError::NoBuiltIn { kind: _, name } => Err(format!("failed to load plugin {name:?}: {error}")),
        LoadError::UnsupportedType(_)
        | LoadError::NotBuiltInYet { .. }
        | LoadError::External(_)
        | LoadError::JoinTokenOverridden => Err(error.to_string()),
        LoadError::Count { kind, expected, count } => Ok(Note {
            of: (*kind).to_owned(),
            text: format!("constraint not satisfied: expected {expected} but got {count}"),
        }),
        LoadError::Configure { kind, name, error } => {
            Ok(Note { of: format!("{kind} {name:?}"), text: error.message.clone() })
        }
    }
}
