//! What is over is removed: entries, join tokens, agents, authorities, events.

use std::time::Duration;

use steeple_config::duration::Duration as GoDuration;
use steeple_datastore::bundles::PruneBundle;
use steeple_datastore::entries::PruneEntries;
use steeple_datastore::events::{PruneEntryEvents, PruneNodeEvents};
use steeple_datastore::join_tokens::PruneJoinTokens;
use steeple_datastore::journals::PruneCaJournals;
use steeple_datastore::nodes::PruneNodes;
use steeple_datastore::{DataStore, Error};
use steeple_runtime::metrics::measure;
use steeple_runtime::{Clock, Shutdown, spread};
use steeple_spiffe::TrustDomain;
use tracing::{debug, error, info};

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

/// Agents are looked for about once an hour. Which time it is exactly each server draws for itself, so that those of one
/// database do not all come at once.
const NODES_EVERY: Duration = HOUR;
const NODES_SPREAD: Duration = MINUTE.saturating_mul(15);

/// Which agents are forgotten. Banned ones never are: that would end the ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePruning {
    /// `prune_attested_nodes_expired_for`: how long the SVID in use has been over.
    pub expired_for: Duration,
    /// `prune_tofu_nodes`: also those that cannot attest again while they are known.
    pub include_tofu: bool,
    /// `prune_attested_nodes_batch_size`: the most that go at once.
    pub batch: u32,
}

impl NodePruning {
    /// The most that go at once unless the configuration says something else.
    pub const BATCH: u32 = 1000;
}

/// Removes what is over.
pub(crate) struct Pruning {
    store: DataStore,
    trust_domain: TrustDomain,
    clock: Clock,
    /// `prune_events_older_than`
    events_older_than: Duration,
    nodes: Option<NodePruning>,
}

impl Pruning {
    /// Of one server's database.
    pub(crate) fn new(
        store: DataStore,
        trust_domain: TrustDomain,
        clock: Clock,
        events_older_than: Duration,
        nodes: Option<NodePruning>,
    ) -> Self {
        Self { store, trust_domain, clock, events_older_than, nodes }
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
            self.nodes_until(&shutdown),
        );
        debug!(target: "endpoints", "Stopping event pruner");
        Ok(())
    }

    async fn nodes_until(&self, shutdown: &Shutdown) {
        let Some(pruning) = self.nodes else { return };
        let interval = spread(NODES_EVERY, NODES_SPREAD);
        info!(
            target: "node_manager",
            expired_for = %told(pruning.expired_for),
            include_tofu = pruning.include_tofu,
            retry_interval = %told(interval),
            "Periodic prune of expired nodes started"
        );
        Every { interval, clock: &self.clock, shutdown }.run(|| self.nodes(pruning)).await;
    }

    async fn nodes(&self, pruning: NodePruning) -> Result<(), Error> {
        let NodePruning { expired_for, include_tofu, batch } = pruning;
        let expired_for = i64::try_from(expired_for.as_secs()).unwrap_or(i64::MAX);
        let prune = PruneNodes {
            expires_before: self.clock.unix_seconds().saturating_sub(expired_for),
            include_non_reattestable: include_tofu,
            limit: batch,
        };
        match measure("node.manager.prune", self.store.write(prune)).await {
            Ok(pruned) => {
                for spiffe_id in pruned {
                    info!(target: "node_manager", spiffe_id, "Pruned an expired agent");
                }
            }
            Err(error) => {
                error!(target: "node_manager", error = %error, "Failed during periodic pruning of expired nodes");
            }
        }
        Ok(())
    }

    async fn entries(&self) -> Result<(), Error> {
        let now = self.clock.unix_seconds();
        loop {
            let prune = self.store.write(PruneEntries { expires_before: now });
            let pruned = measure("registration_entry.manager.prune", prune).await?;
            if pruned.is_empty() {
                break;
            }
            for entry in pruned {
                info!(
                    target: "registration_manager",
                    entry_id = entry.entry_id,
                    spiffe_id = entry.spiffe_id,
                    parent_id = entry.parent_id,
                    "Pruned an expired registration"
                );
            }
        }
        self.store.write(PruneJoinTokens { expires_before: now }).await.map(drop)
    }

    /// Authorities whose end is long past.
    pub(crate) async fn bundle(&self) -> Result<(), Error> {
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
        while self.store.write(PruneEntryEvents { created_before }).await? > 0 {}
        while self.store.write(PruneNodeEvents { created_before }).await? > 0 {}
        Ok(())
    }
}

