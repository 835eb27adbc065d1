//! One write connection, for a database that has one writer.

use std::time::SystemTime;

use futures::FutureExt;
use futures::future::BoxFuture;
use steeple_runtime::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Hint, Mutation, Tx};
use crate::Error;
use crate::connection::Connection;
use crate::database::{Database, Identity};
use crate::join_tokens::used;

/// The most mutations that share a commit.
const GROUP: usize = 256;
/// Mutations that wait for the writer before [`Group::write`] makes its caller wait.
const QUEUE: usize = 4 * GROUP;

/// Hands mutations to the task that owns the write connection.
#[derive(Debug)]
pub(crate) struct Group {
    queue: mpsc::Sender<Box<dyn Job>>,
}

impl Group {
    /// Starts the task on `connection`. It ends when `stop` is cancelled, or all senders are gone, and what was queued by
    /// then is written.
    pub(super) async fn start(
        database: Database,
        connection: Connection,
        own_tables: bool,
        clock: Clock,
        hints: watch::Sender<Hint>,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let open = Some(Open::new(database.identity(), connection, own_tables).await);
        let task = Task { database, own_tables, open, clock, hints };
        (Self { queue: sender }, tokio::spawn(task.run(queue, stop)))
    }

    /// Runs `mutation` and returns when it is committed. Once it is queued it will be run, whether or not the caller
    /// still waits.
    pub(super) async fn write<M: Mutation>(&self, mutation: M) -> Result<M::Output, Error> {
        let (reply, outcome) = oneshot::channel();
        let job = Pending { mutation, outcome: None, reply };
        self.queue.send(Box::new(job)).await.map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }
}

/// Group commit: all mutations that arrived while the last commit was written share the next one, so that the cost of a
/// commit is divided by the load.
struct Task {
    database: Database,
    /// Whether tables of our own may be made.
    own_tables: bool,
    /// None after a failure: the next group opens the file again.
    open: Option<Open>,
    clock: Clock,
    hints: watch::Sender<Hint>,
}

/// The write connection, and what there is behind it.
struct Open {
    file: Option<Identity>,
    connection: Connection,
    used_join_tokens: bool,
}

impl Open {
    async fn new(file: Option<Identity>, mut connection: Connection, own_tables: bool) -> Self {
        let used_join_tokens = used::prepare(&mut connection, own_tables).await;
        Self { file, connection, used_join_tokens }
    }
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>, stop: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                received = queue.recv_many(&mut group, GROUP) => {
                    if received == 0 {
                        break;
                    }
                    // Whoever asked learns the outcome only after the commit.
                    let failure = self.write(&mut group).await.err();
                    for job in group.drain(..) {
                        job.answer(failure.clone());
                    }
                }
            }
        }
        if let Some(Open { connection, .. }) = self.open.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(target: "sql", error = %error, "Failed to close the database");
        }
    }

    /// Commits a group. After an error nothing of it is written, and the connection is given up: dropping it rolls back.
    async fn write(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let identity = self.database.identity();
        let mut open = match self.open.take() {
            Some(open) if open.file == identity => open,
            // The file is another one now: writes to the old one would be lost.
            _ => Open::new(identity, self.database.write().await?, self.own_tables).await,
        };
        Hint::begin(&self.hints);
        let committed = commit(&mut open, self.clock.now(), group).await;
        let bundles_changed = committed.inspect_err(|_| Hint::fail(&self.hints))?;
        self.open = Some(open);
        self.hints.send_modify(|hint| hint.add(bundles_changed));
        Ok(())
    }
}

/// Runs each job under a savepoint of one transaction; the transaction itself is one for a job that is alone.
async fn commit(open: &mut Open, now: SystemTime, group: &mut [Box<dyn Job>]) -> Result<bool, Error> {
    let Open { file: _, connection: db, used_join_tokens } = open;
    db.begin_write().await?;
    let mut tx = Tx { db, now, bundles_changed: false, used_join_tokens: *used_join_tokens };
    if let [job] = group {
        return match job.apply(&mut tx).await {
            Ok(()) => tx.db.commit().await.map(|()| tx.bundles_changed),
            Err(error) => tx.db.roll_back().await.map(|()| false).map_err(|_| error),
        };
    }
    for job in group {
        tx.db.savepoint().await?;
        match job.apply(&mut tx).await {
            Ok(()) => tx.db.keep().await?,
            // If even that fails, the database has dropped the whole transaction (disk full, for one), and the job's
            // error tells why.
            Err(error) => tx.db.undo().await.map_err(|_| error)?,
        }
    }
    tx.db.commit().await?;
    Ok(tx.bundles_changed)
}

/// A mutation of any type, between its arrival and its answer.
trait Job: Send {
    /// Runs the mutation and keeps what it returned. An error is also returned, so that its savepoint is taken back.
    fn apply<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, Result<(), Error>>;

    /// Tells the caller, if he still waits. `failure` is that of the commit and outweighs what the mutation returned.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Pending<M: Mutation> {
    mutation: M,
    outcome: Option<Result<M::Output, Error>>,
    reply: oneshot::Sender<Result<M::Output, Error>>,
}

impl<M: Mutation> Job for Pending<M> {
    fn apply<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let outcome = self.mutation.apply(tx).await;
            let result = outcome.as_ref().map(drop).map_err(Error::clone);
            self.outcome = Some(outcome);
            result
        }
        .boxed()
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let outcome = match failure {
            Some(error) => Err(error),
            None => self.outcome.unwrap_or(Err(Error::Closed)),
        };
        // The caller may have gone.
        let _ = self.reply.send(outcome);
    }
}
