//! The own bundle goes to whoever publishes it: at the start, at each change of it, whichever server made that, and every
//! now and then, so that what failed is tried again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use steeple_catalog::{BundlePublisher, PluginError};
use steeple_proto::spire::api::types;
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::TrustDomain;
use tokio::sync::watch;
use tracing::error;

use crate::entries::{Index, IndexedBundle};

const EVERY: Duration = Duration::from_secs(30);
/// Whoever has not published by then has failed: it must not keep the others from the next bundle for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Publishes the bundle of one trust domain.
pub(crate) struct Publishing {
    pub(crate) publishers: Vec<BundlePublisher>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) index: Arc<Index>,
    pub(crate) clock: Clock,
}

impl Publishing {
    /// Publishes until it is told to stop.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut changes = self.index.bundle_changes();
        loop {
            let bundle = self.index.bundle(self.trust_domain.name());
            let until_the_next = async {
                if let Some(bundle) = &bundle {
                    join_all(self.publishers.iter().map(|publisher| self.publish(publisher, &bundle.api))).await;
                }
                tokio::select! {
                    () = self.clock.sleep(EVERY) => {}
                    () = self.changed(&mut changes, bundle.as_deref()) => {}
                }
            };
            if shutdown.unless_stopped(until_the_next).await.is_none() {
                return;
            }
        }
    }

    async fn publish(&self, publisher: &BundlePublisher, bundle: &types::Bundle) {
        let published = self.clock.within(LIMIT, publisher.publish_bundle(bundle)).await;
        let late = || Err(PluginError::unavailable(format!("not done within {} s", LIMIT.as_secs())));
        if let Err(error) = published.unwrap_or_else(late) {
            let bundlepublisher = publisher.name();
            error!(target: "bundle_publishing", bundlepublisher, error = %error, "Failed to publish bundle");
        }
    }

    /// Until the own bundle is another one: others change, too.
    async fn changed(&self, changes: &mut watch::Receiver<()>, published: Option<&IndexedBundle>) {
        // The sender is the index's, which lives as long as this.
        while changes.changed().await.is_ok() {
            let bundle = self.index.bundle(self.trust_domain.name());
            if bundle.as_ref().map(|bundle| &bundle.api) != published.map(|bundle| &bundle.api) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use steeple_catalog::bundle_publisher::Plugin;
    use steeple_datastore::ChangedRows;
    use steeple_proto::spire::common;
    use steeple_testkit::ManualClock;
    use tokio::sync::mpsc;

    use super::*;
    use crate::entries::Loading;
    use crate::tests::manual;

    /// Tells which bundles it was given, by their sequence number, and fails as often as it is told to.
    struct Given {
        told: mpsc::UnboundedSender<u64>,
        failures: Mutex<u32>,
    }

    #[async_trait]
    impl Plugin for Given {
        async fn publish_bundle(&self, bundle: &types::Bundle) -> Result<(), PluginError> {
            self.told.send(bundle.sequence_number).unwrap();
            let mut failures = self.failures.lock().unwrap();
            match failures.checked_sub(1) {
                Some(left) => *failures = left,
                None => return Ok(()),
            }
            Err(PluginError::unavailable("away"))
        }
    }

    struct Case {
        manual: ManualClock,
        index: Arc<Index>,
        given: mpsc::UnboundedReceiver<u64>,
        shutdown: Shutdown,
    }

    impl Case {
        fn start(failures: u32) -> Self {
            let (manual, shutdown) = (manual(), Shutdown::new());
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            let index = Arc::new(Index::new(Loading::new(&trust_domain)));
            put(&index, "example.org", 1);
            let (told, given) = mpsc::unbounded_channel();
            let plugin = Given { told, failures: Mutex::new(failures) };
            let publishers = vec![BundlePublisher::new("given", Arc::new(plugin))];
            let publishing = Publishing { publishers, trust_domain, index: Arc::clone(&index), clock: manual.clock() };
            tokio::spawn(publishing.run(shutdown.clone()));
            Self { manual, index, given, shutdown }
        }
    }

    fn put(index: &Index, trust_domain: &str, sequence_number: u64) {
        let trust_domain_id = format!("spiffe://{trust_domain}");
        let bundle =
            common::Bundle { trust_domain_id: trust_domain_id.clone(), sequence_number, ..common::Bundle::default() };
        index.apply(ChangedRows { bundles: vec![(trust_domain_id, Some(bundle))], ..ChangedRows::default() });
    }

    #[tokio::test]
    async fn the_bundle_is_published_at_the_start_at_each_change_of_it_and_every_half_minute() {
        let mut case = Case::start(0);
        assert_eq!(case.given.recv().await, Some(1));
        put(&case.index, "example.org", 2);
        assert_eq!(case.given.recv().await, Some(2));
        // The bundle of another trust domain is not the own one.
        put(&case.index, "other.org", 9);
        case.manual.wake_the_only(EVERY..=EVERY).await;
        assert_eq!(case.given.recv().await, Some(2));
        case.manual.until_somebody_sleeps(EVERY..=EVERY).await;
        assert!(case.given.try_recv().is_err());
        case.shutdown.stop();
        assert_eq!(case.given.recv().await, None);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_after_half_a_minute() {
        let mut case = Case::start(1);
        assert_eq!(case.given.recv().await, Some(1));
        case.manual.wake_the_only(EVERY..=EVERY).await;
        assert_eq!(case.given.recv().await, Some(1));
    }
}
