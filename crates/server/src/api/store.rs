//! `steeple.server.store.v1.Store`, on the admin socket alone: how far the server is in reading its database.

use std::time::{Duration, SystemTime};

use steeple_datastore::{DataStore, FeedStatus, OpenGap, Position};
use steeple_proto::steeple::server::store::v1::store_server::{Store, StoreServer};
use steeple_proto::steeple::server::store::v1::{Comparison, Gap, GetStatusRequest, GetStatusResponse};
use steeple_runtime::Clock;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What the feed says of itself, and what the last comparison has found.
#[derive(Clone)]
pub(crate) struct Told {
    /// See [`FeedStatus`].
    pub feed: watch::Receiver<FeedStatus>,
    /// How much was otherwise than it was known.
    pub differences: watch::Receiver<usize>,
}

struct Service {
    told: Told,
    store: DataStore,
    clock: Clock,
}

/// The service.
pub(crate) fn service(told: Told, store: DataStore, clock: Clock) -> StoreServer<impl Store> {
    StoreServer::new(Service { told, store, clock })
}

#[tonic::async_trait]
impl Store for Service {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let FeedStatus { confirmed_at, compared_at, newest, open_gaps, foreign_events, foreign_at, is_heard } =
            self.told.feed.borrow().clone();
        let Position { entries, nodes } = newest;
        let now = self.clock.now();
        let age = |at: SystemTime| milliseconds(now.duration_since(at).unwrap_or_default());
        let gap = |gap: OpenGap| {
            let OpenGap { of_nodes, first, last, since } = gap;
            Gap { of_nodes, first, last, age_ms: age(since) }
        };
        let differences = *self.told.differences.borrow();
        let comparison = compared_at
            .map(|at| Comparison { age_ms: age(at), differences: i64::try_from(differences).unwrap_or(i64::MAX) });
        Ok(Response::new(GetStatusResponse {
            database_type: self.store.database_type().to_owned(),
            newest_entry_event: entries,
            newest_node_event: nodes,
            lag_ms: confirmed_at.map(age).unwrap_or_default(),
            gaps: open_gaps.into_iter().map(gap).collect(),
            told_of_writes: is_heard,
            comparison,
            foreign_changes: i64::try_from(foreign_events).unwrap_or(i64::MAX),
            last_foreign_change_ms: foreign_at.map(age).unwrap_or_default(),
        }))
    }
}

fn milliseconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
