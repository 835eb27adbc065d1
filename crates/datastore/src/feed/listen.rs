//! PostgreSQL's NOTIFY and LISTEN, as hints.
//!
//! What stands between us and the server may swallow them (a pool that hands out connections by transaction, a network
//! that drops packets), so that the listener says something to itself now and then: only while it hears that it is
//! trusted to tell of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use steeple_runtime::{Clock, jitter};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Error;
use crate::database::{Database, PostgresServer};
use crate::pool::Pool;
use crate::writer::Hint;

/// The channel of all servers on one database.
const CHANNEL: &str = "steeple_changes";
/// How often a listener asks itself whether it hears.
const SELF_CHECK: Duration = Duration::from_secs(10);
/// After so long it does not, and so long may what it says take: a network that swallows packets says nothing of it for a
/// quarter of an hour.
const DEAF_AFTER: Duration = Duration::from_secs(2);
/// A listener that has no connection by then begins anew.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The pause before a lost connection is made again, give or take a tenth: servers that lost theirs at once come back one
/// after the other.
const PAUSE: Duration = Duration::from_secs(2);
/// Notifications are at most this frequent: under load one stands for many commits.
const BETWEEN: Duration = Duration::from_millis(5);

/// A task that listens. Dropping it ends the task.
pub(super) struct Listener {
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    heard: Notify,
    is_heard: AtomicBool,
}

impl Listener {
    pub(super) fn start(database: Database) -> Self {
        let state = Arc::new(State::default());
        let listening = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let Database::Postgres(server, clock) = database else { return };
            // There is no connection on which something could be heard.
            while !server.lent().is_known() {
                if let Err(error) = listen(&server, &clock, &listening).await {
                    tracing::debug!(target: "feed", error = %error, "Not listening; the database is asked more often");
                }
                listening.is_heard.store(false, Ordering::Relaxed);
                clock.sleep(jitter(PAUSE)).await;
            }
        });
        Self { state, task }
    }

    /// Whether what others say is heard.
    pub(super) fn is_heard(&self) -> bool {
        self.state.is_heard.load(Ordering::Relaxed)
    }

    /// Returns when somebody has said something since the last call.
    pub(super) async fn heard(&self) {
        self.state.heard.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens until the connection is lost or does not hear itself.
async fn listen(server: &PostgresServer, clock: &Clock, state: &State) -> Result<(), Error> {
    // Of several servers, both connections go to one.
    let (mut speaker, options) = Box::pin(server.find(clock)).await?;
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let connecting = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok::<_, Error>(listener)
    };
    let connected = clock.within(CONNECT_LIMIT, connecting).await.transpose()?;
    let Some(mut listener) = connected else {
        return Err(Error::Unavailable("the server did not answer".to_owned()));
    };
    let name = Uuid::new_v4().to_string();
    loop {
        let heard_itself = async {
            notify(&mut speaker, &name).await?;
            loop {
                match listener.try_recv().await? {
                    Some(said) if said.payload() == name => return Ok::<_, Error>(true),
                    Some(_) => state.heard.notify_one(),
                    None => return Ok(false),
                }
            }
        };
        if clock.within(DEAF_AFTER, heard_itself).await.transpose()? != Some(true) {
            return Err(Error::Unavailable("what was said on the channel did not come back".to_owned()));
        }
        state.is_heard.store(true, Ordering::Relaxed);
        // What was said before is looked for at once.
        state.heard.notify_one();
        let listening = async {
            while listener.try_recv().await?.is_some() {
                state.heard.notify_one();
            }
            Ok::<_, Error>(())
        };
        match clock.within(SELF_CHECK, listening).await {
            None => {}
            Some(Ok(())) => return Err(Error::Unavailable("the connection was lost".to_owned())),
            Some(Err(error)) => return Err(error),
        }
    }
}

async fn notify(db: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(name).persistent(false).execute(db).await?;
    Ok(())
}

/// Tells other servers of this one's commits, in statements of their own: within a transaction NOTIFY would make all
/// commits of the database wait for each other.
pub(crate) async fn tell_others(
    pool: Arc<Pool>,
    clock: Clock,
    mut hints: watch::Receiver<Hint>,
    stop: CancellationToken,
) {
    let telling = async {
        while hints.changed().await.is_ok() {
            hints.borrow_and_update();
            // Others look for themselves, only later.
            if let Err(error) = tell(&pool).await {
                tracing::debug!(target: "feed", error = %error, "Other servers were not told of a change");
            }
            clock.sleep(BETWEEN).await;
        }
    };
    stop.run_until_cancelled(telling).await;
}

async fn tell(pool: &Pool) -> Result<(), Error> {
    let mut lease = pool.one().await?;
    // As a transaction of its own it would wait until the disk has it, and others would wait for that; it is only a hint.
    lease.db.execute_script("SET LOCAL synchronous_commit = off; NOTIFY steeple_changes").await?;
    lease.done().await
}