/// A length as Go prints it, in whole seconds.
fn told(length: Duration) -> GoDuration {
    GoDuration::from_secs(i64::try_from(length.as_secs()).unwrap_or(i64::MAX))
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
            // However much there is, a server that stops leaves it to the next one.
            match self.shutdown.unless_stopped(prune()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => error!(target: "registration_manager", error = %error, "Failed to prune"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use prost::Message;
    use steeple_datastore::bundles::CreateBundle;
    use steeple_datastore::entries::{CreateEntries, CreateEntry, EntryFilter};
    use steeple_datastore::join_tokens::{CreateJoinToken, JoinToken};
    use steeple_datastore::journals::{CaJournal, SetCaJournal};
    use steeple_datastore::nodes::{AttestNode, NodeFilter, UpdateNode};
    use steeple_datastore::{Bundle, Entry, Page, Selector};
    use steeple_proto::journal::{Entries, X509caEntry};
    use steeple_proto::spire::common::{Certificate, PublicKey};
    use steeple_testkit::{Ca, ManualClock};

    use super::*;
    use crate::tests::{manual, store};

    fn pruning(store: &DataStore, manual: &ManualClock, nodes: NodePruning) -> Pruning {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        Pruning::new(store.clone(), trust_domain, manual.clock(), crate::tests::DAY, Some(nodes))
    }

    async fn attest(store: &DataStore, name: &str, expires_at: i64, can_reattest: bool) {
        let node = AttestNode {
            spiffe_id: name.to_owned(),
            attestation_type: "x509pop".to_owned(),
            serial: "1".to_owned(),
            expires_at,
            can_reattest,
            selectors: Vec::new(),
        };
        store.write(node).await.unwrap();
    }

    async fn names(store: &DataStore) -> Vec<String> {
        let all = store.list_nodes(&NodeFilter::default(), &Page::default(), false).await.unwrap();
        all.rows.into_iter().map(|node| node.spiffe_id).collect()
    }

    #[tokio::test]
    async fn agents_that_are_long_over_are_forgotten_about_once_an_hour() {
        let manual = manual();
        let (store, _dir) = store(&manual).await;
        let now = manual.clock().unix_seconds();
        for (name, ended, can_reattest) in
            [("long", 7200, true), ("tofu", 7200, false), ("banned", 7200, true), ("just", 0, true)]
        {
            attest(&store, name, now - ended, can_reattest).await;
        }
        let serial = Some(String::new());
        store.write(UpdateNode { spiffe_id: "banned".into(), serial, ..UpdateNode::default() }).await.unwrap();

        let mut feed = store.feed();
        feed.snapshot().await.unwrap();
        let nodes = NodePruning { expired_for: 2 * HOUR, include_tofu: false, batch: 1000 };
        let shutdown = Shutdown::new();
        let running = tokio::spawn(pruning(&store, &manual, nodes).run(shutdown.clone()));
        manual.wake(HOUR - NODES_SPREAD..=HOUR + NODES_SPREAD).await;
        feed.next().await.unwrap();
        assert_eq!(names(&store).await, ["tofu", "banned", "just"]);
        shutdown.stop();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn all_entries_that_are_over_go_however_many() {
        let manual = manual();
        let (store, _dir) = store(&manual).await;
        let over = |i| Entry {
            spiffe_id: format!("spiffe://example.org/{i}"),
            parent_id: "spiffe://example.org/agent".to_owned(),
            selectors: vec![Selector::new("unix", "uid:1")],
            expires_at: 1,
            ..Entry::default()
        };
        store.write(CreateEntries { entries: (0..1_100).map(over).collect() }).await.unwrap();
        let nodes = NodePruning { expired_for: HOUR, include_tofu: false, batch: 1 };
        let pruning = pruning(&store, &manual, nodes);
        pruning.entries().await.unwrap();
        assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_cannot_attest_again_goes_if_asked_for_and_no_more_at_once_than_the_batch() {
        let manual = manual();
        let (store, _dir) = store(&manual).await;
        for name in ["a", "b", "c"] {
            attest(&store, name, 1, false).await;
        }
        let nodes = NodePruning { expired_for: HOUR, include_tofu: true, batch: 2 };
        let pruning = pruning(&store, &manual, nodes);
        pruning.nodes(nodes).await.unwrap();
        assert_eq!(names(&store).await, ["c"]);
        pruning.nodes(nodes).await.unwrap();
        assert!(names(&store).await.is_empty());
    }

    /// One of each kind that is over, and one that is not.
    async fn fill(store: &DataStore, now: SystemTime) {
        let at = steeple_runtime::clock::unix_seconds;
        for (name, end) in [("over", at(now) - 1), ("good", at(now) + 10 * DAY)] {
            let entry = Entry {
                entry_id: name.to_owned(),
                spiffe_id: format!("spiffe://example.org/{name}"),
                parent_id: "spiffe://example.org/agent".to_owned(),
                selectors: vec![Selector::new("a", "b")],
                expires_at: end,
                ..Entry::default()
            };
            store.write(CreateEntry { entry }).await.unwrap();
            let token = JoinToken { token: name.to_owned(), expires_at: end };
            store.write(CreateJoinToken { token, entry: None }).await.unwrap();
        }
        for (active, ended) in [("over", 15 * DAY), ("good", 13 * DAY)] {
            let x509_c_as = vec![X509caEntry { not_after: at(now) - ended, ..X509caEntry::default() }];
            let data = Entries { x509_c_as, ..Entries::default() }.encode_to_vec();
            let journal = CaJournal { id: 0, data, active_x509_authority_id: active.to_owned() };
            store.write(SetCaJournal(journal)).await.unwrap();
        }
        // Good for a year.
        let made = [now - HOUR * 24 * 400, now].map(|made| Ca::new("example.org", made));
        let root_cas = made.iter().map(|ca| Certificate { der_bytes: ca.root().der().to_vec(), tainted_key: false });
        let bundle = Bundle {
            trust_domain_id: "spiffe://example.org".to_owned(),
            root_cas: root_cas.collect(),
            jwt_signing_keys: vec![PublicKey { not_after: at(now) + 10 * DAY, ..PublicKey::default() }],
            ..Bundle::default()
        };
        store.write(CreateBundle(bundle)).await.unwrap();
    }

    /// What is left of each kind: entries, tokens, authorities, journals.
    async fn left(store: &DataStore) -> [usize; 4] {
        let entries = store.list_entries(&EntryFilter::default(), &Page::default()).await.unwrap().rows.len();
        let (mut tokens, mut journals) = (0, 0);
        for name in ["over", "good"] {
            tokens += usize::from(store.fetch_join_token(name).await.unwrap().is_some());
            journals += usize::from(store.fetch_ca_journal(name).await.unwrap().is_some());
        }
        let authorities = store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap().root_cas.len();
        [entries, tokens, authorities, journals]
    }

    #[tokio::test]
    async fn each_kind_of_what_is_over_goes_at_its_own_time() {
        let manual = manual();
        let (store, _dir) = store(&manual).await;
        fill(&store, manual.now()).await;
        let events_every = HOUR * 50;
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let pruning = Pruning::new(store.clone(), trust_domain, manual.clock(), events_every * 2, None);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(pruning.run(shutdown.clone()));
        // Each sleeps for its whole interval again when it is done.
        manual.until_somebody_sleeps(JOURNALS_EVERY..=JOURNALS_EVERY).await;
        assert_eq!(left(&store).await, [2, 2, 2, 2]);
        manual.advance(ENTRIES_EVERY);
        manual.until_somebody_sleeps(ENTRIES_EVERY..=ENTRIES_EVERY).await;
        assert_eq!(left(&store).await, [1, 1, 2, 2]);
        manual.advance(BUNDLE_EVERY - ENTRIES_EVERY);
        manual.until_somebody_sleeps(BUNDLE_EVERY..=BUNDLE_EVERY).await;
        assert_eq!(left(&store).await, [1, 1, 1, 2]);
        manual.advance(JOURNALS_EVERY - BUNDLE_EVERY);
        manual.until_somebody_sleeps(JOURNALS_EVERY..=JOURNALS_EVERY).await;
        assert_eq!(left(&store).await, [1, 1, 1, 1]);
        for interval in [events_every - JOURNALS_EVERY, events_every, events_every] {
            manual.advance(interval);
            manual.until_somebody_sleeps(events_every..=events_every).await;
        }
        let more = store.write(PruneEntryEvents { created_before: manual.now() }).await.unwrap();
        assert_eq!(more, 0, "two were created and one pruned: the newest is left");
        shutdown.stop();
        running.await.unwrap().unwrap();
    }
}
