//! Ten days of an agent with all its tasks, below a server whose authorities change as with a `ca_ttl` of a day: no instant
//! without an SVID and a token that are good for whoever has the bundle of now, or of an hour ago. On the fourth day an
//! authority is given up by hand.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use steeple_pki::KeyType;
use steeple_proto::spire::api::types;
use steeple_proto::steeple::agent::sync::v1::Status as Synced;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_runtime::Shutdown;
use steeple_spiffe::x509::Certificate;
use steeple_spiffe::{BundleSet, JwtSvid, jwt, verify_x509_svid_in};
use steeple_testkit::server::entry;
use tokio::sync::{Mutex, oneshot};

use super::*;
use crate::cache::{Cache, CachedBundle, Selector, Selectors, Subscription};
use crate::jwt::JwtSvids;
use crate::mint;
use crate::renewal::Renewal;
use crate::rotate::Rotation;
use crate::sync::{self, Sync};

const STEP: Duration = SECOND.saturating_mul(10 * 60);
const DAY: Duration = HOUR.saturating_mul(24);
const DAYS: u32 = 10;
/// Of the life of an authority, as a server has it: the next one is prepared, and signs so much later.
const PREPARE_EVERY: Duration = HOUR.saturating_mul(12);
const ACTIVATE_AFTER: Duration = HOUR.saturating_mul(8);
/// From its preparation until it is pruned: the day that it is good for, and another one.
const KEPT: Duration = DAY.saturating_mul(2);
/// The rotation looks after a longer pause than this, and all other pauses are shorter.
const SHORT: Duration = Duration::from_millis(4_500);
/// And no longer than this, unless it has failed.
const LONG: Duration = Duration::from_millis(5_500);
/// Its pauses after one failure and two, and what is left of them when others have passed meanwhile.
const AFTER_FAILURES: RangeInclusive<Duration> = Duration::from_millis(5_501)..=Duration::from_millis(12_500);
const GIVEN_UP_ON_DAY: u32 = 4;

/// The server's authorities, the oldest first.
struct Authorities {
    all: VecDeque<Authority>,
    /// How many of them have signed, or sign.
    active: usize,
}

struct Authority {
    ca: Arc<Ca>,
    prepared_at: SystemTime,
    tainted: bool,
}

impl Authorities {
    fn active(&self) -> &Authority {
        &self.all[self.active - 1]
    }

    /// The bundle as the server tells it.
    fn bundle(&self, sequence_number: u64) -> types::Bundle {
        let mut bundle = types::Bundle { sequence_number, ..self.all[0].ca.api_bundle() };
        bundle.x509_authorities.clear();
        bundle.jwt_authorities.clear();
        for Authority { ca, tainted, .. } in &self.all {
            let own = ca.api_bundle();
            bundle.x509_authorities.extend(
                own.x509_authorities.into_iter().map(|root| types::X509Certificate { tainted: *tainted, ..root }),
            );
            bundle
                .jwt_authorities
                .extend(own.jwt_authorities.into_iter().map(|key| types::JwtKey { tainted: *tainted, ..key }));
        }
        bundle
    }
}

/// An agent with one workload that holds a stream and asks for a token now and then.
struct Running {
    host: Host,
    upstream: Upstream,
    cache: Cache,
    workload: RefCell<Subscription>,
    tokens: Arc<JwtSvids>,
    entry: Entry,
    shutdown: Shutdown,
    authorities: Authorities,
    changes: u64,
}

