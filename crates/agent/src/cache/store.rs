//! The writer's side of the cache. Only the sync task has it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use steeple_spiffe::TrustDomain;
use steeple_spiffe::x509::{self, Certificate};
use steeple_transport::rpc::Class;
use tracing::{Level, debug, enabled, info, warn};

use super::measured::{self, Changes, Sizes};
use super::{Cache, CachedBundle, Entry, Selector, Selectors, Snapshot};

/// A workload's X.509-SVID.
#[derive(Debug)]
pub(crate) struct Svid {
    /// The chain, leaf first.
    pub chain: Vec<Certificate>,
    /// The chain, DER, one behind the other.
    pub chain_der: Bytes,
    /// The leaf's key, PKCS#8 DER; wiped when the last holder lets it go.
    pub key_pkcs8: Bytes,
    /// When to make the next one.
    pub renew_at: SystemTime,
    /// The content of the entry that it was made for.
    pub entry_digest: [u8; 32],
    /// The number of the last subscription that got it; 0 when it was made ahead.
    pub last_asked: AtomicU64,
}

impl Svid {
    fn ends_at(&self) -> SystemTime {
        self.chain.first().map_or(SystemTime::UNIX_EPOCH, Certificate::not_after)
    }
}

/// Everything that is known, and what follows from it.
pub(crate) struct Store {
    cache: Cache,
    /// `x509_svid_cache_max_size`: a soft limit, since what somebody waits on is always made.
    size: usize,
    entries: HashMap<Arc<str>, Arc<Entry>>,
    svids: HashMap<Arc<str>, Arc<Svid>>,
    bundles: HashMap<TrustDomain, Arc<CachedBundle>>,
    /// Entries whose SVID is being made.
    in_flight: HashSet<Arc<str>>,
    /// Entries whose SVID the server refused, and when to ask again.
    refused: HashMap<Arc<str>, SystemTime>,
    /// Entries whose SVID is below an authority that is tainted: a new one is due, and if none can be made, none is shown.
    tainted: HashSet<Arc<str>>,
    /// Entries whose SVID is not shown any more, and that have no other yet.
    withdrawn: HashSet<Arc<str>>,
    own_bundle_is_new: bool,
    /// When the first of the SVIDs ends.
    first_end: Option<SystemTime>,
    changed: bool,
    changes: Changes,
}

impl Store {
    pub(super) fn new(cache: Cache, size: usize) -> Self {
        Self {
            cache,
            size,
            entries: HashMap::new(),
            svids: HashMap::new(),
            bundles: HashMap::new(),
            in_flight: HashSet::new(),
            refused: HashMap::new(),
            tainted: HashSet::new(),
            withdrawn: HashSet::new(),
            own_bundle_is_new: false,
            first_end: None,
            changed: false,
            changes: Changes::default(),
        }
    }

    /// The readers' side.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Every entry's id and content digest, ids ascending in byte order.
    pub(crate) fn digests(&self) -> Vec<(&str, [u8; 32])> {
        let mut digests: Vec<_> = self.entries.values().map(|entry| (&*entry.id, entry.digest)).collect();
        digests.sort_unstable();
        digests
    }

    /// The entry with an id.
    pub(crate) fn entry(&self, id: &str) -> Option<&Arc<Entry>> {
        self.entries.get(id)
    }

    /// Trust domains that the entries federate with.
    pub(crate) fn federated_trust_domains(&self) -> HashSet<TrustDomain> {
        self.entries.values().flat_map(|entry| entry.federates_with.iter().cloned()).collect()
    }

    /// A new or changed entry. One that says the same as before changes nothing.
    pub(crate) fn put_entry(&mut self, entry: Entry) {
        let known = self.entries.get(&entry.id);
        if known.is_some_and(|known| known.digest == entry.digest) {
            return;
        }
        tell_entry(known.map(|known| &**known), &entry);
        *if known.is_some() { &mut self.changes.updated } else { &mut self.changes.added } += 1;
        if known.is_some_and(|known| known.spiffe_id != entry.spiffe_id) {
            // It is another identity's now.
            self.drop_svid(&entry.id);
            self.withdrawn.remove(&entry.id);
        }
        self.refused.remove(&entry.id);
        self.entries.insert(Arc::clone(&entry.id), Arc::new(entry));
        self.changed = true;
    }

