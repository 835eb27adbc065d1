//! The flags that `run` and `validate` share, and the file that they name.

use steeple_agent::config::{Config, ConfigError, Flags};
use steeple_config::flags::FlagSet;
use steeple_console::daemon::{ConfigFile, FileFlags, LogFlags, install_log};
use steeple_console::program::Program;
use steeple_runtime::logging::Log;

/// What the flags say.
#[derive(Default)]
pub(crate) struct ConfigFlags {
    file: FileFlags,
    flags: Flags,
}

impl ConfigFlags {
    /// Beside the flags that a command has of its own.
    pub(crate) fn add_to<'a>(&'a mut self, own: FlagSet<'a>) -> FlagSet<'a> {
        let Self { file, flags } = self;
        let Flags {
            allow_unauthenticated_verifiers,
            data_dir,
            disable_sds_api,
            disable_workload_api,
            insecure_bootstrap,
            join_token,
            join_token_file,
            log_file,
            log_format,
            log_level,
            log_source_location,
            rebootstrap_delay,
            rebootstrap_mode,
            server_address,
            server_port,
            socket_path,
            trust_bundle_path,
            trust_bundle_format,
            trust_bundle_url,
            trust_domain,
        } = flags;
        let verifiers = "Give bundles to workloads without an identity too";
        file.add_to(own, "The configuration `file`; conf/agent/agent.conf if there is none")
            .flag("allowUnauthenticatedVerifiers", allow_unauthenticated_verifiers, verifiers)
            .flag("dataDir", data_dir, "The `directory` of what the agent stores")
            .flag("disableSDSAPI", disable_sds_api, "Do not serve Envoy's SDS")
            .flag("disableWorkloadAPI", disable_workload_api, "Do not serve the Workload API")
            .flag("insecureBootstrap", insecure_bootstrap, "Believe whoever answers at first, without proof")
            .flag("joinToken", join_token, "The `token` with which the agent attests")
            .flag("joinTokenFile", join_token_file, "The `file` that holds the token")
            .flag("logFile", log_file, "The `file` that the log is written to; standard output if there is none")
            .flag("logFormat", log_format, "The form of the log: text or json")
            .flag("logLevel", log_level, "The least severe `level` in the log: debug, info, warn or error")
            .flag("logSourceLocation", log_source_location, "Name the place in the program in each line of the log")
            .flag(
                "rebootstrapDelay",
                rebootstrap_delay,
                "How long an unknown server is waited for before bootstrapping anew",
            )
            .flag("rebootstrapMode", rebootstrap_mode, "When to bootstrap anew: never, auto or always")
            .flag("serverAddress", server_address, "The IP `address` or DNS name of the server")
            .flag("serverPort", server_port, "The server's TCP `port`")
            .flag("socketPath", socket_path, "The socket of the Workload API")
            .flag("trustBundle", trust_bundle_path, "The `file` with the bundle that is believed at first")
            .flag("trustBundleFormat", trust_bundle_format, "The form of that bundle: pem or spiffe")
            .flag("trustBundleUrl", trust_bundle_url, "The `URL` of that bundle, in place of a file")
            .flag("trustDomain", trust_domain, "The trust `domain` that the agent is for")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not there or not readable.
    fn read(self) -> anyhow::Result<(ConfigFile, Flags)> {
        let Self { file, flags } = self;
        Ok((file.read("conf/agent/agent.conf")?, flags))
    }
}

/// Reads the configuration and starts the log that it asks for.
pub(crate) fn prepare(program: &Program, flags: ConfigFlags) -> anyhow::Result<(Config, Log)> {
    let (file, flags) = flags.read()?;
    match Config::parse(&file.text, &file.path, flags.clone()) {
        Ok(config) => {
            let log = install_log(config.log.clone())?;
            Ok((config, log))
        }
        Err(error) => {
            if let ConfigError::UnknownKeys(sections) = &error {
                file.log_unknown_keys("agent", log_flags(&flags), sections)?;
            }
            Err(told(program, &file, &error))
        }
    }
}

/// Reads the configuration, and starts no log.
pub(crate) fn parse(program: &Program, flags: ConfigFlags) -> anyhow::Result<Config> {
    let (file, flags) = flags.read()?;
    Config::parse(&file.text, &file.path, flags).map_err(|error| told(program, &file, &error))
}

/// An error as the reference words it; under our own name with all that is known of it.
fn told(program: &Program, file: &ConfigFile, error: &ConfigError) -> anyhow::Error {
    let told = if program.is_the_reference() { error.to_string() } else { file.explained(error.in_full()) };
    anyhow::Error::msg(told)
}

/// What the flags say of the log.
fn log_flags(flags: &Flags) -> LogFlags {
    LogFlags {
        file: flags.log_file.clone(),
        format: flags.log_format.clone(),
        level: flags.log_level.clone(),
        source_location: flags.log_source_location,
    }
}
