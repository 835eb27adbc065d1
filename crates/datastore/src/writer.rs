//! The door that every write passes.

mod concurrent;
mod group;

use std::sync::Arc;
use std::time::SystemTime;

use steeple_runtime::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::concurrent::Concurrent;
use self::group::Group;
use crate::Error;
use crate::connection::Connection;
use crate::database::Database;
use crate::pool::Pool;

/// One change of the store, as a value. [`DataStore::write`](crate::DataStore::write) runs it.
///
/// A mutation writes its rows and the event rows that belong to them in one transaction. It is borrowed, not consumed,
/// so that a database that asks for it (deadlock, failed serialization) can have it run again.
pub trait Mutation: Send + Sync + 'static {
    /// What the writer learns about the rows.
    type Output: Send + 'static;

    /// The counter of this call, such as `datastore.bundle.append`.
    const KEY: &'static str;

    /// Whether a row that is there already can only be that of somebody who was faster, so that trying again finds it.
    const CONFLICT_IS_A_RACE: bool = false;

    /// Whether it is written for each agent that asks. After an outage all of them ask at once, and whoever writes something
    /// else must not wait behind them.
    const IS_OF_A_CROWD: bool = false;

    /// Writes the rows. After an error nothing of it remains, and other mutations of the same commit are not touched.
    fn apply(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// The open transaction that a mutation writes to.
pub struct Tx<'c> {
    pub(crate) db: &'c mut Connection,
    /// The moment that the rows of this commit carry.
    pub(crate) now: SystemTime,
    /// Whether a bundle was written: bundles have no events, so that feeds have to be told.
    pub(crate) bundles_changed: bool,
    /// Whether there is a table of used join tokens.
    pub(crate) used_join_tokens: bool,
}

/// What each commit of this process tells the feeds. Only a hint: a feed that misses it finds the change by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hint {
    /// How many commits were made.
    pub(crate) commits: u64,
    /// How many commits have written a bundle.
    pub(crate) bundles: u64,
    /// How many commits may or may not have been made: the connection was lost before the answer.
    pub(crate) unknown: u64,
    /// How many commits are being made. Nobody is woken by it.
    pub(crate) under_way: u64,
}

impl Hint {
    /// Tells that a commit is about to be made. From here on others may see it.
    fn begin(hints: &watch::Sender<Self>) {
        hints.send_if_modified(|hint| {
            hint.under_way += 1;
            false
        });
    }

    /// Whether this process has committed nothing that was not yet known of `before`, and is not about to.
    pub(crate) fn is_quiet_since(&self, before: &Self) -> bool {
        self.under_way == 0 && (self.commits, self.unknown) == (before.commits, before.unknown)
    }

    /// The commit was not made.
    fn fail(hints: &watch::Sender<Self>) {
        hints.send_if_modified(|hint| {
            hint.under_way -= 1;
            false
        });
    }

    /// The commit may or may not have been made.
    fn lose(&mut self) {
        self.under_way -= 1;
        self.unknown += 1;
    }

    /// The commit was made.
    fn add(&mut self, bundles_changed: bool) {
        self.commits += 1;
        self.under_way -= 1;
        self.bundles += u64::from(bundles_changed);
    }
}

/// How mutations are committed, which depends on how many writers a database has.
pub(crate) enum Writer {
    /// One: whoever waits for it shares a commit.
    Group(Group),
    /// Many: a transaction a mutation.
    Concurrent(Concurrent),
}

impl Writer {
    /// Starts on `connection`, and the task that goes with it. The task ends when `stop` is cancelled, and what was handed
    /// over by then is written.
    pub(crate) async fn start(
        database: Database,
        connection: Connection,
        pool: Arc<Pool>,
        own_tables: bool,
        clock: Clock,
        hints: watch::Sender<Hint>,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        match database {
            Database::Sqlite(_) => {
                let (group, task) = Group::start(database, connection, own_tables, clock, hints, stop).await;
                (Self::Group(group), task)
            }
            Database::Postgres(..) | Database::MySql(..) => {
                let (concurrent, task) = Concurrent::start(connection, pool, own_tables, clock, hints, stop).await;
                (Self::Concurrent(concurrent), task)
            }
        }
    }

    /// Runs `mutation` and returns when it is committed. Once it is handed over it will be run, whether or not the caller
    /// still waits.
    pub(crate) async fn write<M: Mutation>(&self, mutation: M) -> Result<M::Output, Error> {
        match self {
            Self::Group(group) => group.write(mutation).await,
            Self::Concurrent(concurrent) => concurrent.write(mutation).await,
        }
    }
}