    /// An entry that the agent may no longer have.
    pub(crate) fn remove_entry(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            debug!(target: "cache_manager", entry = %entry.id, spiffe_id = %entry.spiffe_id, "Entry removed");
            self.changes.removed += 1;
            self.drop_svid(id);
            self.refused.remove(id);
            self.withdrawn.remove(id);
        }
    }

    /// Removes every entry that is not among these.
    pub(crate) fn keep_entries(&mut self, ids: &HashSet<String>) {
        let lost: Vec<_> = self.entries.keys().filter(|id| !ids.contains(&***id)).cloned().collect();
        for id in lost {
            self.remove_entry(&id);
        }
    }

    /// A trust domain's bundle. Returns whether it is news.
    pub(crate) fn put_bundle(&mut self, bundle: CachedBundle) -> bool {
        let trust_domain = bundle.bundle.trust_domain.clone();
        let known = self.bundles.get(&trust_domain);
        if known.is_some_and(|known| known.bundle == bundle.bundle) {
            return false;
        }
        let message = if known.is_some() { "Bundle updated" } else { "Bundle added" };
        debug!(target: "cache_manager", trust_domain_id = %trust_domain, "{message}");
        self.own_bundle_is_new |= trust_domain == *self.cache.snapshot().trust_domain();
        self.bundles.insert(trust_domain, Arc::new(bundle));
        self.changed = true;
        true
    }

    /// The bundle of a federated trust domain is gone.
    pub(crate) fn remove_bundle(&mut self, trust_domain: &TrustDomain) {
        if self.bundles.remove(trust_domain).is_some() {
            debug!(target: "cache_manager", trust_domain_id = %trust_domain, "Bundle removed");
            self.changed = true;
        }
    }

    /// Removes every federated bundle that is not among these.
    pub(crate) fn keep_bundles(&mut self, trust_domains: &HashSet<TrustDomain>, own: &TrustDomain) {
        let is_lost = |known: &&TrustDomain| *known != own && !trust_domains.contains(*known);
        let lost: Vec<_> = self.bundles.keys().filter(is_lost).cloned().collect();
        lost.iter().for_each(|trust_domain| self.remove_bundle(trust_domain));
    }

    /// Entries whose SVID has to be made now, all of one class, the most urgent first; none is left when there are none. They
    /// count as being made until [`Store::minted`], [`Store::refused`] or [`Store::not_minted`] says otherwise.
    pub(crate) fn take_due(&mut self, now: SystemTime, most: usize) -> (Class, Vec<Arc<Entry>>) {
        self.refused.retain(|_, again_at| now < *again_at);
        let waited_on = self.cache.waited_on();
        let is_waited_on =
            |entry: &Entry| waited_on.iter().any(|selectors: &Selectors| selectors.contain(&entry.selectors));
        let mut room = self.size.saturating_sub(self.svids.len() + self.in_flight.len());
        let (mut new, mut due, mut early) = (Vec::new(), Vec::new(), Vec::new());
        let (mut expiring, mut outdated) = (0, 0);
        for entry in self.entries.values() {
            if entry.store_svid || self.in_flight.contains(&entry.id) || self.refused.contains_key(&entry.id) {
                continue;
            }
            let is_held = match self.svids.get(&entry.id) {
                Some(svid) if self.is_due(svid, entry, now) => {
                    *if svid.entry_digest == entry.digest { &mut expiring } else { &mut outdated } += 1;
                    true
                }
                Some(_) => continue,
                None => false,
            };
            if is_held {
                due.push(Arc::clone(entry));
            } else if is_waited_on(entry) {
                new.push(Arc::clone(entry));
            } else if entry.prefetch && room > 0 {
                // Made ahead, as far as there is room.
                room -= 1;
                early.push(Arc::clone(entry));
            }
        }
        // Who may lose what it has comes first among them.
        due.sort_by_key(|entry| !is_waited_on(entry));
        let all = [(Class::New, new), (Class::Due, due), (Class::Early, early)];
        let first = all.into_iter().find(|(_, entries)| !entries.is_empty());
        let (class, mut entries) = first.unwrap_or((Class::Early, Vec::new()));
        if matches!(class, Class::Due) {
            measured::due(expiring, outdated);
        }
        entries.truncate(most);
        self.in_flight.extend(entries.iter().map(|entry| Arc::clone(&entry.id)));
        (class, entries)
    }

    /// When the SVID ends that an entry has so far.
    pub(crate) fn svid_ends_at(&self, entry_id: &str) -> Option<SystemTime> {
        self.svids.get(entry_id).map(|svid| svid.ends_at())
    }

    fn is_due(&self, svid: &Svid, entry: &Entry, now: SystemTime) -> bool {
        now >= svid.renew_at || svid.entry_digest != entry.digest || self.tainted.contains(&entry.id)
    }

    /// An SVID was made. It is dropped if its entry has gone meanwhile.
    pub(crate) fn minted(&mut self, entry_id: &Arc<str>, svid: Svid) {
        self.in_flight.remove(entry_id);
        let Some(entry) = self.entries.get(entry_id) else { return };
        let asked = match self.svids.get(entry_id) {
            _ if self.cache.is_waited_on(&entry.selectors) => self.cache.askings(),
            Some(before) => before.last_asked.load(Ordering::Relaxed),
            None => 0,
        };
        svid.last_asked.store(asked, Ordering::Relaxed);
        self.first_end = Some(self.first_end.map_or(svid.ends_at(), |end| end.min(svid.ends_at())));
        self.tainted.remove(entry_id);
        self.withdrawn.remove(entry_id);
        self.svids.insert(Arc::clone(entry_id), Arc::new(svid));
        self.changed = true;
    }

    /// An SVID could not be made; it is due again.
    pub(crate) fn not_minted(&mut self, entry_id: &str) {
        self.in_flight.remove(entry_id);
        if self.tainted.contains(entry_id) {
            warn!(target: "cache_manager", entry = entry_id, "SVID of a tainted authority is withdrawn: there is no other yet");
            self.withdraw(entry_id);
        }
    }

    /// The server does not make an SVID for an entry; it is due again at that time, or when the entry changes.
    pub(crate) fn refused(&mut self, entry_id: &Arc<str>, again_at: SystemTime) {
        self.not_minted(entry_id);
        if self.entries.contains_key(entry_id) {
            self.refused.insert(Arc::clone(entry_id), again_at);
        }
    }

    fn withdraw(&mut self, entry_id: &str) {
        if let Some((id, _)) = self.svids.get_key_value(entry_id) {
            self.withdrawn.insert(Arc::clone(id));
        }
        self.drop_svid(entry_id);
    }

    /// What the server refused is due again.
    pub(crate) fn ask_again(&mut self) {
        self.refused.clear();
    }

    fn drop_svid(&mut self, entry_id: &str) {
        self.svids.remove(entry_id);
        self.tainted.remove(entry_id);
        self.changed = true;
    }

    /// When to look at the SVIDs next: one is due, apart from those that are being made, or ends.
    pub(crate) fn next_due(&self) -> Option<SystemTime> {
        let waits = |id: &Arc<str>| !self.in_flight.contains(id) && !self.refused.contains_key(id);
        let held = self.svids.iter().filter(|(id, _)| waits(id)).map(|(_, svid)| svid.renew_at);
        held.chain(self.refused.values().copied()).min()
    }

    /// When the first of the SVIDs ends.
    pub(crate) fn first_end(&self) -> Option<SystemTime> {
        self.first_end
    }

    /// What time alone, or news of an authority, does to the SVIDs.
    fn age(&mut self, now: SystemTime) {
        if std::mem::take(&mut self.own_bundle_is_new) {
            self.mark_tainted(now);
        }
        if self.first_end.is_none_or(|end| now < end) {
            return;
        }
        let ended: Vec<_> =
            self.svids.iter().filter(|(_, svid)| now >= svid.ends_at()).map(|(id, _)| Arc::clone(id)).collect();
        for id in ended {
            warn!(target: "cache_manager", entry = %id, "SVID ended before it could be renewed");
            self.withdraw(&id);
        }
        self.first_end = self.svids.values().map(|svid| svid.ends_at()).min();
    }

    fn mark_tainted(&mut self, now: SystemTime) {
        let Some(own) = self.bundles.get(self.cache.snapshot().trust_domain()) else { return };
        let tainted = own.tainted();
        if tainted.is_empty() {
            return;
        }
        let began = Instant::now();
        let is_below = |svid: &Svid| x509::verify_chain(&svid.chain, &tainted, now).is_ok();
        let marked: Vec<_> =
            self.svids.iter().filter(|(_, svid)| is_below(svid)).map(|(id, _)| Arc::clone(id)).collect();
        let before = self.tainted.len();
        self.tainted.extend(marked);
        let tainted_x509_svids = self.tainted.len() - before;
        if tainted_x509_svids > 0 {
            measured::tainted(tainted_x509_svids, began);
            debug!(
                target: "cache_manager",
                count = tainted_x509_svids,
                "Scheduled rotation for SVID entries due to tainted X.509 authorities"
            );
            info!(target: "cache_manager", tainted_x509_svids, "Tainted X.509 SVIDs");
            info!(target: "cache_manager", "Finished processing all tainted entries");
        }
    }

    /// Shows the readers what has changed since the last time.
    pub(crate) fn publish(&mut self, now: SystemTime) {
        self.age(now);
        if !std::mem::take(&mut self.changed) {
            return;
        }
        self.evict();
        self.changes.tell(&Sizes {
            entries: self.entries.len(),
            svids: self.svids.len(),
            bundles: self.bundles.len(),
            first_end: self.svids.values().map(|svid| svid.ends_at()).min(),
        });
        let mut by_selector: HashMap<Selector, Vec<Arc<Entry>>> = HashMap::new();
        for entry in self.entries.values().filter(|entry| !entry.store_svid) {
            if let Some(first) = entry.selectors.iter().next() {
                by_selector.entry(first.clone()).or_default().push(Arc::clone(entry));
            }
        }
        self.cache.publish(Snapshot {
            trust_domain: self.cache.snapshot().trust_domain().clone(),
            by_selector,
            svids: self.svids.clone(),
            withdrawn: self.withdrawn.clone(),
            bundles: self.bundles.clone(),
        });
    }

    /// Lets go of SVIDs that nobody waits on, those first that were asked for longest ago, while there are more than the
    /// limit.
    fn evict(&mut self) {
        let surplus = self.svids.len().saturating_sub(self.size);
        if surplus == 0 {
            return;
        }
        let waited_on = self.cache.waited_on();
        let is_idle = |id: &Arc<str>| {
            let entry = self.entries.get(id);
            entry.is_none_or(|entry| !waited_on.iter().any(|selectors| selectors.contain(&entry.selectors)))
        };
        let age = |svid: &Svid| (svid.last_asked.load(Ordering::Relaxed), svid.renew_at);
        let idle = self.svids.iter().filter(|(id, _)| is_idle(id));
        let mut idle: Vec<_> = idle.map(|(id, svid)| (age(svid), Arc::clone(id))).collect();
        idle.sort();
        for (_, id) in idle.into_iter().take(surplus) {
            self.drop_svid(&id);
        }
    }
}

/// Logs an entry that is new, or is another than the one that was known.
fn tell_entry(known: Option<&Entry>, entry: &Entry) {
    if !enabled!(target: "cache_manager", Level::DEBUG) {
        return;
    }
    let selectors: HashSet<_> = entry.selectors.iter().collect();
    let had: HashSet<_> = known.into_iter().flat_map(|known| known.selectors.iter()).collect();
    let federates: HashSet<_> = entry.federates_with.iter().collect();
    let federated: HashSet<_> = known.into_iter().flat_map(|known| &known.federates_with).collect();
    let some = |count: usize| (count > 0).then_some(count);
    let message = if known.is_some() { "Entry updated" } else { "Entry created" };
    debug!(
        target: "cache_manager",
        entry = %entry.id,
        spiffe_id = %entry.spiffe_id,
        selectors_added = some(selectors.difference(&had).count()),
        selectors_removed = some(had.difference(&selectors).count()),
        fed_add = some(federates.difference(&federated).count()),
        fed_rem = some(federated.difference(&federates).count()),
        "{message}"
    );
}
