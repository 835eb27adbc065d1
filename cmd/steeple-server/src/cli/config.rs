//! The flags that `run` and `validate` share, and the file that they name.

use std::io;

use anyhow::{Context, bail};
use steeple_config::{env, flags::FlagSet};
use steeple_server::config::{Config, ConfigError, Flags};

use super::console;
use super::program::Program;
use super::usage::{self, Misused};

/// What the flags say.
#[derive(Default)]
pub(crate) struct ConfigFlags {
    path: String,
    expand_env: bool,
    flags: Flags,
}

/// A file that was read, and the flags that stand above it.
pub(crate) struct ConfigFile {
    /// As the flag names it.
    pub(crate) path: String,
    /// With the variables of the environment in it, if that was asked for.
    pub(crate) text: String,
    pub(crate) flags: Flags,
}

impl ConfigFlags {
    /// The flags of a command.
    ///
    /// # Errors
    /// [`Misused`]
    pub(crate) fn parse(command: &str, args: &[String]) -> Result<Self, Misused> {
        let mut parsed = Self::default();
        let Self { path, expand_env, flags } = &mut parsed;
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
        let flags = FlagSet::new(command)
            .flag("config", path, "The configuration `file`; conf/server/server.conf if there is none")
            .flag("expandEnv", expand_env, "Put the environment's values in place of $VARIABLES in the file")
            .flag("bindAddress", bind_address, "The IP `address` or DNS name that the server listens on")
            .flag("serverPort", server_port, "The TCP port that the server listens on")
            .flag("socketPath", socket_path, "The server's administrative socket")
            .flag("dataDir", data_dir, "The `directory` of what the server stores")
            .flag("trustDomain", trust_domain, "The trust `domain` that the server is for")
            .flag("logFile", log_file, "The `file` that the log is written to; standard output if there is none")
            .flag("logFormat", log_format, "The form of the log: text or json")
            .flag("logLevel", log_level, "The least severe `level` in the log: debug, info, warn or error")
            .flag("logSourceLocation", log_source_location, "Name the place in the program in each line of the log");
        usage::parse(flags, args)?;
        Ok(parsed)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not there or not readable.
    pub(crate) fn read(self) -> anyhow::Result<ConfigFile> {
        let Self { mut path, expand_env, flags } = self;
        if path.is_empty() {
            path = DEFAULT_PATH.into();
        }
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let absolute = std::path::absolute(&path)?;
                bail!("could not find config file {}: please use the -config flag", absolute.display());
            }
            Err(error) => {
                // Go opens a directory and fails when it reads.
                let step = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
                bail!("unable to read configuration at {path:?}: {step} {path}: {}", console::reason(&error));
            }
        };
        let text = String::from_utf8(content).with_context(|| format!("unable to decode configuration at {path:?}"))?;
        let text = if expand_env { env::expand(&text, |name| std::env::var(name).ok()) } else { text };
        Ok(ConfigFile { path, text, flags })
    }
}

impl ConfigFile {
    /// The configuration that file and flags make.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub(crate) fn parse(&self) -> Result<Config, ConfigError> {
        Config::parse(&self.text, &self.path, self.flags.clone())
    }
}

/// An error as the reference words it; under our own name with all that is known of it.
pub(crate) fn told(program: &Program, error: &ConfigError) -> String {
    if program.is_the_reference() { error.to_string() } else { error.in_full() }
}

const DEFAULT_PATH: &str = "conf/server/server.conf";