impl Running {
    async fn start() -> Self {
        let host = Host::new().await;
        let of_workload = entry("a", &host.ca.id("/a"), &["unix:uid:1"]);
        host.server.change(|script| {
            script.jwt_ttl = HOUR;
            script.entries = vec![of_workload.clone()];
        });
        let upstream = host.attested();
        let clock = host.manual.clock();
        let (cache, store) = Cache::new(host.ca.trust_domain().clone(), 100);
        let selector = Selector { kind: "unix".into(), value: "uid:1".into() };
        let mut workload = cache.subscribe(Selectors::new(vec![selector]));
        let storage = Arc::new(Mutex::new(host.storage()));
        let (told, ready) = oneshot::channel();
        let renewal = Renewal::default();
        let options = crate::jwt::Options { size: 10, hit_timeout: SECOND * 5 };
        let tokens = Arc::new(JwtSvids::new(upstream.clone(), cache.clone(), clock.clone(), options));
        let options = sync::Options {
            mint: mint::Options { key_type: KeyType::EcP256, renewal },
            interval: SECOND * 5,
            by_stream: false,
            rebootstrap: crate::rebootstrap::Rebootstrap::default(),
            jwt_svids: Arc::clone(&tokens),
            tracer: None,
        };
        let attestation = || host.attestation(&upstream, Bootstrap::Insecure, By::Answering("a"));
        let shutdown = Shutdown::new();
        let sync =
            Sync::new(upstream.clone(), store, Arc::clone(&storage), clock.clone(), options, attestation(), told);
        let rotation = Rotation {
            upstream: upstream.clone(),
            keys: host.keys.of_agent(),
            attestation: attestation(),
            storage,
            clock,
            renewal,
        };
        tokio::spawn(sync.run(shutdown.clone()));
        tokio::spawn(rotation.run(shutdown.clone()));
        ready.await.unwrap();
        while workload.latest().identities.iter().all(|identity| identity.svid.is_none()) {
            workload.changed().await;
        }
        let first = Authority { ca: Arc::clone(&host.ca), prepared_at: host.manual.now(), tainted: false };
        let authorities = Authorities { all: VecDeque::from([first]), active: 1 };
        let entry = Entry::from_api(of_workload).unwrap();
        let workload = RefCell::new(workload);
        Self { host, upstream, cache, workload, tokens, entry, shutdown, authorities, changes: 1 }
    }

    /// The server's bundle has changed, and the agent is told so.
    fn publish(&mut self) {
        self.changes += 1;
        let bundle = self.authorities.bundle(self.changes);
        self.host.server.change(|script| script.bundle = bundle.clone());
        self.host.server.push(Change::Bundle(bundle));
        self.host.server.push(Change::Status(Synced { complete: true }));
    }

    fn prepare(&mut self) {
        let now = self.host.manual.now();
        let ca = Arc::new(Ca::new("example.org", now));
        self.authorities.all.push_back(Authority { ca, prepared_at: now, tainted: false });
    }

    fn activate(&mut self) {
        self.authorities.active += 1;
        self.host.server.sign_with(Arc::clone(&self.authorities.active().ca));
    }

    /// The server's own SVID, which it replaces at half of its life and when its authority is tainted.
    fn renew_server(&self) {
        let now = self.host.manual.now();
        self.host.server.show(&self.authorities.active().ca.svid("/spire/server", now - SECOND * 10..now + HOUR));
    }

    fn forget_first(&mut self) {
        let Authority { ca, .. } = self.authorities.all.pop_front().unwrap();
        self.authorities.active -= 1;
        self.host.server.revoke_through(&ca);
    }

    /// What the workload shows now.
    fn chain(&self) -> Vec<Certificate> {
        let update = self.workload.borrow_mut().latest();
        assert!(update.is_complete() && update.identities.len() == 1, "the workload is without an SVID");
        update.identities[0].svid.as_ref().unwrap().chain.clone()
    }

    /// The authorities as the workload has them.
    fn bundles(&self) -> BundleSet {
        let snapshot = self.cache.snapshot();
        let bundle = |own: &Arc<CachedBundle>| (*own.bundle).clone();
        snapshot.own_bundle().map(bundle).into_iter().collect()
    }

