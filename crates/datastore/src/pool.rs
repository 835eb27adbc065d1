//! Connections that are lent.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use steeple_runtime::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Error;
use crate::connection::Connection;
use crate::database::{Database, Identity};

/// A few connections, opened when they are needed and kept.
pub(crate) struct Pool {
    database: Database,
    clock: Clock,
    limits: Limits,
    permits: Semaphore,
    /// How many of them those have at once of whom there are many.
    crowd: Semaphore,
    /// The one used last is at the end, and is used next by those of its kind: it knows their statements.
    idle: Mutex<Vec<Idle>>,
}

/// How many connections there may be, and how long they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most that are open; at least 1.
    pub(crate) open: usize,
    /// The most that wait for use.
    pub(crate) idle: usize,
    /// How long one is used, None for as long as it works.
    pub(crate) lifetime: Option<Duration>,
    /// How long one waits for use, None for ever.
    pub(crate) idle_time: Option<Duration>,
}

/// A connection that waits for use.
struct Idle {
    db: Connection,
    identity: Option<Identity>,
    opened: SystemTime,
    since: SystemTime,
    /// Whether it was lent to one of a crowd.
    crowded: bool,
}

/// A borrowed connection. One that is not handed back with [`Lease::done`] is closed: after an error, or because the
/// caller went away in the middle of a statement, its state is not known.
pub(crate) struct Lease<'p> {
    pub(crate) db: Connection,
    identity: Option<Identity>,
    opened: SystemTime,
    pool: &'p Pool,
    _permit: SemaphorePermit<'p>,
    /// Of one of a crowd.
    crowded: Option<SemaphorePermit<'p>>,
}

/// Who has not got a connection by then is told so. A lock that somebody keeps may hold all of them for a minute.
const FREE: Duration = Duration::from_secs(30);
/// One in so many connections is not for a crowd.
const FOR_OTHERS: usize = 4;
/// A connection to a server that has waited for longer is asked whether it still works.
const TRUSTED: Duration = Duration::from_secs(1);

impl Pool {
    pub(crate) fn new(database: Database, clock: Clock, limits: Limits) -> Self {
        let open = limits.open.max(1);
        // Nobody waits for long for a file.
        let for_others = if database.dialect().is_server() { open / FOR_OTHERS } else { 0 };
        let (permits, crowd) = (Semaphore::new(open), Semaphore::new(open - for_others));
        Self { database, clock, limits, permits, crowd, idle: Mutex::default() }
    }

    /// A connection.
    pub(crate) async fn one(&self) -> Result<Lease<'_>, Error> {
        self.lend(None).await
    }

    async fn lend<'p>(&'p self, crowded: Option<SemaphorePermit<'p>>) -> Result<Lease<'p>, Error> {
        let permit = self.free(&self.permits).await?;
        let identity = self.database.identity();
        let now = self.clock.now();
        while let Some(Idle { mut db, identity, opened, since, .. }) = self.take_idle(identity, now, crowded.is_some())
        {
            let waited = now.duration_since(since).unwrap_or_default();
            if !db.dialect().is_server() || waited < TRUSTED || db.ping().await.is_ok() {
                return Ok(Lease { db, identity, opened, pool: self, _permit: permit, crowded });
            }
        }
        let db = self.database.read().await?;
        Ok(Lease { db, identity, opened: now, pool: self, _permit: permit, crowded })
    }

    /// A connection for one of many that may come all at once: they leave some to those of whom there are few, who have the
    /// next one that is free.
    pub(crate) async fn one_in_a_crowd(&self) -> Result<Lease<'_>, Error> {
        let crowded = self.free(&self.crowd).await?;
        self.lend(Some(crowded)).await
    }

    async fn free<'p>(&self, permits: &'p Semaphore) -> Result<SemaphorePermit<'p>, Error> {
        let none = || Error::Unavailable(format!("no connection to the database was free within {} s", FREE.as_secs()));
        let permit = self.clock.within(FREE, permits.acquire()).await.ok_or_else(none)?;
        permit.map_err(|_| Error::Closed)
    }

    /// A connection for several statements that see one state of the database.
    pub(crate) async fn snapshot(&self) -> Result<Lease<'_>, Error> {
        self.one().await?.in_a_snapshot().await
    }

    /// The same for one of many that may come all at once.
    pub(crate) async fn snapshot_in_a_crowd(&self) -> Result<Lease<'_>, Error> {
        self.one_in_a_crowd().await?.in_a_snapshot().await
    }

    /// Closes what is idle and lends nothing any more.
    pub(crate) async fn close(&self) {
        self.permits.close();
        self.crowd.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for Idle { db, .. } in idle {
            // Nothing is under way: there is nothing to lose.
            let _ = db.close().await;
        }
    }

    fn take_idle(&self, identity: Option<Identity>, now: SystemTime, crowded: bool) -> Option<Idle> {
        let Limits { lifetime, idle_time, .. } = self.limits;
        let is_over = |start: SystemTime, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.duration_since(start).is_ok_and(|passed| passed >= limit))
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections to a file that is no longer the one behind the path, and those whose time is over.
        idle.retain(|it| {
            !it.db.is_spoiled()
                && it.identity == identity
                && !is_over(it.opened, lifetime)
                && !is_over(it.since, idle_time)
        });
        let place = idle.iter().rposition(|it| it.crowded == crowded).or_else(|| idle.len().checked_sub(1))?;
        Some(idle.remove(place))
    }
}

impl Lease<'_> {
    async fn in_a_snapshot(mut self) -> Result<Self, Error> {
        self.db.begin_read().await?;
        Ok(self)
    }

    /// Ends what the connection was in, and hands it back.
    pub(crate) async fn done(mut self) -> Result<(), Error> {
        if self.db.is_in_transaction() {
            self.db.commit().await?;
        }
        let Self { db, identity, opened, pool, _permit, crowded } = self;
        let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !pool.permits.is_closed() && !db.is_spoiled() && idle.len() < pool.limits.idle {
            idle.push(Idle { db, identity, opened, since: pool.clock.now(), crowded: crowded.is_some() });
        }
        Ok(())
    }
}
