//! What is over is removed: entries, join tokens, authorities, events.

use std::time::Duration;

use steeple_datastore::bundles::PruneBundle;
use steeple_datastore::entries::PruneEntries;
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::join_tokens::PruneJoinTokens;
use steeple_datastore::journals::PruneCaJournals;
use steeple_datastore::{DataStore, Error};
use steeple_runtime::metrics::measure;
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::TrustDomain;
use tracing::{error, info};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = MINUTE.saturating_mul(60);
const DAY: i64 = 24 * 60 * 60;

/// Entries and join tokens, by their own expiry.
const ENTRIES_EVERY: Duration = MINUTE.saturating_mul(5);
/// Authorities of the own bundle, a day after their end: what they signed is over by then, whatever the clocks say.
const BUNDLE_EVERY: Duration = HOUR.saturating_mul(6);
const BUNDLE_AFTER: i64 = DAY;
/// Journals of servers that are gone, two weeks after their last authority's end.
const JOURNALS_EVERY: Duration = HOUR.saturating_mul(8);
const JOURNALS_AFTER: i64 = 14 * DAY;

/// Removes what is over.
pub(crate) struct Pruning {
    store: DataStore,
    trust_domain: TrustDomain,
    clock: Clock,
    /// `prune_events_older_than`
    events_older_than: Duration,
}

impl Pruning {
    /// Of one server's database.
    pub(crate) fn new(store: DataStore, trust_domain: TrustDomain, clock: Clock, events_older_than: Duration) -> Self {
        Self { store, trust_domain, clock, events_older_than }
    }

    /// Removes until it is told to stop.
    ///
    /// # Errors
    /// None: what fails is logged and tried again at its next time.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let every = |interval| Every { interval, clock: &self.clock, shutdown: &shutdown };
        tokio::join!(
            every(ENTRIES_EVERY).run(|| self.entries()),
            every(BUNDLE_EVERY).run(|| self.bundle()),
            every(JOURNALS_EVERY).run(|| self.journals()),
            every((self.events_older_than / 2).max(MINUTE)).run(|| self.events()),
        );
        Ok(())
    }

    async fn entries(&self) -> Result<(), Error> {
        let now = self.clock.unix_seconds();
        let pruned =
            measure("registration_entry.manager.prune", self.store.write(PruneEntries { expires_before: now })).await?;
        for entry in pruned {
            info!(
                target: "registration_manager",
                entry_id = entry.entry_id,
                spiffe_id = entry.spiffe_id,
                parent_id = entry.parent_id,
                "Pruned an expired registration"
            );
        }
        self.store.write(PruneJoinTokens { expires_before: now }).await.map(drop)
    }

    async fn bundle(&self) -> Result<(), Error> {
        let prune = PruneBundle {
            trust_domain: self.trust_domain.id().to_string(),
            expired_by: self.clock.unix_seconds() - BUNDLE_AFTER,
        };
        let changed = measure("ca.manager.bundle.prune", self.store.write(prune)).await?;
        if changed {
            steeple_runtime::metrics::count("ca.manager.bundle.pruned");
            info!(target: "ca_manager", "Expired authorities were successfully pruned from bundle");
        }
        Ok(())
    }

    async fn journals(&self) -> Result<(), Error> {
        let prune = PruneCaJournals { expired_by: self.clock.unix_seconds() - JOURNALS_AFTER };
        measure("ca.manager.bundle.prune", self.store.write(prune)).await.map(drop)
    }

    async fn events(&self) -> Result<(), Error> {
        let created_before = self.clock.now() - self.events_older_than;
        self.store.write(PruneEntryEvents { created_before }).await?;
        self.store.write(PruneNodeEvents { created_before }).await.map(drop)
    }
}

/// One kind of removal, again and again.
struct Every<'a> {
    interval: Duration,
    clock: &'a Clock,
    shutdown: &'a Shutdown,
}

impl Every<'_> {
    async fn run<F: Future<Output = Result<(), Error>>>(self, mut prune: impl FnMut() -> F) {
        while self.shutdown.unless_stopped(self.clock.sleep(self.interval)).await.is_some() {
            if let Err(error) = prune().await {
                error!(target: "registration_manager", error = %error, "Failed to prune");
            }
        }
    }
}
