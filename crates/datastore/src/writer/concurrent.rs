//! Several write connections, for a server that keeps writers apart.

use std::sync::Arc;
use std::time::Duration;

use steeple_runtime::{Clock, spread};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Hint, Mutation, Tx};
use crate::Error;
use crate::connection::Connection;
use crate::join_tokens::used;
use crate::pool::Pool;

/// Runs each mutation in a transaction of its own, several at once. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Concurrent(Arc<Shared>);

struct Shared {
    pool: Arc<Pool>,
    clock: Clock,
    hints: watch::Sender<Hint>,
    /// Whether there is a table of used join tokens.
    used_join_tokens: bool,
    /// Writes that were handed over.
    under_way: TaskTracker,
}

/// How often a transaction is run that the database ended because of another one.
const ATTEMPTS: u32 = 10;
/// There is no attempt that would end after so long if it took as long as the one before it. One that has waited for a lock
/// until the database gave up would wait again, and keep a connection meanwhile.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause before the second attempt, which doubles with each further one.
const PAUSE: Duration = Duration::from_millis(5);

impl Concurrent {
    pub(super) async fn start(
        mut connection: Connection,
        pool: Arc<Pool>,
        own_tables: bool,
        clock: Clock,
        hints: watch::Sender<Hint>,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let used_join_tokens = used::prepare(&mut connection, own_tables).await;
        // It was for the schema. If it cannot be closed in peace, the server closes it.
        let _ = connection.close().await;
        let shared = Shared { pool, clock, hints, used_join_tokens, under_way: TaskTracker::new() };
        let this = Self(Arc::new(shared));
        let closing = this.clone();
        let task = tokio::spawn(async move {
            stop.cancelled().await;
            let shared = &closing.0;
            shared.under_way.close();
            shared.under_way.wait().await;
        });
        (this, task)
    }

    pub(super) async fn write<M: Mutation>(&self, mutation: M) -> Result<M::Output, Error> {
        let Shared { under_way, .. } = &*self.0;
        if under_way.is_closed() {
            return Err(Error::Closed);
        }
        let shared = Arc::clone(&self.0);
        under_way.spawn(async move { shared.run(&mutation).await }).await.map_err(|_| Error::Closed)?
    }
}

impl Shared {
    /// Runs `mutation` until nobody else is in its way.
    async fn run<M: Mutation>(&self, mutation: &M) -> Result<M::Output, Error> {
        let since = |begin| self.clock.now().duration_since(begin).unwrap_or_default();
        let first = self.clock.now();
        let mut attempt = 0;
        loop {
            let begin = self.clock.now();
            let result = self.attempt(mutation).await;
            attempt += 1;
            let again = match &result {
                Err(Error::Conflict(_)) => true,
                Err(Error::Constraint(_)) => M::CONFLICT_IS_A_RACE,
                _ => false,
            };
            if !again || attempt == ATTEMPTS || since(first) + since(begin) > LIMIT {
                return result;
            }
            let pause = PAUSE * 2_u32.pow(attempt - 1).min(64);
            // Half of it at random: those that were in each other's way do not come back at once.
            self.clock.sleep(spread(pause, pause / 2)).await;
        }
    }

    async fn attempt<M: Mutation>(&self, mutation: &M) -> Result<M::Output, Error> {
        let pool = &self.pool;
        let mut lease = if M::IS_OF_A_CROWD { pool.one_in_a_crowd().await? } else { pool.one().await? };
        let db = &mut lease.db;
        db.begin_write().await?;
        let now = db.kept(self.clock.now());
        let mut tx = Tx { db, now, bundles_changed: false, used_join_tokens: self.used_join_tokens };
        let applied = mutation.apply(&mut tx).await;
        let bundles_changed = tx.bundles_changed;
        match applied {
            Ok(output) => {
                Hint::begin(&self.hints);
                if let Err(error) = lease.db.commit().await {
                    // A connection that was lost before the answer does not tell whether the commit was made.
                    self.hints.send_modify(Hint::lose);
                    return Err(error);
                }
                self.hints.send_modify(|hint| hint.add(bundles_changed));
                // The commit is made. What cannot be handed back is closed.
                let _ = lease.done().await;
                Ok(output)
            }
            Err(error) => {
                if lease.db.roll_back().await.is_ok() {
                    let _ = lease.done().await;
                }
                Err(error)
            }
        }
    }
}
