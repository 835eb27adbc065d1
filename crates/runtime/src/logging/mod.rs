//! Logs as operators of the reference read them: logrus text or JSON, one line an event, fields sorted by name.
//!
//! An event's target is its `subsystem_name` (`info!(target: "ca_manager", …)`) unless it is a module path. Fields of
//! the surrounding spans stand in every line, so a call's `request_id` or `caller_id` is written once.

mod fields;
mod format;
mod layer;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing_subscriber::layer::SubscriberExt;

use crate::Clock;
pub use fields::{Field, Value, more_fields, with_fields};
pub use format::{Format, UnknownFormat};

/// How a daemon logs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The form of a line.
    pub format: Format,
    /// The least severe level that is written.
    pub level: Level,
    /// Where lines go; standard output when None.
    pub file: Option<PathBuf>,
    /// Whether lines carry `file` and `func`.
    pub source_location: bool,
}

/// The levels of the reference, from the gravest. Numbers as in `LogLevel` of the Logger API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing that this program writes.
    Panic = 1,
    /// Nothing that this program writes.
    Fatal,
    /// Something failed.
    Error,
    /// Something deserves attention.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Everything.
    Trace,
}

/// No level has this name.
#[derive(Debug, thiserror::Error)]
#[error("not a valid logrus Level: {0:?}")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Any case; `warning` is `warn`.
    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "panic" => Self::Panic,
            "fatal" => Self::Fatal,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err(UnknownLevel(name.to_owned())),
        })
    }
}

impl fmt::Display for Level {
    /// The name in a log line: `warning` for [`Level::Warn`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// Changes a running log: its level and its file. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Sink>);

pub(crate) struct Sink {
    level: AtomicU8,
    launch_level: Level,
    file: Option<PathBuf>,
    out: Mutex<Out>,
    pub(crate) format: Format,
    pub(crate) terminal: bool,
    pub(crate) source_location: bool,
    pub(crate) clock: Clock,
    pub(crate) started: Instant,
}

enum Out {
    Stdout(io::Stdout),
    File(File),
}

impl Log {
    /// Opens the log, without writing to it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(options: Options, clock: Clock) -> io::Result<Self> {
        let Options { format, level, file, source_location } = options;
        let out = match &file {
            Some(path) => Out::File(append_to(path)?),
            None => Out::Stdout(io::stdout()),
        };
        let terminal = file.is_none() && io::stdout().is_terminal();
        Ok(Self(Arc::new(Sink {
            level: AtomicU8::new(level as u8),
            launch_level: level,
            file,
            out: Mutex::new(out),
            format,
            terminal,
            source_location,
            clock,
            started: Instant::now(),
        })))
    }

    /// Sends the whole process's events to this log. The first log that is installed stays.
    pub fn install(&self) {
        let subscriber = tracing_subscriber::registry().with(layer::Layer::new(Arc::clone(&self.0)));
        // Only fails when one is installed already, which a test that starts two daemons does.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        self.0.level()
    }

    /// The level that the configuration named.
    pub fn launch_level(&self) -> Level {
        self.0.launch_level
    }

    /// Changes the level of all parts at once.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(level as u8, Ordering::Relaxed);
    }

    /// Opens the log's file anew, so that a rotated one is let go. Does nothing without a file.
    ///
    /// # Errors
    /// When it cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        let Some(path) = &self.0.file else { return Ok(()) };
        let file = append_to(path)?;
        *self.0.out.lock().unwrap_or_else(PoisonError::into_inner) = Out::File(file);
        Ok(())
    }
}

impl Sink {
    fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            1 => Level::Panic,
            2 => Level::Fatal,
            3 => Level::Error,
            4 => Level::Warn,
            5 => Level::Info,
            6 => Level::Debug,
            _ => Level::Trace,
        }
    }

    /// Writes one line. A log that cannot be written must not stop the daemon.
    fn write(&self, line: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = match &mut *out {
            Out::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
            }
            Out::File(file) => file.write_all(line.as_bytes()),
        };
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
