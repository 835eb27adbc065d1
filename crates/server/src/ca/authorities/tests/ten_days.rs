//! Ten days at the default lifetimes, in steps of the server's own looks: no instant without an SVID and a token that are
//! valid, and that verify for whoever has the bundle of now, or of an hour ago.

use std::collections::VecDeque;

use steeple_datastore::bundles::{RevokeX509Authority, TaintX509Authority};
use steeple_spiffe::{Bundle, BundleSet, JwtAuthority, PublicKey, X509Authority, jwt, verify_x509_svid_in};

use super::*;
use crate::ca::sign::WorkloadX509;
use crate::prune::Pruning;

/// As often as the server looks at its authorities.
const STEP: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
/// As often as the bundle is pruned.
const PRUNE_EVERY: Duration = HOUR.saturating_mul(6);
const DAYS: u32 = 10;

/// What the configuration file says where it says nothing.
const LIFETIMES: Lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: MINUTE.saturating_mul(5), agent: HOUR, ca: DAY };

/// A workload's identities, which its agent replaces at half of their lives.
struct Holder {
    id: SpiffeId,
    key: PublicKey,
    chain: Vec<Certificate>,
    token: String,
    token_ends: SystemTime,
    renewals: u32,
}

impl Holder {
    async fn new(ca: &Ca) -> Self {
        let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
        let key = PrivateKey::generate(KeyType::EcP256).unwrap().public_key().clone();
        let (chain, token, token_ends) = (Vec::new(), String::new(), SystemTime::UNIX_EPOCH);
        let mut holder = Self { id, key, chain, token, token_ends, renewals: 0 };
        holder.renew_svid(ca).await;
        holder.renew_token(ca).await;
        holder
    }

    async fn renew_svid(&mut self, ca: &Ca) {
        let (id, public_key) = (&self.id, &self.key);
        let workload = WorkloadX509 { id, public_key, ttl: None, dns_names: &[], subject: None };
        self.chain = ca.sign_workload(workload, Ground::Own).await.unwrap();
        self.renewals += 1;
    }

    async fn renew_token(&mut self, ca: &Ca) {
        let audience = ["db".to_owned()];
        let token = WorkloadJwt { id: &self.id, audience: &audience, ttl: None, include_jti: false };
        self.token = ca.sign_jwt(token, Ground::Own).await.unwrap().token;
        self.token_ends = JwtSvid::parse_unverified(&self.token).unwrap().expires_at;
    }

    /// Returns whether anything was due.
    async fn renew_what_is_due(&mut self, ca: &Ca, now: SystemTime) -> bool {
        let svid_is_due = self.chain[0].not_after() - LIFETIMES.x509_svid / 2 <= now;
        let token_is_due = self.token_ends - LIFETIMES.jwt_svid / 2 <= now;
        if svid_is_due {
            self.renew_svid(ca).await;
        }
        if token_is_due {
            self.renew_token(ca).await;
        }
        svid_is_due || token_is_due
    }

    /// Without the minute that verifiers allow for.
    fn is_current(&self, now: SystemTime) {
        assert!(self.chain[0].not_before() <= now && now < self.chain[0].not_after(), "no current SVID");
        assert!(now < self.token_ends, "no current token");
    }

    fn verifies(&self, bundles: &BundleSet, now: SystemTime) {
        let id = verify_x509_svid_in(&self.chain, bundles, now).expect("an SVID that verifies");
        assert_eq!(id, self.id);
        let token = jwt::validate(&self.token, bundles, "db", now).expect("a token that is valid");
        assert_eq!(token.id, self.id);
    }
}

