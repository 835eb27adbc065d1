//! What a process with certain selectors is told.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use steeple_proto::workload::{X509svid, X509svidResponse};
use steeple_spiffe::TrustDomain;

use super::{CachedBundle, Entry, Selectors, Snapshot, Svid};

/// One identity that a process has, and its SVID as soon as there is one.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Why it has it.
    pub entry: Arc<Entry>,
    /// What it shows.
    pub svid: Option<Arc<Svid>>,
    /// Whether it had an SVID that is withdrawn, and when the next one comes is not known.
    pub is_withdrawn: bool,
}

/// All identities of a process, and the bundles that go with them.
#[derive(Debug)]
pub(crate) struct Update {
    /// By entry id: the first is the default one.
    pub identities: Vec<Identity>,
    /// The own trust domain's.
    pub own: Option<Arc<CachedBundle>>,
    /// Those that the identities federate with, as far as they are known.
    pub federated: Vec<(TrustDomain, Arc<CachedBundle>)>,
    /// Made for the first who needs it, shared by all others.
    x509_response: OnceLock<X509svidResponse>,
}

impl Update {
    pub(super) fn of(snapshot: &Snapshot, selectors: &Selectors) -> Self {
        let identities: Vec<_> = snapshot
            .matching(selectors)
            .into_iter()
            .map(|entry| Identity {
                svid: snapshot.svids.get(&entry.id).cloned(),
                is_withdrawn: snapshot.withdrawn.contains(&entry.id),
                entry,
            })
            .collect();
        let mut trust_domains: Vec<_> =
            identities.iter().flat_map(|identity| identity.entry.federates_with.iter().cloned()).collect();
        trust_domains.sort();
        trust_domains.dedup();
        trust_domains.retain(|trust_domain| trust_domain != snapshot.trust_domain());
        let federated = trust_domains.into_iter().filter_map(|trust_domain| {
            let bundle = Arc::clone(snapshot.bundle(&trust_domain)?);
            Some((trust_domain, bundle))
        });
        Self {
            federated: federated.collect(),
            own: snapshot.own_bundle().cloned(),
            identities,
            x509_response: OnceLock::new(),
        }
    }

    /// Whether the process has any identity.
    pub(crate) fn has_identity(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Whether every identity has its SVID, but for those that may be without one for long: they must not keep a process
    /// from the others.
    pub(crate) fn is_complete(&self) -> bool {
        self.identities.iter().all(|identity| identity.svid.is_some() || identity.is_withdrawn)
    }

    /// Remembers for its SVIDs that the subscription of this number asked for them.
    pub(super) fn was_asked_for(&self, asking: u64) {
        for svid in self.identities.iter().filter_map(|identity| identity.svid.as_ref()) {
            svid.last_asked.store(asking, Ordering::Relaxed);
        }
    }

    /// Whether a reader of the one need not look at the other. Values are shared, so that equal pointers are enough.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let same_bundle = |a: &Arc<CachedBundle>, b: &Arc<CachedBundle>| Arc::ptr_eq(a, b);
        let same_identity = |(a, b): (&Identity, &Identity)| {
            let same_svid = match (&a.svid, &b.svid) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            Arc::ptr_eq(&a.entry, &b.entry) && same_svid
        };
        self.identities.len() == other.identities.len()
            && self.identities.iter().zip(&other.identities).all(same_identity)
            && match (&self.own, &other.own) {
                (Some(a), Some(b)) => same_bundle(a, b),
                (None, None) => true,
                _ => false,
            }
            && self.federated.len() == other.federated.len()
            && self.federated.iter().zip(&other.federated).all(|(a, b)| a.0 == b.0 && same_bundle(&a.1, &b.1))
    }

    /// The Workload API's answer: identities that have an SVID, without those whose hint another one has.
    pub(crate) fn x509_response(&self) -> &X509svidResponse {
        self.x509_response.get_or_init(|| {
            let bundle = self.own.as_ref().map(|own| own.x509.clone()).unwrap_or_default();
            let entries: Vec<_> = self.identities.iter().map(|identity| Arc::clone(&identity.entry)).collect();
            let kept = without_duplicate_hints(entries);
            let svids =
                self.identities.iter().filter(|identity| kept.iter().any(|entry| Arc::ptr_eq(entry, &identity.entry)));
            let svids = svids.filter_map(|Identity { entry, svid, is_withdrawn: _ }| {
                let svid = svid.as_ref()?;
                Some(X509svid {
                    spiffe_id: entry.spiffe_id.to_string(),
                    x509_svid: svid.chain_der.clone(),
                    x509_svid_key: svid.key_pkcs8.clone(),
                    bundle: bundle.clone(),
                    hint: entry.hint.clone(),
                })
            });
            X509svidResponse { svids: svids.collect(), crl: Vec::new(), federated_bundles: self.federated_x509() }
        })
    }

    fn federated_x509(&self) -> HashMap<String, Bytes> {
        self.federated
            .iter()
            .map(|(trust_domain, bundle)| (trust_domain.id().to_string(), bundle.x509.clone()))
            .collect()
    }

    /// X.509 bundles by trust domain ID: the own one, and with an identity those that it federates with.
    pub(crate) fn x509_bundles(&self) -> HashMap<String, Bytes> {
        self.bundles(|bundle| bundle.x509.clone())
    }

    /// JWT bundles by trust domain ID: the own one, and with an identity those that it federates with.
    pub(crate) fn jwt_bundles(&self) -> HashMap<String, Bytes> {
        self.bundles(|bundle| bundle.jwks.clone())
    }

    fn bundles(&self, form: impl Fn(&CachedBundle) -> Bytes) -> HashMap<String, Bytes> {
        let own = self.own.iter().map(|own| (own.bundle.trust_domain.id().to_string(), form(own)));
        let federated =
            self.federated.iter().map(|(trust_domain, bundle)| (trust_domain.id().to_string(), form(bundle)));
        own.chain(federated).collect()
    }
}

/// Of entries with the same hint, the oldest stays; of equally old ones, that with the smaller id. The order stays.
pub(crate) fn without_duplicate_hints(entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let beats = |a: &Entry, b: &Entry| (a.created_at, &a.id) < (b.created_at, &b.id);
    let is_kept = |entry: &&Arc<Entry>| {
        entry.hint.is_empty() || !entries.iter().any(|other| other.hint == entry.hint && beats(other, entry))
    };
    let kept: Vec<_> = entries.iter().filter(is_kept).cloned().collect();
    if kept.len() < entries.len() {
        let lost = entries.iter().filter(|entry| !kept.iter().any(|kept| Arc::ptr_eq(kept, entry)));
        for entry in lost {
            tracing::warn!(target: "endpoints", entry_id = %entry.id, hint = entry.hint, "Ignoring entry with duplicate hint");
        }
    }
    kept
}
