//! What servers, agents and workloads show, and what they should show.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Gid, Uid};
use prost::Message;
use prost::bytes::Bytes;
use steeple_proto::spire::api::server::bundle::v1::ListFederatedBundlesRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{GetAuthorizedEntriesRequest, ListEntriesRequest};
use steeple_proto::spire::api::types::{Entry, Selector, Spiffeid};
use steeple_tests::Workload;
use steeple_transport::dial;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use super::{Cluster, READING, RELOAD, SIDES, Side};

/// Entries and bundles, as a server lists them.
#[derive(Debug, PartialEq)]
pub(crate) struct Store {
    /// By ID; what is a set is sorted.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// The authorities of each trust domain.
    pub(crate) bundles: BTreeMap<String, Vec<u8>>,
}

impl Store {
    /// At the other end of an administrative socket.
    pub(crate) async fn at(channel: Channel) -> Result<Self> {
        let listed = EntryClient::new(channel.clone()).list_entries(ListEntriesRequest::default()).await?;
        let bundles = BundleClient::new(channel).list_federated_bundles(ListFederatedBundlesRequest::default()).await?;
        let authorities = bundles.into_inner().bundles.into_iter().map(|bundle| {
            let der = bundle.x509_authorities.iter().flat_map(|authority| authority.asn1.clone()).collect();
            (bundle.trust_domain, der)
        });
        Ok(Self { entries: by_id(listed.into_inner().entries), bundles: authorities.collect() })
    }

    /// The entries that an agent may have: those below it, those below them, and so on.
    pub(crate) fn authorized(&self, agent: &str) -> BTreeMap<String, Entry> {
        let (mut found, mut seen, mut parents) = (BTreeMap::new(), BTreeSet::new(), vec![agent.to_owned()]);
        while let Some(parent) = parents.pop() {
            if !seen.insert(parent.clone()) {
                continue;
            }
            for entry in self.entries.values().filter(|entry| text(entry.parent_id.as_ref()) == parent) {
                found.insert(entry.id.clone(), entry.clone());
                parents.push(text(entry.spiffe_id.as_ref()));
            }
        }
        found
    }

    /// The SVIDs that this process gets from an agent.
    fn served(&self, agent: &str) -> Served {
        let own = own_selectors();
        let mut served = Served::default();
        let entries = self.authorized(agent).into_values();
        for entry in entries.filter(|entry| entry.selectors.iter().all(|selector| own.contains(selector))) {
            let federated = entry.federates_with.iter();
            served.bundles.extend(federated.filter_map(|td| Some((td.clone(), self.bundles.get(td)?.clone()))));
            served.svids.push((text(entry.spiffe_id.as_ref()), entry.hint));
        }
        served.svids.sort();
        served
    }
}

/// SPIFFE IDs with hints, and the bundles of the trust domains that they federate with.
#[derive(Debug, Default, PartialEq)]
struct Served {
    svids: Vec<(String, String)>,
    bundles: BTreeMap<String, Vec<u8>>,
}

/// Somebody's view of the store.
pub(super) struct View {
    /// Whose it is, without numbers.
    pub(super) kind: &'static str,
    name: String,
    /// Whether a daemon of the reference has a part in it.
    is_theirs: bool,
    of: Of,
}

enum Of {
    /// All that our server lists.
    Listing(Channel),
    /// What a server gives to an agent.
    Agent { id: String, channel: Channel },
    /// What a workload of an agent gets.
    Workload { agent: String, workload: Workload },
}

/// How long a workload waits for an answer at each look. An agent that has none yet says nothing.
const ANSWER: Duration = Duration::from_millis(500);

impl View {
    /// Everybody's.
    pub(super) async fn all(cluster: &Cluster) -> Result<Vec<Self>> {
        let listing = Of::Listing(dial::local(&cluster.ours.socket));
        let mut views =
            vec![Self { kind: "our `entry show`", name: "our server".to_owned(), is_theirs: false, of: listing }];
        for side in SIDES {
            let port = cluster.port(side).await?;
            let kind = match side {
                Side::Theirs => "GetAuthorizedEntries of theirs",
                Side::Ours => "GetAuthorizedEntries of ours",
            };
            for agent in &cluster.by_hand {
                let (id, channel) = (agent.id.to_string(), port.channel(Some(agent.credential.clone()))?);
                views.push(Self {
                    kind,
                    name: format!("{id} at {side:?}"),
                    is_theirs: side == Side::Theirs,
                    of: Of::Agent { id, channel },
                });
            }
        }
        let kinds = [
            ("workload, their agent, their server", true),
            ("workload, our agent, their server", true),
            ("workload, their agent, our server", true),
            ("workload, our agent, our server", false),
        ];
        views.extend(cluster.agents.iter().zip(kinds).map(|(agent, (kind, is_theirs))| {
            let of = Of::Workload { agent: agent.id.clone(), workload: agent.workload() };
            Self { kind, name: agent.name.clone(), is_theirs, of }
        }));
        Ok(views)
    }

