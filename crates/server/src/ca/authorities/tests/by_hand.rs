//! What operators do to the authorities, and what of it survives a restart. What each order answers is held by the
//! recorded answers of the reference (`tests/golden`).

use steeple_runtime::Shutdown;
use tokio::task::JoinHandle;

use super::*;
use crate::ca::Orders;
use crate::ca::orders::{Of, OrderError, Place as Beside, State};

struct Running {
    orders: Orders,
    signing: Signing,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), CaError>>,
}

impl Running {
    async fn start(place: &Place) -> Self {
        let (authorities, signing) = place.start().await;
        let rotation = Rotation::start(authorities, place.manual.clock(), crate::health::unknown(place.manual.clock()))
            .await
            .unwrap();
        let (orders, shutdown) = (rotation.orders(), Shutdown::new());
        Self { orders, signing, task: tokio::spawn(rotation.run(shutdown.clone())), shutdown }
    }

    async fn stop(self) {
        self.shutdown.stop();
        self.task.await.unwrap().unwrap();
    }

    async fn ids(&self, of: Of) -> (String, Option<(Beside, String)>) {
        let State { active, next } = self.orders.show(of).await.unwrap();
        (active.authority_id, next.map(|(place, next)| (place, next.authority_id)))
    }
}

/// The authorities of the bundle that are tainted.
async fn tainted(place: &Place) -> usize {
    let bundle = place.store.fetch_bundle("spiffe://example.org").await.unwrap().unwrap();
    bundle.root_cas.iter().filter(|root| root.tainted_key).count()
        + bundle.jwt_signing_keys.iter().filter(|key| key.tainted_key).count()
}

#[tokio::test]
async fn an_authority_is_prepared_activated_tainted_and_revoked_with_a_restart_before_each() {
    for of in [Of::X509, Of::Jwt] {
        let place = Place::new().await;
        let running = Running::start(&place).await;
        let (first, _) = running.ids(of).await;
        let before = signers(&place, &running.signing).await;
        let second = running.orders.prepare(of).await.unwrap().authority_id;
        assert_eq!(signers(&place, &running.signing).await, before);
        running.stop().await;

        let running = Running::start(&place).await;
        assert_eq!(running.ids(of).await, (first.clone(), Some((Beside::Prepared, second.clone()))));
        running.orders.activate(of, second.clone()).await.unwrap();
        let after = signers(&place, &running.signing).await;
        assert_eq!((after.0 != before.0, after.1 != before.1), (of == Of::X509, of == Of::Jwt));
        running.stop().await;

        let running = Running::start(&place).await;
        assert_eq!(running.ids(of).await, (second.clone(), Some((Beside::Old, first.clone()))));
        running.orders.taint(of, first.clone()).await.unwrap();
        assert_eq!(tainted(&place).await, 1);
        running.stop().await;

        let running = Running::start(&place).await;
        running.orders.revoke(of, first.clone()).await.unwrap();
        let (roots, keys) = place.bundle().await;
        assert_eq!((roots.len(), keys.len(), tainted(&place).await), (1, 1, 0));
        running.stop().await;

        // What was revoked is not in the bundle and has no place any more.
        let running = Running::start(&place).await;
        assert_eq!(running.ids(of).await, (second, None));
        running.stop().await;
    }
}

#[tokio::test]
async fn an_authority_that_lost_its_key_to_one_that_was_not_published_is_not_activated() {
    let place = Place::new().await;
    let running = Running::start(&place).await;
    let mut prepared = Vec::new();
    for of in [Of::X509, Of::Jwt] {
        prepared.push((of, running.orders.prepare(of).await.unwrap().authority_id));
    }
    place.store.close().await;
    for (of, id) in prepared {
        assert!(matches!(running.orders.prepare(of).await, Err(OrderError::Ca(CaError::DataStore(_)))));
        assert_eq!(running.ids(of).await.1, None);
        assert!(matches!(running.orders.activate(of, id).await, Err(OrderError::Unexpected)));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_takes_no_orders() {
    let place = Place::new().await;
    let running = Running::start(&place).await;
    let orders = running.orders.clone();
    running.stop().await;
    assert!(matches!(orders.show(Of::X509).await, Err(OrderError::NotRunning)));
}
