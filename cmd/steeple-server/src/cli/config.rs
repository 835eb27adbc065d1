//! The flags that `run` and `validate` share, and the file that they name.

use steeple_config::flags::FlagSet;
use steeple_console::daemon::{ConfigFile, FileFlags, LogFlags};
use steeple_server::config::{Config, ConfigError, Flags};

use steeple_console::program::Program;

/// What the flags say.
#[derive(Clone, Default)]
pub(crate) struct ConfigFlags {
    file: FileFlags,
    flags: Flags,
}

impl ConfigFlags {
    /// Beside the flags that a command has of its own.
    pub(crate) fn add_to<'a>(&'a mut self, own: FlagSet<'a>) -> FlagSet<'a> {
        let Self { file, flags } = self;
        let Flags {
            bind_address,
            server_port,
            data_dir,
            log_file,
            log_format,
            log_level,
            log_source_location,
            trust_domain,
            socket_path,
        } = flags;
        file.add_to(own, "The configuration `file`; conf/server/server.conf if there is none")
            .flag("bindAddress", bind_address, "The IP `address` or DNS name that the server listens on")
            .flag("serverPort", server_port, "The TCP port that the server listens on")
            .flag("socketPath", socket_path, "The server's administrative socket")
            .flag("dataDir", data_dir, "The `directory` of what the server stores")
            .flag("trustDomain", trust_domain, "The trust `domain` that the server is for")
            .flag("logFile", log_file, "The `file` that the log is written to; standard output if there is none")
            .flag("logFormat", log_format, "The form of the log: text or json")
            .flag("logLevel", log_level, "The least severe `level` in the log: debug, info, warn or error")
            .flag("logSourceLocation", log_source_location, "Name the place in the program in each line of the log")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not there or not readable.
    pub(crate) fn read(self) -> anyhow::Result<(ConfigFile, Flags)> {
        let Self { file, flags } = self;
        Ok((file.read("conf/server/server.conf")?, flags))
    }
}

/// The configuration that file and flags make.
///
/// # Errors
/// [`ConfigError`]
pub(crate) fn parse(file: &ConfigFile, flags: &Flags) -> Result<Config, ConfigError> {
    Config::parse(&file.text, &file.path, flags.clone())
}

/// An error as the reference words it; under our own name with all that is known of it.
pub(crate) fn told(program: &Program, file: &ConfigFile, error: &ConfigError) -> String {
    if program.is_the_reference() { error.to_string() } else { file.explained(error.in_full()) }
}

/// What the flags say of the log.
pub(crate) fn log_flags(flags: &Flags) -> LogFlags {
    LogFlags {
        file: flags.log_file.clone(),
        format: flags.log_format.clone(),
        level: flags.log_level.clone(),
        source_location: flags.log_source_location,
    }
}
