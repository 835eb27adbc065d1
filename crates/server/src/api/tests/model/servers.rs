//! The servers of the model.

use std::collections::BTreeMap;

use steeple_datastore::Error;
use steeple_proto::spire::api::types;
use tokio::task::JoinHandle;

use super::agents::AGENTS;
use super::writes::STRANGERS;
use super::*;
use crate::entries::Loading;

/// A server that follows its database.
pub(super) struct Server {
    pub(super) served: Arc<Served>,
    following: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(options: Options, history: &Arc<History>) -> Self {
        let clock = Clock::system();
        let store = DataStore::open(options, clock.clone()).await.unwrap();
        let mut feed = store.feed();
        let index = Index::new(Loading::read(&mut feed, &trust_domain()).await.unwrap());
        let served = Arc::new(Served::new(store, index, feed.status(), &clock, false, true).await);
        let mut follower = Follower::new(Arc::clone(&served.index), served.store.clone(), clock);
        let history = Arc::clone(history);
        let following = tokio::spawn(async move {
            loop {
                match feed.next().await {
                    Ok(change) => {
                        history.check_change(&change);
                        follower.take(change, &mut feed).await;
                        history.changed();
                    }
                    Err(Error::Closed) => break,
                    // The database is away, or another one by now.
                    Err(_) => {}
                }
            }
            feed.close().await;
        });
        Self { served, following }
    }

    /// In order.
    pub(super) async fn stop(self) {
        self.served.shutdown.stop();
        self.served.store.close().await;
        self.following.await.unwrap();
    }

    /// In the middle of whatever it does.
    pub(super) fn kill(self) {
        self.served.shutdown.stop();
        self.following.abort();
    }
}

/// What a server knows.
#[derive(PartialEq)]
pub(super) struct State {
    entries: BTreeMap<String, Option<types::Entry>>,
    /// Their serial numbers, the current and the next one.
    agents: BTreeMap<String, [String; 2]>,
    bundles: BTreeMap<String, Option<types::Bundle>>,
}

impl State {
    pub(super) async fn of_database(store: &DataStore) -> Self {
        Self::of_index(&index_of(store).await)
    }

    pub(super) fn of_index(index: &Index) -> Self {
        let agent = |id: &&str| {
            index.agent(id).map(|agent| ((*id).to_owned(), [agent.serial.clone(), agent.new_serial.clone()]))
        };
        let bundle = |name: &&str| ((*name).to_owned(), index.bundle(name).map(|bundle| bundle.api.clone()));
        Self {
            entries: index.all().iter().map(|entry| (entry.id.to_string(), entry.whole().ok())).collect(),
            agents: AGENTS.iter().chain(&STRANGERS).filter_map(agent).collect(),
            bundles: ["example.org", "partner.org"].iter().map(bundle).collect(),
        }
    }

    /// The first thing that `other` has otherwise.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let Self { entries, agents, bundles } = self;
        first(entries, &other.entries)
            .or_else(|| first(agents, &other.agents))
            .or_else(|| first(bundles, &other.bundles))
    }
}

/// What a server would know that starts now.
pub(super) async fn index_of(store: &DataStore) -> Index {
    loop {
        // The database has just been put in place; connections to the one before it fail.
        if let Ok(loaded) = Loading::read(&mut store.feed(), &trust_domain()).await {
            return Index::new(loaded);
        }
    }
}

/// The first key that has another value in `other`, or none in one of them.
pub(super) fn first<V: PartialEq + std::fmt::Debug>(
    expected: &BTreeMap<String, V>,
    other: &BTreeMap<String, V>,
) -> Option<String> {
    let keys = expected.keys().chain(other.keys());
    let differs = |key: &&String| expected.get(*key) != other.get(*key);
    keys.into_iter().find(differs).map(|key| format!("{key} is {:?}, not {:?}", other.get(key), expected.get(key)))
}
