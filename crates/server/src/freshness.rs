//! How long what the server knows goes on to count while its database cannot be read.
//!
//! Workloads must not stand still because a database does, so that signing, sync and bundles go on from memory. But a ban
//! or a deletion that other servers have written meanwhile is not known here, and must not stay unknown for ever.

use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use steeple_config::duration::printed;
use steeple_datastore::{Error, FeedStatus};
use steeple_runtime::{Clock, Shutdown, jitter};
use steeple_transport::status::unavailable;
use tokio::sync::watch;
use tonic::Status;
use tracing::{error, info};

/// `experimental.steeple.max_staleness` unless the file says something else.
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(60 * 60);
/// A database that has not been read for so long is away. The feed reads it each second.
const AWAY: Duration = Duration::from_secs(5);
/// How long it is waited for then.
const PATIENCE: Duration = Duration::from_secs(2);
/// A machine that slept has read nothing meanwhile: the feed gets so long to find its database again.
const GRACE: Duration = Duration::from_secs(3);
/// When who was refused may ask again.
const RETRY: Duration = Duration::from_secs(5);

/// Knows when the database was last read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Freshness {
    feed: watch::Receiver<FeedStatus>,
    clock: Clock,
    max: Duration,
}

impl Freshness {
    /// Of what this feed has read; `max` is how old it may be.
    pub fn new(feed: watch::Receiver<FeedStatus>, clock: Clock, max: Duration) -> Self {
        Self { feed, clock, max }
    }

    /// Whether what is known may be acted on.
    ///
    /// # Errors
    /// UNAVAILABLE with a retry delay.
    pub fn check(&self) -> Result<(), Status> {
        if self.age() <= self.max {
            return Ok(());
        }
        let message = format!("the server's database could not be read for more than {}", printed(self.max));
        Err(come_again(&message))
    }

    /// Whether the database seems to be away.
    pub fn is_away(&self) -> bool {
        self.age() > AWAY
    }

    /// Asks the database, and does not wait for long if it seems to be away. It may only seem so: to a machine that slept.
    ///
    /// On the heap, as the next one, since what it takes to ask is not to be part of every call.
    pub(crate) async fn ask<T>(&self, work: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
        if self.is_away() { self.ask_within(PATIENCE, work).await } else { work.await }
    }

    /// Asks the database, which must answer within `limit`.
    pub(crate) async fn ask_within<T>(
        &self,
        limit: Duration,
        work: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || Err(Error::Unavailable("the database is away".to_owned()));
        self.clock.within(limit, work).await.unwrap_or_else(late)
    }

    /// Returns when [`Freshness::check`] fails, and not only for a moment.
    pub async fn over(&self) {
        loop {
            self.clock.sleep_until(self.confirmed_at() + self.max).await;
            if self.age() > self.max {
                self.clock.sleep(GRACE).await;
                if self.age() > self.max {
                    return;
                }
            }
        }
    }

    /// Says when it is over, and when it is not any more, until it is told to stop.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn watch(self, shutdown: Shutdown) -> Result<(), Error> {
        let mut feed = self.feed.clone();
        while shutdown.unless_stopped(self.over()).await.is_some() {
            error!(
                target: "feed",
                max_staleness = printed(self.max),
                "Database could not be read for too long; agents get nothing more until it can be"
            );
            let again = feed.wait_for(|_| self.age() <= self.max);
            if shutdown.unless_stopped(again).await.is_none_or(|again| again.is_err()) {
                break;
            }
            info!(target: "feed", "Database is read again; agents get everything again");
        }
        Ok(())
    }

    fn confirmed_at(&self) -> SystemTime {
        // Nobody asks before the first snapshot.
        self.feed.borrow().confirmed_at.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// A clock that went back makes nothing older.
    fn age(&self) -> Duration {
        self.clock.now().duration_since(self.confirmed_at()).unwrap_or_default()
    }
}

/// UNAVAILABLE, because of the database, with the delay after which to ask again: not the same one for all.
pub(crate) fn come_again(message: &str) -> Status {
    unavailable(message, jitter(RETRY))
}

#[cfg(test)]
mod tests {
    use steeple_transport::status::retry_delay;
    use tonic::Code;

    use super::*;
    use crate::tests::{HOUR, manual};

    #[tokio::test]
    async fn what_is_known_counts_until_it_is_too_old_and_again_when_it_has_been_read() {
        let manual = manual();
        let feed = watch::Sender::new(FeedStatus { confirmed_at: Some(manual.now()), ..FeedStatus::default() });
        let freshness = Freshness::new(feed.subscribe(), manual.clock(), HOUR);
        assert!(freshness.check().is_ok() && !freshness.is_away());
        manual.advance(HOUR);
        assert!(freshness.check().is_ok() && freshness.is_away());
        manual.advance(Duration::from_secs(1));
        let refused = freshness.check().unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(refused.message(), "the server's database could not be read for more than 1h0m0s");
        assert!(retry_delay(&refused).is_some());
        feed.send_modify(|status| status.confirmed_at = Some(manual.now()));
        assert!(freshness.check().is_ok());
    }

    #[tokio::test]
    async fn it_is_not_over_when_the_database_is_read_a_moment_after_the_machine_slept() {
        let manual = manual();
        let feed = watch::Sender::new(FeedStatus { confirmed_at: Some(manual.now()), ..FeedStatus::default() });
        let freshness = Freshness::new(feed.subscribe(), manual.clock(), HOUR);
        let over = tokio::spawn({
            let freshness = freshness.clone();
            async move { freshness.over().await }
        });
        manual.wake(HOUR..=HOUR + Duration::from_secs(1)).await;
        manual.advance(Duration::from_millis(1));
        manual.until_somebody_sleeps(..=GRACE).await;
        feed.send_modify(|status| status.confirmed_at = Some(manual.now()));
        manual.wake(..=GRACE).await;
        // It waits for the next hour, and then the grace.
        manual.until_somebody_sleeps(HOUR - GRACE..).await;
        assert!(!over.is_finished());
        manual.advance(HOUR + GRACE);
        manual.wake(..=GRACE).await;
        over.await.unwrap();
    }
}
