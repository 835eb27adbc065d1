//! What the agent knows: entries, bundles and SVIDs. The sync task alone writes ([`Store`]); everybody else reads
//! immutable snapshots, and waits on one channel for each set of selectors ([`Cache::subscribe`]).

mod bundle;
mod entry;
mod measured;
mod store;
mod update;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use steeple_spiffe::{Bundle, BundleSource, TrustDomain};
use tokio::sync::{Notify, watch};

pub(crate) use bundle::CachedBundle;
pub(crate) use entry::{BadEntry, Entry, Selector, Selectors};
pub(crate) use store::{Store, Svid};
pub(crate) use update::Update;
pub(crate) use update::without_duplicate_hints;

/// The readers' side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cache(Arc<Shared>);

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// By selector set. A channel without receivers is dropped at the next publication.
    subscriptions: Mutex<HashMap<Selectors, watch::Sender<Arc<Update>>>>,
    /// Tells the writer that somebody asks for something new.
    asked: Notify,
    /// Counts subscriptions, so that the SVID that was asked for longest ago is found.
    askings: AtomicU64,
    synced_at: Mutex<SyncedAt>,
}

/// When the cache was as new as the server last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncedAt {
    /// Not yet.
    Never,
    /// Then.
    Once(SystemTime),
    /// Now, as long as the server tells of each change.
    AllTheTime,
}

/// All that is known at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    trust_domain: TrustDomain,
    /// Entries by the first of their selectors: a process that lacks that one cannot have the entry.
    by_selector: HashMap<Selector, Vec<Arc<Entry>>>,
    svids: HashMap<Arc<str>, Arc<Svid>>,
    /// Entries whose SVID has ended, or is of a tainted authority, while there is no other.
    withdrawn: HashSet<Arc<str>>,
    bundles: HashMap<TrustDomain, Arc<CachedBundle>>,
}

/// One reader's view of the updates for a set of selectors.
pub(crate) struct Subscription {
    updates: watch::Receiver<Arc<Update>>,
}

impl Cache {
    /// Nothing known yet. The second value is the one writer.
    pub(crate) fn new(trust_domain: TrustDomain, size: usize) -> (Self, Store) {
        let snapshot = Snapshot {
            trust_domain,
            by_selector: HashMap::new(),
            svids: HashMap::new(),
            withdrawn: HashSet::new(),
            bundles: HashMap::new(),
        };
        let cache = Self(Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            subscriptions: Mutex::default(),
            asked: Notify::new(),
            askings: AtomicU64::default(),
            synced_at: Mutex::new(SyncedAt::Never),
        }));
        (cache.clone(), Store::new(cache, size))
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// When it was as new as the server last.
    pub(crate) fn synced_at(&self) -> SyncedAt {
        *self.0.synced_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the one writer.
    pub(crate) fn set_synced_at(&self, at: SyncedAt) {
        *self.0.synced_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// The identities of a process with these selectors, now and at each change.
    pub(crate) fn subscribe(&self, selectors: Selectors) -> Subscription {
        let asking = self.0.askings.fetch_add(1, Ordering::Relaxed) + 1;
        let mut subscriptions = self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(updates) = subscriptions.get(&selectors) {
            updates.borrow().was_asked_for(asking);
            return Subscription { updates: updates.subscribe() };
        }
        // Under the lock, so that no publication falls between the look and the entry.
        let first = Arc::new(Update::of(&self.snapshot(), &selectors));
        first.was_asked_for(asking);
        if subscriptions.len() == subscriptions.capacity() {
            // Before the table grows: a program that runs under one path after the other has ever new selectors.
            subscriptions.retain(|_, updates| updates.receiver_count() > 0);
        }
        let (updates, subscription) = watch::channel(first);
        subscriptions.insert(selectors, updates);
        drop(subscriptions);
        self.0.asked.notify_one();
        Subscription { updates: subscription }
    }

    /// Completes when somebody has asked for selectors that nobody asked for before.
    pub(crate) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// How many subscriptions there have been.
    fn askings(&self) -> u64 {
        self.0.askings.load(Ordering::Relaxed)
    }

    /// Whether somebody waits on an entry with these selectors.
    fn is_waited_on(&self, entry: &Selectors) -> bool {
        let subscriptions = self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.iter().any(|(selectors, updates)| updates.receiver_count() > 0 && selectors.contain(entry))
    }

    /// Selector sets that somebody waits on.
    fn waited_on(&self) -> Vec<Selectors> {
        let subscriptions = self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.iter().filter(|(_, updates)| updates.receiver_count() > 0).map(|(set, _)| set.clone()).collect()
    }

    /// Shows a new snapshot, and each waiting reader what it changes for it.
    fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let mut subscriptions = self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.snapshot.store(Arc::clone(&snapshot));
        subscriptions.retain(|selectors, updates| {
            if updates.receiver_count() == 0 {
                return false;
            }
            let new = Update::of(&snapshot, selectors);
            updates.send_if_modified(|current| {
                let changed = !current.says_the_same_as(&new);
                if changed {
                    *current = Arc::new(new);
                }
                changed
            });
            true
        });
    }
}

impl Subscription {
    /// The latest update; later ones count as changes.
    pub(crate) fn latest(&mut self) -> Arc<Update> {
        Arc::clone(&self.updates.borrow_and_update())
    }

    /// Waits for an update that has not been looked at.
    pub(crate) async fn changed(&mut self) {
        // The sender lives in the cache while anybody waits; without it there is nothing more to come.
        if self.updates.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Snapshot {
    /// How many SVIDs there are.
    pub(crate) fn svids(&self) -> usize {
        self.svids.len()
    }

    /// The entries for a process with these selectors, by id.
    pub(crate) fn matching(&self, selectors: &Selectors) -> Vec<Arc<Entry>> {
        let candidates = selectors.iter().filter_map(|selector| self.by_selector.get(selector)).flatten();
        let mut found: Vec<_> = candidates.filter(|entry| selectors.contain(&entry.selectors)).cloned().collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// A trust domain's bundle.
    pub(crate) fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Arc<CachedBundle>> {
        self.bundles.get(trust_domain)
    }

    /// The own trust domain's bundle.
    pub(crate) fn own_bundle(&self) -> Option<&Arc<CachedBundle>> {
        self.bundles.get(&self.trust_domain)
    }

    /// The own trust domain.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
}

/// The bundles that one caller may verify with.
pub(crate) struct VisibleBundles<'a> {
    /// What is known.
    pub snapshot: &'a Snapshot,
    /// The trust domains that count.
    pub trust_domains: Vec<TrustDomain>,
}

impl BundleSource for VisibleBundles<'_> {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        let visible = self.trust_domains.contains(trust_domain);
        self.snapshot.bundle(trust_domain).filter(|_| visible).map(|cached| Arc::clone(&cached.bundle))
    }
}

#[cfg(test)]
mod tests;
