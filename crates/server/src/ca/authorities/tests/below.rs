//! Authorities that something above the server signs.

use steeple_runtime::Shutdown;
use steeple_spiffe::verify_x509_svid;

use super::*;
use crate::ca::Orders;
use crate::ca::orders::{Of, OrderError};

/// A server below a root.
struct Below {
    place: Place,
    upstream: Upstream,
}

impl Below {
    async fn new() -> Self {
        let mut place = Place::new().await;
        let upstream = Upstream::new(Root::new("above.test", place.manual.now()), place.manual.clock());
        place.upstream = Some(upstream.clone());
        Self { place, upstream }
    }

    /// From now on another root signs.
    fn replace_root(&self) -> Root {
        let root = Root::new("above.test", self.place.manual.now());
        self.upstream.replace(root.clone());
        root
    }

    /// The roots of the bundle, and whether they are tainted.
    async fn roots(&self) -> Vec<(Certificate, bool)> {
        let bundle = self.place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap_or_default();
        let root = |root: &common::Certificate| (Certificate::from_der(&root.der_bytes).unwrap(), root.tainted_key);
        bundle.root_cas.iter().map(root).collect()
    }

    async fn run(&self) -> (Orders, Signing, Shutdown) {
        let (authorities, signing) = self.place.start().await;
        let clock = self.place.manual.clock();
        let health = crate::health::unknown(clock.clone());
        let rotation = Rotation::start(authorities, clock, health).await.unwrap();
        let (orders, shutdown) = (rotation.orders(), Shutdown::new());
        tokio::spawn(rotation.run(shutdown.clone()));
        (orders, signing, shutdown)
    }
}

fn key_id(root: &Certificate) -> String {
    x509::hex(root.subject_key_id().unwrap())
}

#[tokio::test]
async fn what_it_signs_comes_with_the_authority_and_the_root_is_in_the_bundle() {
    let below = Below::new().await;
    let (authorities, signing) = below.place.start().await;
    let active = authorities.x509.active().unwrap();
    let roots = below.roots().await;
    assert_eq!(roots.len(), 1);
    assert_eq!(active.certificate.issuer_der(), roots[0].0.subject_der());

    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
    let ca = Ca::new(signing, lifetimes, None, below.place.manual.clock());
    let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let chain = ca.sign_agent(&id, key.public_key(), Ground::Own).await.unwrap();
    assert_eq!(chain[1..], *std::slice::from_ref(&active.certificate));
    verify_x509_svid(&chain, &[roots[0].0.clone()], below.place.manual.now()).unwrap();
}

#[tokio::test]
async fn it_is_taken_up_by_a_restart_as_long_as_something_is_above() {
    let mut below = Below::new().await;
    let (authorities, _) = below.place.start().await;
    let first = active(&authorities);
    let (authorities, _) = below.place.start().await;
    assert_eq!(active(&authorities), first);

    // Then the server is a root itself, and both are in the bundle.
    below.place.upstream = None;
    let (authorities, _) = below.place.start().await;
    let own = authorities.x509.active().unwrap().certificate.clone();
    assert_eq!(own.issuer_der(), own.subject_der());
    let roots: Vec<_> = below.roots().await.into_iter().map(|(root, _)| root).collect();
    assert_eq!((roots.len(), roots.contains(&own)), (2, true));
}

#[tokio::test]
async fn an_authority_that_the_told_roots_do_not_vouch_for_is_refused_and_nothing_published() {
    let below = Below::new().await;
    let (now, clock) = (below.place.manual.now(), below.place.manual.clock());
    below.upstream.lie(Root::new("above.test", now), Root::new("other.test", now));
    let (mut authorities, _) = below.place.load().await;
    let error = authorities.rotate().await.unwrap_err();
    assert!(error.to_string().starts_with("X509 CA minted by upstream authority is invalid: X509 CA produced an"));
    assert!(below.roots().await.is_empty());
    assert!(authorities.x509.active().is_none());
    // It is tried again.
    below.upstream.replace(Root::new("above.test", clock.now()));
    authorities.rotate().await.unwrap();
    assert!(authorities.x509.active().is_some());
}

#[tokio::test]
async fn the_authority_above_the_old_one_is_tainted_and_revoked_and_no_other() {
    let below = Below::new().await;
    let (orders, signing, shutdown) = below.run().await;
    let (first, _) = below.roots().await.remove(0);
    let second = below.replace_root().root().clone();
    let taint = async |id: &str| orders.taint_upstream(id.to_owned()).await;
    let (old, new) = (key_id(&first), key_id(&second));
    assert!(matches!(taint("").await, Err(OrderError::NoSubjectKeyId)));
    assert!(matches!(taint(&old).await, Err(OrderError::AboveActive)));
    assert!(matches!(taint(&new).await, Err(OrderError::NotAbove)));

    let prepared = orders.prepare(Of::X509).await.unwrap();
    assert_eq!(prepared.upstream_id, new);
    assert!(matches!(taint(&new).await, Err(OrderError::NotAboveOld)));
    orders.activate(Of::X509, prepared.authority_id.clone()).await.unwrap();
    assert!(matches!(taint(&new).await, Err(OrderError::AboveActive)));
    assert!(orders.revoke_upstream(old.clone()).await.is_err(), "not tainted");

    taint(&old.to_uppercase()).await.unwrap();
    assert_eq!(below.roots().await, [(first.clone(), true), (second.clone(), false)]);
    let lifetimes = Lifetimes { x509_svid: HOUR, jwt_svid: HOUR, agent: HOUR, ca: DAY };
    let ca = Ca::new(signing, lifetimes, None, below.place.manual.clock());
    assert_eq!(*ca.tainted().borrow(), Some(first));
    for of_own in [
        orders.taint(Of::X509, prepared.authority_id.clone()).await.map(drop),
        orders.revoke(Of::X509, prepared.authority_id).await,
    ] {
        assert!(matches!(of_own, Err(OrderError::HasUpstream)));
    }
    orders.revoke_upstream(old).await.unwrap();
    assert_eq!(below.roots().await, [(second, false)]);
    shutdown.stop();
}

#[tokio::test]
async fn a_tainted_root_stays_tainted_while_it_signs_and_goes_when_it_signs_no_more() {
    let below = Below::new().await;
    let (orders, _, shutdown) = below.run().await;
    let (root, _) = below.roots().await.remove(0);
    let (trust_domain, subject_key_id) = ("spiffe://example.org".to_owned(), key_id(&root));
    let taint = steeple_datastore::bundles::TaintX509Authority { trust_domain, subject_key_id };
    below.place.store.write(taint).await.unwrap();
    orders.prepare(Of::X509).await.unwrap();
    assert_eq!(below.roots().await, [(root, true)]);
    let second = below.replace_root().root().clone();
    orders.prepare(Of::X509).await.unwrap();
    assert_eq!(below.roots().await, [(second, false)]);
    shutdown.stop();
}
