//! One agent's stream.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use steeple_proto::steeple::agent::sync::v1::{
    Entries, EntryDigest, FollowRequest, FollowResponse, Listing, Open, Removed, Status as SyncStatus, Want,
    follow_request, follow_response,
};
use steeple_runtime::spread;
use steeple_transport::rpc::Call;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use tracing::info;

use super::super::Parts;
use crate::authpolicy::{Agents, denied};
use crate::entries::{IndexedBundle, IndexedEntry, MOST_SPREAD};

/// Entries of one message, at the most.
const PAGE: usize = 500;
/// Bytes of a message's entries beyond which another one is begun: gRPC peers take messages of 4 MiB. A single entry can
/// be no larger than the message in which it was created.
const PAGE_BYTES: usize = 1024 * 1024;

pub(super) struct Following {
    parts: Parts,
    agents: Arc<Agents>,
    call: Arc<Call>,
    answers: mpsc::Sender<Result<FollowResponse, Status>>,
    /// What the agent has been sent, or listed.
    held: HashMap<Arc<str>, Arc<IndexedEntry>>,
    /// By trust domain name.
    bundles: HashMap<String, Arc<IndexedBundle>>,
}

/// Why a stream ends.
pub(super) enum Ended {
    /// The agent is gone.
    Gone,
    /// The agent is told this.
    Refused(Status),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl Following {
    pub(super) fn new(
        parts: Parts,
        agents: Arc<Agents>,
        call: Arc<Call>,
        answers: mpsc::Sender<Result<FollowResponse, Status>>,
    ) -> Self {
        Self { parts, agents, call, answers, held: HashMap::new(), bundles: HashMap::new() }
    }

    pub(super) async fn run(mut self, open: Open, mut requests: Streaming<FollowRequest>) -> Result<(), Ended> {
        let agent = self.call.agent()?.to_string();
        // Watched before the first look, so that no change falls between the two.
        let mut changes = self.parts.index.changes_of(&agent);
        let mut seen = *changes.borrow_and_update();
        // When what has changed is told.
        let mut due = None;
        self.open(&agent, &open.held).await?;
        let svid_ends = self.call.connection.svid().ok_or(Ended::Gone)?.certificate.not_after();
        loop {
            tokio::select! {
                // What is sent has to be true.
                () = self.parts.freshness.over() => return Ok(self.parts.freshness.check()?),
                // Whoever has renewed has another connection.
                () = self.parts.clock.sleep_until(svid_ends) => return self.check_agent().await,
                changed = changes.changed() => {
                    // The index lives as long as the server.
                    changed.map_err(|_| Ended::Gone)?;
                    let (before, now) = (seen, self.parts.clock.now());
                    seen = *changes.borrow_and_update();
                    let within = seen.within(before);
                    if within.is_zero() {
                        // With what was yet to be told. A timer would cost more than what is sent.
                        due = None;
                        self.tell(&agent).await?;
                    } else {
                        let moment = now + spread(within / 2, within / 2);
                        due = Some(due.map_or(moment, |due: SystemTime| due.min(moment)));
                    }
                }
                () = self.parts.clock.sleep(self.left(due)), if due.is_some() => {
                    due = None;
                    self.tell(&agent).await?;
                }
                request = requests.next() => match request.ok_or(Ended::Gone)??.request {
                    Some(follow_request::Request::Want(Want { entry_ids })) => self.send_wanted(&agent, entry_ids).await?,
                    _ => return Err(Status::invalid_argument("only want may follow open").into()),
                },
            }
        }
    }

    /// What has changed.
    async fn tell(&mut self, agent: &str) -> Result<(), Ended> {
        self.check_agent().await?;
        self.send_difference(agent).await
    }

    /// How long it is until what has changed is told. A clock that was set back makes that no longer.
    fn left(&self, due: Option<SystemTime>) -> Duration {
        let left = due.and_then(|due| due.duration_since(self.parts.clock.now()).ok());
        left.unwrap_or_default().min(MOST_SPREAD)
    }

    /// Everything, unless the agent has it already.
    async fn open(&mut self, agent: &str, held: &[u8]) -> Result<(), Ended> {
        let authorized = self.parts.index.authorized(agent);
        self.send_bundles(&authorized).await?;
        if held != digest(&authorized) {
            let mut pages = authorized.chunks(PAGE).peekable();
            if pages.peek().is_none() {
                self.send(follow_response::Change::Listing(Listing::default())).await?;
            }
            while let Some(page) = pages.next() {
                let entries =
                    page.iter().map(|entry| EntryDigest { id: entry.id.to_string(), digest: entry.digest.to_vec() });
                let listing = Listing { entries: entries.collect(), more: pages.peek().is_some() };
                self.send(follow_response::Change::Listing(listing)).await?;
            }
        }
        info!(target: "agent_sync", agent_id = agent, count = authorized.len(), "Agent follows changes");
        self.held = authorized.into_iter().map(|entry| (Arc::clone(&entry.id), entry)).collect();
        self.send_complete().await
    }

    /// An agent that is no longer one is told why, as at any other call.
    async fn check_agent(&self) -> Result<(), Ended> {
        let svid = self.call.connection.svid().ok_or(Ended::Gone)?;
        self.agents.check(svid).await.map_err(|refusal| {
            let is_denial = refusal.code() == Code::PermissionDenied;
            Ended::Refused(if is_denial { denied(self.call.method, &refusal) } else { refusal })
        })
    }

    async fn send_difference(&mut self, agent: &str) -> Result<(), Ended> {
        let authorized = self.parts.index.authorized(agent);
        self.send_bundles(&authorized).await?;
        // A row that was read again is another value, though it may say the same.
        let is_news = |entry: &&Arc<IndexedEntry>| {
            self.held.get(&entry.id).is_none_or(|held| !Arc::ptr_eq(held, entry) && held.digest != entry.digest)
        };
        let news: Vec<_> = authorized.iter().filter(is_news).map(|entry| entry.for_agents()).collect();
        let names: HashSet<&str> = authorized.iter().map(|entry| &*entry.id).collect();
        let lost: Vec<_> = self.held.keys().filter(|id| !names.contains(&***id)).map(ToString::to_string).collect();
        if !lost.is_empty() {
            self.send(follow_response::Change::Removed(Removed { entry_ids: lost })).await?;
        }
        self.send_entries(news).await?;
        self.held = authorized.into_iter().map(|entry| (Arc::clone(&entry.id), entry)).collect();
        self.send_complete().await
    }

    async fn send_wanted(&mut self, agent: &str, ids: Vec<String>) -> Result<(), Ended> {
        if ids.len() > PAGE {
            return Err(Status::invalid_argument(format!("at most {PAGE} entries can be wanted at a time")).into());
        }
        let (mut entries, mut lost) = (Vec::new(), Vec::new());
        for id in ids {
            match self.parts.index.authorized_entry(agent, &id) {
                Some(entry) => entries.push(entry.for_agents()),
                None => lost.push(id),
            }
        }
        if !lost.is_empty() {
            self.send(follow_response::Change::Removed(Removed { entry_ids: lost })).await?;
        }
        self.send_entries(entries).await?;
        self.send_complete().await
    }

    /// In as few messages as the limits allow.
    async fn send_entries(&self, entries: Vec<Bytes>) -> Result<(), Ended> {
        for entries in pages(entries) {
            self.send(follow_response::Change::Entries(Entries { entries })).await?;
        }
        Ok(())
    }

    /// The own bundle, and those that the entries need, as far as the agent has not got them.
    async fn send_bundles(&mut self, authorized: &[Arc<IndexedEntry>]) -> Result<(), Ended> {
        let own = self.parts.trust_domain.name().to_owned();
        let federated = authorized.iter().flat_map(|entry| &entry.federates_with);
        let needed: HashSet<String> = federated.map(|name| name.to_string()).chain(std::iter::once(own)).collect();
        for name in &needed {
            let Some(bundle) = self.parts.index.bundle(name) else { continue };
            if self.bundles.get(name).is_some_and(|sent| Arc::ptr_eq(sent, &bundle)) {
                continue;
            }
            self.send(follow_response::Change::Bundle(bundle.api.clone())).await?;
            self.bundles.insert(name.clone(), bundle);
        }
        let gone = |name: &&String| !needed.contains(*name) || self.parts.index.bundle(name).is_none();
        let gone: Vec<String> = self.bundles.keys().filter(gone).cloned().collect();
        for name in gone {
            self.bundles.remove(&name);
            self.send(follow_response::Change::RemovedBundle(name)).await?;
        }
        Ok(())
    }

    async fn send_complete(&self) -> Result<(), Ended> {
        self.send(follow_response::Change::Status(SyncStatus { complete: true })).await
    }

    async fn send(&self, change: follow_response::Change) -> Result<(), Ended> {
        self.answers.send(Ok(FollowResponse { change: Some(change) })).await.map_err(|_| Ended::Gone)
    }
}

fn pages(entries: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let mut pages: Vec<Vec<Bytes>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        match pages.last_mut() {
            Some(page) if page.len() < PAGE && bytes + entry.len() <= PAGE_BYTES => {
                bytes += entry.len();
                page.push(entry);
            }
            _ => {
                bytes = entry.len();
                pages.push(vec![entry]);
            }
        }
    }
    pages
}

/// The digest of a set of entries, as the protocol has it (`steeple.agent.sync.v1.Open.held`).
fn digest(entries: &[Arc<IndexedEntry>]) -> Vec<u8> {
    let mut entries: Vec<_> = entries.iter().map(|entry| (&*entry.id, entry.digest)).collect();
    entries.sort_unstable();
    steeple_transport::sync::digest(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(entries: &[usize]) -> Vec<usize> {
        let entries = entries.iter().map(|length| Bytes::from(vec![0; *length])).collect();
        pages(entries).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_page_ends_at_its_number_and_at_its_bytes() {
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&vec![10; PAGE + 1]), [PAGE, 1]);
        assert_eq!(lengths(&[PAGE_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(lengths(&[PAGE_BYTES + 1, 1, PAGE_BYTES]), [1, 1, 1]);
    }
}