#[tokio::test]
async fn ten_days_have_no_instant_without_a_valid_svid() {
    let place = Place::new().await;
    let (mut authorities, mut signing) = place.start().await;
    let mut ca = Ca::new(signing, LIFETIMES, Some(String::new()), place.manual.clock());
    let pruning = pruning(&place);
    let mut holder = Holder::new(&ca).await;
    let start = place.manual.now();
    // An hour's bundles, the oldest first.
    let mut bundles = VecDeque::from([published(&place).await]);
    let mut history = vec![active(&authorities)];
    let (mut most, mut pruned, mut revoked) = (1, 0, 0);

    while place.manual.now() < start + DAY * DAYS {
        place.manual.advance(STEP);
        let (now, passed) = (place.manual.now(), place.manual.now().duration_since(start).unwrap());
        let at = |every: Duration| passed.as_secs().is_multiple_of(every.as_secs());

        authorities.rotate().await.unwrap();
        let mut changed = active(&authorities) != *history.last().unwrap();
        if changed {
            history.push(active(&authorities));
        }
        // Once the operator gives up the authority that has just been replaced: tainted, so that agents replace what it
        // has signed, and revoked when they have.
        if changed && history.len() == 6 {
            let old = Certificate::from_der(history[4].0.as_ref().unwrap()).unwrap();
            let named = || ("spiffe://example.org".to_owned(), x509::hex(old.subject_key_id().unwrap()));
            let (trust_domain, subject_key_id) = named();
            authorities.given_up.insert(subject_key_id.clone());
            place.store.write(TaintX509Authority { trust_domain, subject_key_id }).await.unwrap();
            holder.verifies(&published(&place).await, now);
            holder.renew_svid(&ca).await;
            let (trust_domain, subject_key_id) = named();
            place.store.write(RevokeX509Authority { trust_domain, subject_key_id }).await.unwrap();
            revoked += 1;
        }
        if at(PRUNE_EVERY) {
            let before = place.bundle().await.0.len();
            pruning.bundle().await.unwrap();
            pruned += before - place.bundle().await.0.len();
            changed = true;
        }
        if at(DAY) {
            // The server is started anew.
            (authorities, signing) = place.start().await;
            ca = Ca::new(signing, LIFETIMES, Some(String::new()), place.manual.clock());
            assert_eq!(active(&authorities), *history.last().unwrap());
        }
        // What was there before these steps is good after them,
        holder.is_current(now);
        if changed || at(MINUTE) {
            let bundle = published(&place).await;
            most = most.max(place.bundle().await.0.len());
            holder.verifies(&bundle, now);
            bundles.push_back(bundle);
            bundles.drain(..bundles.len().saturating_sub(60));
        }
        // and what is new is good for whoever has not heard of the bundle for as long as an SVID lives.
        if holder.renew_what_is_due(&ca, now).await {
            holder.verifies(bundles.front().unwrap(), now);
            holder.verifies(bundles.back().unwrap(), now);
        }
    }
    // The first one signs for 20 hours, each other one for 12: from five sixths of its predecessor's life to its own.
    assert_eq!(history.len() - 1, 19, "activations");
    // A day after their ends, which is two days after their beginnings; one of them is gone already.
    assert_eq!((revoked, pruned), (1, 15));
    println!(
        "ten days: {} activations, {pruned} authorities pruned, {revoked} tainted and revoked, {} renewals, at most {most} \
         authorities at once",
        history.len() - 1,
        holder.renewals
    );
}

/// The bundle as workloads have it.
async fn published(place: &Place) -> BundleSet {
    let stored = place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    let mut bundle = Bundle::new(TrustDomain::parse("example.org").unwrap());
    bundle.x509_authorities.extend(stored.root_cas.iter().map(|root| X509Authority {
        certificate: Certificate::from_der(&root.der_bytes).unwrap(),
        tainted: root.tainted_key,
    }));
    bundle.jwt_authorities.extend(stored.jwt_signing_keys.iter().map(|key| JwtAuthority {
        key_id: key.kid.clone(),
        public_key: PublicKey::from_spki_der(&key.pkix_bytes).unwrap(),
        expires_at: None,
        tainted: key.tainted_key,
    }));
    let mut bundles = BundleSet::new();
    bundles.insert(bundle);
    bundles
}

fn pruning(place: &Place) -> Pruning {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    Pruning::new(place.store.clone(), trust_domain, place.manual.clock(), HOUR * 12, None)
}
