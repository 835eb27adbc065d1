//! From a configuration file to a running daemon.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Deserialize;
use steeple_config::flags::FlagSet;
use steeple_config::sections::{UnknownSection, Warning};
use steeple_config::{decode, env, hcl};
use steeple_runtime::logging::{Level, Log, Options};
use steeple_runtime::signals::{Hangup, Signals};
use steeple_runtime::{Clock, Shutdown, os, signals};
use tracing::{error, info, warn};

/// The flags that name the file.
#[derive(Clone, Debug, Default)]
pub struct FileFlags {
    path: String,
    expand_env: bool,
}

/// A file that was read.
#[derive(Debug)]
pub struct ConfigFile {
    /// As the flag names it.
    pub path: String,
    /// With the variables of the environment in it, if that was asked for.
    pub text: String,
}

impl FileFlags {
    /// Both daemons' `run` and `validate` have these.
    pub fn add_to<'a>(&'a mut self, flags: FlagSet<'a>, help: &'a str) -> FlagSet<'a> {
        let Self { path, expand_env } = self;
        flags.flag("config", path, help).flag(
            "expandEnv",
            expand_env,
            "Put the environment's values in place of $VARIABLES in the file",
        )
    }

    /// Reads the file, or that at `default` when none is named.
    ///
    /// # Errors
    /// It is not there or not readable.
    pub fn read(self, default: &str) -> anyhow::Result<ConfigFile> {
        let Self { mut path, expand_env } = self;
        if path.is_empty() {
            path = default.to_owned();
        }
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let absolute = std::path::absolute(&path)?;
                bail!("could not find config file {}: please use the -config flag", absolute.display());
            }
            Err(error) => {
                bail!("unable to read configuration at {path:?}: {}", os::unread(path.as_ref(), &error));
            }
        };
        let text = String::from_utf8(content).with_context(|| format!("unable to decode configuration at {path:?}"))?;
        let text = if expand_env { env::expand(&text, |name| std::env::var(name).ok()) } else { text };
        Ok(ConfigFile { path, text })
    }
}

/// What the flags say of the log; they stand above the file.
#[derive(Clone, Debug, Default)]
pub struct LogFlags {
    /// `-logFile`
    pub file: String,
    /// `-logFormat`
    pub format: String,
    /// `-logLevel`
    pub level: String,
    /// `-logSourceLocation`
    pub source_location: bool,
}

impl ConfigFile {
    /// A refusal with what this file itself tells of its cause, for those who read it at a terminal.
    pub fn explained(&self, mut refusal: String) -> String {
        if hcl::is_cut_short(&self.text) {
            refusal.push_str("\n  the JSON ends before its outermost object does: is the file whole?");
        }
        refusal
    }

    /// Logs the keys that mean nothing, a line a section, before the start is refused; in the log that the file wants.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn log_unknown_keys(&self, section: &str, flags: LogFlags, unknown: &[UnknownSection]) -> anyhow::Result<()> {
        install_log(self.log_options(section, flags))?;
        for section in unknown {
            error!(keys = section.names(), section = section.name, "Unknown configuration detected");
        }
        Ok(())
    }

    /// How the file wants its log, though it was refused for something else. `section` is the daemon's: `server`.
    fn log_options(&self, section: &str, flags: LogFlags) -> Options {
        let decoded = hcl::parse(&self.text).and_then(|body| decode::decode::<LogSections>(&body));
        let LogSections { server, agent } = decoded.map(|decoded| decoded.value).unwrap_or_default();
        let keys = if section == "server" { server } else { agent };
        let LogFlags { file, format, level, source_location } = flags;
        let first = |flag: String, key: String| if flag.is_empty() { key } else { flag };
        Options {
            format: first(format, keys.log_format).parse().unwrap_or_default(),
            level: first(level, keys.log_level).parse().unwrap_or(Level::Info),
            file: Some(first(file, keys.log_file)).filter(|file| !file.is_empty()).map(PathBuf::from),
            source_location: source_location || keys.log_source_location,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogSections {
    server: LogKeys,
    agent: LogKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogKeys {
    log_file: String,
    log_format: String,
    log_level: String,
    log_source_location: bool,
}

/// Opens a log for the whole process.
///
/// # Errors
/// Its file cannot be opened.
pub fn install_log(options: Options) -> anyhow::Result<Log> {
    let path = options.file.clone().unwrap_or_default();
    let log = Log::open(options, Clock::system())
        .map_err(|error| anyhow::anyhow!("open {}: {}", path.display(), os::reason(&error)))?;
    log.install();
    Ok(log)
}

/// What the author of the file should think over once more.
pub fn log_warnings(warnings: &[Warning]) {
    for Warning { text, is_deprecation } in warnings {
        // Fields that are None are not there.
        let alert = is_deprecation.then_some(true);
        let alert_type = is_deprecation.then_some("deprecated_config");
        warn!(alert, alert_type, "{text}");
    }
}

/// What the file asks for and the daemon does not do yet.
pub fn log_unbuilt(settings: &[String]) {
    for setting in settings {
        warn!(setting, "A setting has no effect: it is not built yet");
    }
}

/// Runs a daemon until it fails or a signal stops it. `name` begins the last line of its log: `Server`. Signals that were
/// held are followed from here on.
pub fn run<E: Display, F: Future<Output = Result<(), E>>>(
    name: &str,
    log: &Log,
    hangup: Hangup,
    daemon: impl FnOnce(Shutdown, Signals) -> F,
) -> ExitCode {
    match run_to_end(log, hangup, daemon) {
        Ok(()) => {
            info!("{name} stopped gracefully");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            error!(error = failed, "{name} crashed");
            ExitCode::FAILURE
        }
    }
}

fn run_to_end<E: Display, F: Future<Output = Result<(), E>>>(
    log: &Log,
    hangup: Hangup,
    daemon: impl FnOnce(Shutdown, Signals) -> F,
) -> Result<(), String> {
    // Two at least: signing must not wait for a query, nor a query for signing.
    let workers = std::thread::available_parallelism().map_or(2, |found| found.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.stop_on_signals().map_err(|error| error.to_string())?;
        let signals = signals::follow(log, hangup, &shutdown).map_err(|error| error.to_string())?;
        Box::pin(daemon(shutdown, signals)).await.map_err(|failed| failed.to_string())
    })
}
