//! The agents of the model: each follows one of the servers, and holds what that one tells it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use prost::Message;
use steeple_proto::spire::api::types;
use steeple_proto::steeple::agent::sync::v1::follow_request::Request as Asked;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_proto::steeple::agent::sync::v1::sync_client::SyncClient;
use steeple_proto::steeple::agent::sync::v1::{FollowRequest, Open, Want};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use super::servers::{first, index_of};
use super::*;

/// Their tokens, which are their names.
const TOKENS: [&str; 2] = ["one", "two"];
/// Their SPIFFE IDs.
pub(super) const AGENTS: [&str; 2] =
    ["spiffe://example.org/spire/agent/join_token/one", "spiffe://example.org/spire/agent/join_token/two"];

pub(super) struct Agents {
    servers: watch::Sender<Vec<Arc<Served>>>,
    views: Vec<Arc<Mutex<View>>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What an agent holds.
#[derive(Default)]
struct View {
    /// As they were sent, by id.
    entries: BTreeMap<String, Bytes>,
    /// By trust domain.
    bundles: BTreeMap<String, types::Bundle>,
    /// Ids of the parts of a listing that have come.
    listed: Vec<String>,
}

impl Agents {
    pub(super) async fn start(servers: &[Server], history: &Arc<History>, random: &mut Random) -> Self {
        let known = watch::Sender::new(servers.iter().map(|server| Arc::clone(&server.served)).collect::<Vec<_>>());
        let (mut views, mut tasks) = (Vec::new(), Vec::new());
        for token in TOKENS {
            let certificate = servers[0].served.agent(token).await;
            let view = Arc::new(Mutex::new(View::default()));
            let (servers, history, random) = (known.subscribe(), Arc::clone(history), random.another());
            tasks.push(tokio::spawn(follow(certificate, servers, Arc::clone(&view), history, random)));
            views.push(view);
        }
        Self { servers: known, views, tasks }
    }

    /// A server goes: whoever follows it finds another one.
    pub(super) fn leave(&self, server: &Server) {
        self.servers.send_modify(|servers| servers.retain(|known| !Arc::ptr_eq(known, &server.served)));
    }

    /// There is another server.
    pub(super) fn know(&self, server: &Server) {
        self.servers.send_modify(|servers| servers.push(Arc::clone(&server.served)));
    }

    /// All of them open another stream.
    pub(super) fn move_on(&self, random: &mut Random) {
        self.servers.send_modify(|servers| servers.rotate_left(random.below(2) as usize));
    }

    /// The first thing in which an agent differs from what it may have; empty for nothing.
    pub(super) async fn difference(&self, store: &DataStore) -> String {
        let index = index_of(store).await;
        for (id, view) in AGENTS.iter().zip(&self.views) {
            let authorized = index.authorized(id);
            let entries = authorized.iter().map(|entry| (entry.id.to_string(), entry.for_agents())).collect();
            let federated = authorized.iter().flat_map(|entry| &entry.federates_with).map(|name| &**name);
            let bundles = federated.chain(["example.org"]);
            let bundles = bundles.filter_map(|name| Some((name.to_owned(), index.bundle(name)?.api.clone()))).collect();
            let view = view.lock().unwrap();
            if let Some(difference) = first(&entries, &view.entries).or_else(|| first(&bundles, &view.bundles)) {
                return format!("{id}: {difference}");
            }
        }
        String::new()
    }

    pub(super) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled(), "an agent panicked");
        }
    }
}

/// Follows one server after the other.
async fn follow(
    agent: Certificate,
    mut servers: watch::Receiver<Vec<Arc<Served>>>,
    view: Arc<Mutex<View>>,
    history: Arc<History>,
    mut random: Random,
) {
    loop {
        let server = {
            let servers = servers.borrow_and_update();
            let one = random.below(servers.len() as u64) as usize;
            Arc::clone(&servers[one])
        };
        let (requests, stream) = mpsc::unbounded_channel();
        let ask = |asked| drop(requests.send(FollowRequest { request: Some(asked) }));
        let held = view.lock().unwrap().held();
        ask(Asked::Open(Open { held }));
        // Each stream begins with all bundles.
        view.lock().unwrap().bundles.clear();
        let mut client = SyncClient::new(server.showing(&agent));
        let mut changes = match client.follow(UnboundedReceiverStream::new(stream)).await {
            Ok(changes) => changes.into_inner(),
            Err(status) => {
                history.refused(&status);
                continue;
            }
        };
        loop {
            let message = tokio::select! {
                message = changes.message() => message,
                _ = servers.changed() => break,
            };
            match message {
                Ok(Some(message)) => {
                    let wanted = view.lock().unwrap().take(message.change.unwrap(), &history);
                    if !wanted.is_empty() {
                        ask(Asked::Want(Want { entry_ids: wanted }));
                    }
                    history.changed();
                }
                Ok(None) => break,
                Err(status) => {
                    history.refused(&status);
                    break;
                }
            }
        }
    }
}

impl History {
    /// Agents stay what they are, whatever happens to the database.
    fn refused(&self, status: &Status) {
        if status.code() == Code::PermissionDenied {
            self.wrong(format!("an agent was refused: {status:?}"));
        }
    }
}

impl View {
    fn held(&self) -> Vec<u8> {
        let digests = self.entries.iter().map(|(id, entry)| (id.as_str(), steeple_pki::sha256(entry)));
        steeple_transport::sync::digest(digests)
    }

    /// Takes over what was sent; returns the entries to ask for.
    fn take(&mut self, change: Change, history: &History) -> Vec<String> {
        match change {
            Change::Listing(listing) => {
                let lacks = |id: &str, digest: &[u8]| {
                    self.entries.get(id).is_none_or(|held| steeple_pki::sha256(held) != digest)
                };
                let wanted = listing
                    .entries
                    .iter()
                    .filter(|entry| lacks(&entry.id, &entry.digest))
                    .map(|entry| entry.id.clone());
                let wanted: Vec<_> = wanted.collect();
                self.listed.extend(listing.entries.into_iter().map(|entry| entry.id));
                if !listing.more {
                    let listed = std::mem::take(&mut self.listed);
                    self.entries.retain(|id, _| listed.contains(id));
                }
                return wanted;
            }
            Change::Entries(entries) => {
                for encoded in entries.entries {
                    let entry = types::Entry::decode(&*encoded).unwrap();
                    history.check_sent(&entry);
                    self.entries.insert(entry.id, encoded);
                }
            }
            Change::Removed(removed) => self.entries.retain(|id, _| !removed.entry_ids.contains(id)),
            Change::Bundle(bundle) => drop(self.bundles.insert(bundle.trust_domain.clone(), bundle)),
            Change::RemovedBundle(name) => drop(self.bundles.remove(&name)),
            Change::Status(_) => {}
        }
        Vec::new()
    }
}
