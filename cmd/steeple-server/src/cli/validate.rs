//! `validate`

use std::process::ExitCode;

use steeple_catalog::Host;
use steeple_catalog::load::{self, LoadError};
use steeple_config::flags::FlagSet;
use steeple_console::daemon::{ConfigFile, install_log, log_warnings};
use steeple_plugins::SERVER;
use steeple_runtime::Clock;
use steeple_server::config::{Config, ConfigError, WithoutDataStore};

use super::config::{ConfigFlags, parse, told};
use super::console;
use super::output::{Format, Output, print_verdict};
use steeple_console::program::Program;
use steeple_console::usage;

/// Says whether a server would start with a configuration, as far as that can be said without starting it.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let (mut flags, mut output) = (ConfigFlags::default(), Output::default());
    let own = output.add_to(program, FlagSet::new("validate"));
    if let Err(misused) = usage::parse(flags.add_to(own), args) {
        return misused.tell();
    }
    let checked = check(program, flags);
    if output.format() == Format::Json {
        print_verdict("valid", checked.as_ref().err().map(Invalid::reason).as_ref());
    }
    match checked {
        Ok(()) => {
            if output.format() == Format::Pretty {
                console::out("SPIRE server configuration file is valid.\n");
            }
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
    /// For programs: without what goes around it.
    fn reason(&self) -> String {
        match self {
            Self::File(error) | Self::Plugins(error) => error.clone(),
            Self::Notes(notes) => {
                notes.iter().map(|Note { of, text }| format!("{of}: {text}")).collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// The second text has no end of line, as in the reference.
    fn text(&self) -> String {
        match self {
            Self::File(error) => format!("SPIRE server configuration file is invalid: {error}\n"),
            Self::Plugins(error) => format!("Could not validate configuration file: {error}"),
            Self::Notes(notes) => {
                let mut told = "SPIRE server configuration file is invalid.\nValidation errors:\n".to_owned();
                for notes in notes.chunk_by(|one, next| one.of == next.of) {
                    told.extend(notes.first().map(|Note { of, .. }| format!("\t{of}:\n")));
                    told.extend(notes.iter().map(|Note { text, .. }| format!("\t\t{text}\n")));
                }
                told
            }
        }
    }
}

fn check(program: &Program, flags: ConfigFlags) -> Result<(), Invalid> {
    let (file, flags) = flags.read().map_err(|error| Invalid::File(format!("{error:#}")))?;
    let mut notes = Vec::new();
    let WithoutDataStore { trust_domain, log, plugins, warnings } = match parse(&file, &flags) {
        Ok(Config { trust_domain, log, plugins, warnings, .. }) => {
            WithoutDataStore { trust_domain, log, plugins, warnings }
        }
        Err(ConfigError::NoDataStore(rest)) => {
            notes.push(of_the_datastore("'datastore' must be configured".into()));
            *rest
        }
        Err(error) => return Err(refused(program, &file, &error)),
    };
    // Without a file there is no log: the answer is all that is printed.
    if log.file.is_some() {
        install_log(log).map_err(|error| Invalid::File(error.to_string()))?;
        log_warnings(&warnings);
    }
    let wrong = load::check_server(&plugins, &SERVER, &trust_domain, &Host::new(Clock::system()));
    // One that is not there is told alone.
    for error in &wrong {
        notes.push(not_loaded(error).map_err(Invalid::Plugins)?);
    }
    if notes.is_empty() { Ok(()) } else { Err(Invalid::Notes(notes)) }
}

fn refused(program: &Program, file: &ConfigFile, error: &ConfigError) -> Invalid {
    match error {
        ConfigError::DataStore(_) | ConfigError::DataFile { .. } => {
            Invalid::Notes(vec![of_the_datastore(error.to_string())])
        }
        error => Invalid::File(told(program, file, error)),
    }
}

fn of_the_datastore(text: String) -> Note {
    Note { of: "DataStore \"sql\"".into(), text }
}

/// What is noted of a plugin, or why there is none.
fn not_loaded(error: &LoadError) -> Result<Note, String> {
    match error {
        LoadError::NoBuiltIn { .. }
        | LoadError::UnsupportedType(_)
        | LoadError::Missing(_)
        | LoadError::JoinTokenOverridden => Err(error.to_string()),
        LoadError::Count { kind, expected, count } => Ok(Note {
            of: (*kind).to_owned(),
            text: format!("constraint not satisfied: expected {expected} but got {count}"),
        }),
        LoadError::UnknownSetting { kind, name, setting } => {
            Ok(Note { of: format!("{kind} {name:?}"), text: format!("unknown setting {setting:?} encountered") })
        }
        LoadError::Configure { kind, name, error } => {
            Ok(Note { of: format!("{kind} {name:?}"), text: error.message.clone() })
        }
    }
}
