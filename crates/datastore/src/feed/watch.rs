//! What wakes a feed: hints that somebody may have written. A lost one costs time, never a change.

use std::path::PathBuf;
use std::time::Duration;

use steeple_runtime::os::touches::Touches;

use super::listen::Listener;
use crate::database::Database;

/// How a feed learns that other processes write.
pub(super) enum Watch {
    /// By the kernel, which tells of each touch of the file.
    File {
        path: PathBuf,
        /// None when the kernel does not tell.
        touches: Option<Touches>,
        /// For how many ticks the feed stays awake after a touch.
        awake: u32,
    },
    /// By PostgreSQL's LISTEN, as far as it works.
    Listener(Listener),
    /// By asking.
    Nothing,
}

/// How often a feed asks whether another process has written to a file, while somebody writes.
const TICK: Duration = Duration::from_millis(50);
/// A feed is awake for so many ticks after a touch: a commit is seen in the files before readers see it.
const AWAKE: u32 = 20;
/// How often it asks a server that does not tell.
const SERVER_TICK: Duration = Duration::from_millis(100);
/// How often it asks while nobody seems to write.
const IDLE_TICK: Duration = Duration::from_secs(1);

impl Watch {
    pub(super) fn of(database: &Database) -> Self {
        match database {
            Database::Sqlite(file) => Self::File { path: file.path().to_owned(), touches: None, awake: 0 },
            Database::Postgres(..) => Self::Listener(Listener::start(database.clone())),
            Database::MySql(..) => Self::Nothing,
        }
    }

    /// Begins anew: the directory may be another one now.
    pub(super) fn renew(&mut self) {
        if let Self::File { path, touches, awake: _ } = self {
            *touches = Touches::of(path).inspect_err(log_blindness).ok();
        }
    }

    /// When to ask again.
    pub(super) fn tick(&self) -> Duration {
        match self {
            Self::File { touches: Some(_), awake: 0, .. } => IDLE_TICK,
            Self::File { .. } => TICK,
            Self::Listener(listener) if listener.is_heard() => IDLE_TICK,
            Self::Listener(_) | Self::Nothing => SERVER_TICK,
        }
    }

    /// Whether others tell of their writes, and are heard.
    pub(super) fn is_heard(&self) -> bool {
        match self {
            Self::File { touches, .. } => touches.is_some(),
            Self::Listener(listener) => listener.is_heard(),
            Self::Nothing => false,
        }
    }

    pub(super) fn ticked(&mut self) {
        if let Self::File { awake, .. } = self {
            *awake = awake.saturating_sub(1);
        }
    }

    /// Returns when somebody has written; a file's reader is to ask at the next tick, which may be sooner now.
    pub(super) async fn woken(&mut self) -> Woken {
        match self {
            // While it is awake anyway a touch tells nothing; of many writes only a few are taken note of.
            Self::File { touches: Some(watched), awake, .. } if *awake <= AWAKE / 2 => {
                let failed = watched.touched().await.inspect_err(log_blindness).is_err();
                let was_asleep = *awake == 0;
                *awake = AWAKE;
                if failed {
                    *self = match std::mem::replace(self, Self::Nothing) {
                        Self::File { path, awake, .. } => Self::File { path, touches: None, awake },
                        other => other,
                    };
                }
                if was_asleep { Woken::TickAnew } else { Woken::Stay }
            }
            Self::Listener(listener) => {
                listener.heard().await;
                Woken::Look
            }
            Self::File { .. } | Self::Nothing => std::future::pending().await,
        }
    }
}

/// What a feed does when it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Looks at once.
    Look,
    /// Ticks from now on.
    TickAnew,
    /// Goes on as before.
    Stay,
}

fn log_blindness(error: &std::io::Error) {
    tracing::debug!(target: "feed", error = %error, "The database is not watched; it is asked all the time");
}
