//! `run`

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Deserialize;
use steeple_config::sections::UnknownSection;
use steeple_config::{decode, hcl};
use steeple_runtime::logging::{Log, Options};
use steeple_runtime::{Clock, Shutdown};
use steeple_server::config::{Config, ConfigError, Flags};
use tracing::{error, info, warn};

use super::config::{ConfigFile, ConfigFlags, told};
use super::console;
use super::program::Program;

/// Runs a server until it fails or a signal stops it.
pub(crate) fn run(program: &Program, args: &[String]) -> ExitCode {
    let flags = match ConfigFlags::parse("run", args) {
        Ok(flags) => flags,
        Err(misused) => return misused.tell_twice(),
    };
    let (config, log) = match prepare(program, flags) {
        Ok(prepared) => prepared,
        Err(error) => {
            console::err(&format!("{error:#}\n"));
            return ExitCode::FAILURE;
        }
    };
    for what in &config.unbuilt {
        warn!(setting = what, "A setting has no effect: it is not built yet");
    }
    match serve(config, log) {
        Ok(()) => {
            info!("Server stopped gracefully");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            error!(error = %failed, "Fatal run error");
            error!(error = %failed, "Server crashed");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration and starts the log that it asks for.
fn prepare(program: &Program, flags: ConfigFlags) -> anyhow::Result<(Config, Log)> {
    let file = flags.read()?;
    match file.parse() {
        Ok(config) => {
            let log = install(config.log.clone())?;
            Ok((config, log))
        }
        Err(error) => {
            if let ConfigError::UnknownKeys(sections) = &error {
                install(log_options(&file))?;
                log_unknown(sections);
            }
            anyhow::bail!(told(program, &error))
        }
    }
}

fn log_unknown(sections: &[UnknownSection]) {
    for section in sections {
        error!(keys = section.names(), section = section.name, "Unknown configuration detected");
    }
}

/// Opens a log for the whole process.
///
/// # Errors
/// Its file cannot be opened.
pub(crate) fn install(options: Options) -> anyhow::Result<Log> {
    let path = options.file.clone().unwrap_or_default();
    let log = Log::open(options, Clock::system())
        .map_err(|error| anyhow::anyhow!("open {}: {}", path.display(), console::reason(&error)))?;
    log.install();
    Ok(log)
}

fn serve(config: Config, log: Log) -> anyhow::Result<()> {
    // Two at least: signing must not wait for a query, nor a query for signing.
    let workers = std::thread::available_parallelism().map_or(2, |found| found.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.stop_on_signals()?;
        // On the heap: it is a large future.
        Ok(Box::pin(steeple_server::run(config, &steeple_plugins::SERVER, log, shutdown)).await?)
    })
}

/// How a file wants its unknown keys to be logged. It was refused for them, after these keys were found sound.
fn log_options(file: &ConfigFile) -> Options {
    let ConfigFile { path: _, text, flags } = file;
    let Flags { log_file, log_format, log_level, log_source_location, .. } = flags;
    let decoded = hcl::parse(text).and_then(|body| decode::decode::<LogFile>(&body));
    let server = decoded.map(|decoded| decoded.value.server).unwrap_or_default();
    let first = |flag: &String, key: String| if flag.is_empty() { key } else { flag.clone() };
    let level = first(log_level, server.log_level);
    Options {
        format: first(log_format, server.log_format).parse().unwrap_or_default(),
        level: level.parse().unwrap_or(steeple_runtime::logging::Level::Info),
        file: Some(first(log_file, server.log_file)).filter(|file| !file.is_empty()).map(PathBuf::from),
        source_location: *log_source_location || server.log_source_location,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogFile {
    server: LogKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogKeys {
    log_file: String,
    log_format: String,
    log_level: String,
    log_source_location: bool,
}