    /// How long it may take until it equals the store.
    pub(super) fn may_take(&self) -> Duration {
        if self.is_theirs { RELOAD + READING } else { RELOAD }
    }

    /// Fails with the difference.
    pub(super) async fn equals(&self, store: &Store) -> Result<()> {
        self.compare(store).await.with_context(|| self.name.clone())
    }

    async fn compare(&self, store: &Store) -> Result<()> {
        match &self.of {
            Of::Listing(channel) => {
                let listed = EntryClient::new(channel.clone()).list_entries(ListEntriesRequest::default()).await?;
                same(&by_id(listed.into_inner().entries), &store.entries)
            }
            Of::Agent { id, channel } => {
                let request = GetAuthorizedEntriesRequest { output_mask: None };
                let told = EntryClient::new(channel.clone()).get_authorized_entries(request).await?.into_inner();
                same(&decoded(told.entries)?, &store.authorized(id))
            }
            Of::Workload { agent, workload } => {
                let (shown, expected) = (served(workload).await?, store.served(agent));
                ensure!(shown == expected, "shows {:?} in place of {:?}", shown.svids, expected.svids);
                Ok(())
            }
        }
    }
}

async fn served(workload: &Workload) -> Result<Served> {
    let answer = timeout(ANSWER, async {
        match workload.x509_svids().await {
            Ok(mut stream) => stream.message().await,
            Err(status) => Err(status),
        }
    });
    let update = match answer.await.context("no answer")? {
        Ok(update) => update.context("no update")?,
        // It has no identity.
        Err(status) if status.code() == Code::PermissionDenied => return Ok(Served::default()),
        Err(status) => return Err(status.into()),
    };
    let mut svids: Vec<_> = update.svids.into_iter().map(|svid| (svid.spiffe_id, svid.hint)).collect();
    svids.sort();
    let name = |id: String| id.trim_start_matches("spiffe://").to_owned();
    let bundles = update.federated_bundles.into_iter().map(|(id, der)| (name(id), der.to_vec()));
    Ok(Served { svids, bundles: bundles.collect() })
}

fn same(shown: &BTreeMap<String, Entry>, expected: &BTreeMap<String, Entry>) -> Result<()> {
    let ids: BTreeSet<_> = shown.keys().chain(expected.keys()).collect();
    for id in ids {
        let (shown, expected) = (shown.get(id), expected.get(id));
        ensure!(shown == expected, "shows {shown:?} in place of {expected:?}");
    }
    Ok(())
}

/// The entries of an answer to an agent, by ID.
pub(crate) fn decoded(entries: Vec<Bytes>) -> Result<BTreeMap<String, Entry>> {
    Ok(by_id(entries.into_iter().map(Entry::decode).collect::<Result<_, _>>()?))
}

fn by_id(entries: Vec<Entry>) -> BTreeMap<String, Entry> {
    let sorted = entries.into_iter().map(|mut entry| {
        entry.selectors.sort_by(|a, b| (&a.r#type, &a.value).cmp(&(&b.r#type, &b.value)));
        entry.federates_with.sort();
        (entry.id.clone(), entry)
    });
    sorted.collect()
}

pub(super) fn text(id: Option<&Spiffeid>) -> String {
    id.map_or_else(String::new, |Spiffeid { trust_domain, path }| format!("spiffe://{trust_domain}{path}"))
}

/// What the attestor `unix` finds out about this process, as far as entries ask for it.
pub(super) fn own_selectors() -> [Selector; 2] {
    [format!("uid:{}", Uid::current()), format!("gid:{}", Gid::current())]
        .map(|value| Selector { r#type: "unix".to_owned(), value })
}
