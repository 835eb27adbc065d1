//! What a server has stored, as it tells.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use steeple_proto::spire::api::server::agent::v1::ListAgentsRequest;
use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use steeple_proto::spire::api::server::bundle::v1::ListFederatedBundlesRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::entry::v1::ListEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types::{Agent, Bundle, Entry};
use tonic::transport::Channel;

/// Entries by their ID, bundles by trust domain, agents by path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) bundles: BTreeMap<String, Bundle>,
    pub(super) agents: BTreeMap<String, Agent>,
}

impl Known {
    /// All of it.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn of(channel: &Channel) -> Result<Self> {
        let (mut entries, mut bundles, mut agents) =
            (EntryClient::new(channel.clone()), BundleClient::new(channel.clone()), AgentClient::new(channel.clone()));
        let entries = entries.list_entries(ListEntriesRequest::default()).await?.into_inner().entries;
        let bundles =
            bundles.list_federated_bundles(ListFederatedBundlesRequest::default()).await?.into_inner().bundles;
        let agents = agents.list_agents(ListAgentsRequest::default()).await?.into_inner().agents;
        Ok(Self {
            entries: entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect(),
            bundles: bundles.into_iter().map(|bundle| (bundle.trust_domain.clone(), bundle)).collect(),
            agents: agents.into_iter().map(|agent| (agent.id.clone().unwrap_or_default().path, agent)).collect(),
        })
    }
}

/// What there is now and was not before.
///
/// # Errors
/// It is not one thing.
pub(super) fn only_new<'n, T>(
    before: &BTreeMap<String, T>,
    after: &'n BTreeMap<String, T>,
) -> Result<(&'n String, &'n T)> {
    let new: Vec<_> = after.iter().filter(|(id, _)| !before.contains_key(*id)).collect();
    match new[..] {
        [one] => Ok(one),
        _ => bail!("{} new ones in place of one", new.len()),
    }
}