    /// Waits until the agent has heard of the newest bundle and done all that is due, while the pauses between its streams pass.
    /// Its looks are longer apart, so that time does not run away.
    async fn settled(&self) {
        let tainted: Vec<_> =
            self.authorities.all.iter().filter(|authority| authority.tainted).map(|it| it.ca.root()).collect();
        let is_good = |leaf: &Certificate| {
            let issuer = leaf.authority_key_id();
            // It is due with some nine twentieths of its life left.
            leaf.not_after() >= self.host.manual.now() + HOUR * 2 / 5
                && tainted.iter().all(|root| root.subject_key_id() != issuer)
        };
        let knows = || {
            let snapshot = self.cache.snapshot();
            snapshot.own_bundle().is_some_and(|own| own.bundle.sequence_number == self.changes)
        };
        let settled = async {
            while !(is_good(&self.chain()[0]) && is_good(&self.upstream.identity().unwrap().chain[0]) && knows()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = settled => {}
            () = self.passing() => unreachable!("time passes on and on"),
        }
    }

    /// Waits until the rotation has looked, and has done what was due: a renewal may have to connect anew.
    async fn looked(&self) {
        tokio::select! {
            biased;
            () = self.host.manual.until_somebody_sleeps(SHORT..=LONG) => {}
            () = self.passing() => unreachable!("time passes on and on"),
        }
    }

    /// Lets the pauses pass that are shorter than those between looks, and what is left of one; and those after a look that
    /// failed: with the pauses the limit of a call may pass. These come first, lest shorter ones make one of them look like
    /// that between two looks, for whose end nobody waits.
    async fn passing(&self) {
        let manual = &self.host.manual;
        loop {
            tokio::select! {
                biased;
                () = manual.wake(AFTER_FAILURES) => {}
                () = manual.wake(Duration::ZERO..=SHORT) => {}
            }
        }
    }

    async fn token(&self) -> JwtSvid {
        let audience = ["db".to_owned()];
        let token = tokio::select! {
            biased;
            token = self.tokens.fetch(&self.entry, &audience) => token.unwrap(),
            () = self.passing() => unreachable!("time passes on and on"),
        };
        JwtSvid::parse_unverified(&token).unwrap()
    }
}

#[tokio::test]
async fn ten_days_of_an_agent_have_no_instant_without_a_valid_svid() {
    let mut agent = Running::start().await;
    agent.publish();
    agent.settled().await;
    let mut bundles = VecDeque::from([agent.bundles()]);
    let (mut shown, mut token) = (agent.chain(), agent.token().await);
    let (mut activations, mut pruned, mut given_up) = (0, 0, 0);
    let mut serials = BTreeSet::new();

    let mut passed = Duration::ZERO;
    while passed < DAY * DAYS {
        agent.host.manual.advance(STEP);
        // The pauses that pass meanwhile are not counted.
        passed += STEP;
        agent.looked().await;
        let now = agent.host.manual.now();
        let at = |every: Duration, after: Duration| {
            passed.checked_sub(after).is_some_and(|rest| rest.as_secs().is_multiple_of(every.as_secs()))
        };

        // What was there before this step is good after it.
        assert!(shown[0].not_before() <= now && now < shown[0].not_after(), "the workload's SVID has ended");
        let own = agent.upstream.identity().unwrap().chain;
        assert!(own[0].not_before() <= now && now < own[0].not_after(), "the agent's SVID has ended");
        verify_x509_svid_in(&shown, &agent.bundles(), now).expect("an SVID that is good");
        jwt::validate(&token.token, &agent.bundles(), "db", now).expect("a token that is good");

        if at(PREPARE_EVERY, Duration::ZERO) {
            agent.prepare();
        }
        let activates = at(PREPARE_EVERY, PREPARE_EVERY + ACTIVATE_AFTER);
        if activates {
            agent.activate();
            activations += 1;
        }
        if at(HOUR / 2, Duration::ZERO) {
            agent.renew_server();
        }
        if agent.authorities.all[0].prepared_at + KEPT <= now {
            agent.forget_first();
            pruned += 1;
        }
        // At each step, so that it shows whether the agent follows.
        agent.publish();
        agent.settled().await;
        if activates && passed >= DAY * GIVEN_UP_ON_DAY && given_up == 0 {
            // All that have signed before, while there still are an SVID and a token of the last of them.
            let old = agent.authorities.active - 1;
            agent.authorities.all.iter_mut().take(old).for_each(|authority| authority.tainted = true);
            agent.publish();
            agent.renew_server();
            agent.settled().await;
            assert_ne!(agent.token().await.key_id, token.key_id, "a token of a tainted authority");
            (0..old).for_each(|_| agent.forget_first());
            agent.publish();
            agent.settled().await;
            given_up = old;
            bundles.clear();
        }

        // What is new is good for whoever has not heard of the bundle for an hour.
        bundles.push_back(agent.bundles());
        bundles.drain(..bundles.len().saturating_sub(6));
        shown = agent.chain();
        serials.insert(shown[0].serial_hex());
        token = agent.token().await;
        // The pauses that passed meanwhile are in it.
        let now = agent.host.manual.now();
        for bundles in [&bundles[0], &agent.bundles()] {
            verify_x509_svid_in(&shown, bundles, now).expect("an SVID that verifies");
            verify_x509_svid_in(&agent.upstream.identity().unwrap().chain, bundles, now).expect("the agent's SVID");
            jwt::validate(&token.token, bundles, "db", now).expect("a token that is valid");
        }
    }
    agent.shutdown.stop();
    assert_eq!(activations, 19, "activations");
    assert!(given_up > 0 && pruned > 10, "{given_up} given up, {pruned} pruned");
    println!(
        "ten days of an agent: {activations} activations, {pruned} authorities pruned, {given_up} given up, {} SVIDs",
        serials.len()
    );
}
