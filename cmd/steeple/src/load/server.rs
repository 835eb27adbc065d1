//! The server's administrative side: what a run needs there, and takes away again.

use std::cell::RefCell;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::agent::v1::{
    CreateJoinTokenRequest, DeleteAgentRequest, ListAgentsRequest, list_agents_request,
};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, BatchDeleteEntryRequest};
use steeple_proto::spire::api::types::{self, Entry, EntryMask, Selector, Spiffeid};
use steeple_spiffe::{Certificate, SpiffeId, TrustDomain};
use steeple_transport::dial;
use steeple_transport::id::on_wire;
use steeple_transport::status::refused;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::advice::failed;

/// A server, through its administrative socket.
pub(super) struct Server {
    pub(super) channel: Channel,
    pub(super) trust_domain: TrustDomain,
    pub(super) authorities: Arc<[Certificate]>,
    /// Stands in the IDs of all that this run makes, so that runs do not meet.
    run: String,
    traces: RefCell<Traces>,
}

/// What this run has made at the server, and what it may have made in a call that was not answered.
#[derive(Default)]
struct Traces {
    entries: Vec<String>,
    agents: Vec<SpiffeId>,
}

impl Server {
    /// Asks the server for its trust domain.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn connect(socket: &Path) -> Result<Self> {
        let channel = dial::local(socket);
        let bundle = BundleClient::new(channel.clone()).get_bundle(GetBundleRequest { output_mask: None }).await;
        let bundle = bundle.map_err(|status| failed("cannot get the server's bundle", &status))?.into_inner();
        let trust_domain = TrustDomain::parse(&bundle.trust_domain).context("the server's trust domain is none")?;
        let authorities = bundle.x509_authorities.iter().map(|authority| Certificate::from_der(&authority.asn1));
        let authorities = authorities.collect::<Result<_, _>>().context("the server's bundle is malformed")?;
        let run = steeple_pki::random_key_id()?[..8].to_owned();
        Ok(Self { channel, trust_domain, authorities, run, traces: RefCell::default() })
    }

    /// An ID below `/load`, of this run alone.
    ///
    /// # Errors
    /// It would be too long.
    pub(super) fn id(&self, name: &str) -> Result<SpiffeId> {
        Ok(SpiffeId::new(&self.trust_domain, &format!("/load/{}/{name}", self.run))?)
    }

    /// An entry of this run, not created yet. `number` differs from entry to entry.
    ///
    /// # Errors
    /// Its ID would be too long.
    pub(super) fn entry(&self, number: u64, parent: &SpiffeId, selector: (&str, &str)) -> Result<Entry> {
        let (r#type, value) = (selector.0.to_owned(), selector.1.to_owned());
        Ok(Entry {
            id: format!("load-{}-{number}", self.run),
            spiffe_id: Some(on_wire(&self.id(&number.to_string())?)),
            parent_id: Some(on_wire(parent)),
            selectors: vec![Selector { r#type, value }],
            ..Entry::default()
        })
    }

    /// Creates entries, at most 500.
    ///
    /// # Errors
    /// The server refuses the call or one of them.
    pub(super) async fn create(&self, entries: Vec<Entry>) -> Result<(), Status> {
        self.traces.borrow_mut().entries.extend(entries.iter().map(|entry| entry.id.clone()));
        let output_mask = Some(EntryMask::default());
        let request = BatchCreateEntryRequest { entries, output_mask };
        let answer = EntryClient::new(self.channel.clone()).batch_create_entry(request).await?.into_inner();
        accepted(answer.results.into_iter().filter_map(|result| result.status))
    }

    /// Deletes entries, at most 500. Those that are gone already are passed over.
    ///
    /// # Errors
    /// The server refuses the call.
    pub(super) async fn delete(&self, ids: Vec<String>) -> Result<(), Status> {
        let request = BatchDeleteEntryRequest { ids };
        EntryClient::new(self.channel.clone()).batch_delete_entry(request).await?;
        Ok(())
    }

    /// A token with which one agent can attest within an hour, and the ID that it will have.
    ///
    /// # Errors
    /// The server refuses.
    pub(super) async fn join_token(&self) -> Result<(String, SpiffeId)> {
        let request = CreateJoinTokenRequest { ttl: 3600, token: String::new(), agent_id: None };
        let token = AgentClient::new(self.channel.clone()).create_join_token(request).await;
        let token = token.map_err(|status| failed("cannot create a join token", &status))?.into_inner().value;
        let id = SpiffeId::new(&self.trust_domain, &format!("/spire/agent/join_token/{token}"))?;
        self.traces.borrow_mut().agents.push(id.clone());
        Ok((token, id))
    }

    /// The one agent of the trust domain.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(super) async fn only_agent(&self) -> Result<SpiffeId> {
        let filter = list_agents_request::Filter { by_banned: Some(false), ..Default::default() };
        let request = ListAgentsRequest { filter: Some(filter), page_size: 2, ..Default::default() };
        let agents = AgentClient::new(self.channel.clone()).list_agents(request).await;
        let agents = agents.map_err(|status| failed("cannot list the agents", &status))?.into_inner().agents;
        let [agent] = agents.as_slice() else {
            let found = if agents.is_empty() { "no agent" } else { "more than one agent" };
            bail!("the server knows {found}; say with -parentID which agent the entries are for");
        };
        let Spiffeid { trust_domain, path } = agent.id.clone().unwrap_or_default();
        Ok(SpiffeId::new(&TrustDomain::parse(&trust_domain)?, &path)?)
    }

    /// Leaves all that this run has made where it is.
    pub(super) fn keep(&self) {
        *self.traces.borrow_mut() = Traces::default();
    }

    /// Deletes all that this run has made.
    ///
    /// # Errors
    /// The server refuses; the text says what is left there.
    pub(super) async fn tidy(&self) -> Result<()> {
        let Traces { entries, agents } = mem::take(&mut *self.traces.borrow_mut());
        for ids in entries.chunks(BATCH) {
            let left = || format!("cannot delete the entries below /load/{}", self.run);
            self.delete(ids.to_vec()).await.map_err(|status| failed(&left(), &status))?;
        }
        let evict = async |agent: SpiffeId| {
            let request = DeleteAgentRequest { id: Some(on_wire(&agent)) };
            match AgentClient::new(self.channel.clone()).delete_agent(request).await {
                Err(status) if status.code() != Code::NotFound => {
                    Err(failed(&format!("cannot evict {agent}"), &status))
                }
                _ => Ok(()),
            }
        };
        stream::iter(agents).map(evict).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// The first refusal among the answers to the items of a batch.
///
/// # Errors
/// That one.
pub(super) fn accepted(statuses: impl IntoIterator<Item = types::Status>) -> Result<(), Status> {
    for status in statuses {
        if let Some(types::Status { code, message }) = refused(Some(&status)) {
            return Err(Status::new((*code).into(), message.clone()));
        }
    }
    Ok(())
}

/// Entries a call, at most.
pub(super) const BATCH: usize = 500;
/// Calls under way at once, where a run prepares something and tidies up.
pub(super) const AT_ONCE: usize = 8;
