//! `steeple.agent.sync.v1`: what an agent is told, and when its stream ends.

use std::time::Duration;

use prost::Message;
use steeple_datastore::bundles::{DeleteBundle, DeleteMode, SetBundle};
use steeple_datastore::entries::{DeleteEntry, EntryMask, UpdateEntry};
use steeple_datastore::nodes::{DeleteNode, UpdateNode};
use steeple_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{
    BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest, BatchUpdateFederatedBundleRequest,
};
use steeple_proto::spire::api::server::entry::v1::BatchUpdateEntryRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_proto::spire::common;
use steeple_proto::steeple::agent::sync::v1::follow_request::Request as Asked;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use steeple_proto::steeple::agent::sync::v1::sync_client::SyncClient;
use steeple_proto::steeple::agent::sync::v1::{
    Entries, FollowRequest, FollowResponse, Listing, Open, Removed, Status as Synced, Want,
};
use steeple_transport::status::denial_reason;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Streaming};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const AGE: Duration = SECOND.saturating_mul(180);

/// One agent's stream.
struct Followed {
    requests: mpsc::UnboundedSender<FollowRequest>,
    changes: Streaming<FollowResponse>,
}

impl Followed {
    /// Opens it and says what is held.
    async fn open(api: &Api, agent: &Certificate, held: Vec<u8>) -> Self {
        let followed = Self::silent(api, agent).await;
        followed.ask(Asked::Open(Open { held }));
        followed
    }

    /// Opens it and says nothing.
    async fn silent(api: &Api, agent: &Certificate) -> Self {
        let (requests, stream) = mpsc::unbounded_channel();
        let mut client = SyncClient::new(api.showing(agent));
        let changes = client.follow(UnboundedReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { requests, changes }
    }

    fn ask(&self, asked: Asked) {
        self.requests.send(FollowRequest { request: Some(asked) }).unwrap();
    }

    fn want(&self, ids: &[&str]) {
        self.ask(Asked::Want(Want { entry_ids: ids.iter().map(|id| (*id).to_owned()).collect() }));
    }

    /// The changes up to the next "complete", in a short form. A change that is none for this agent is passed over: the index
    /// may hear of what was written before only now.
    async fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let change = self.changes.message().await.unwrap().expect("the stream is open").change.unwrap();
            match change {
                Change::Status(Synced { complete: true }) if told.is_empty() => {}
                Change::Status(Synced { complete: true }) => return told,
                change => told.push(short(change)),
            }
        }
    }

    /// The status that it ends with; OK when it ends well.
    async fn end(&mut self) -> (Code, Option<Reason>, String) {
        loop {
            match self.changes.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return (Code::Ok, None, String::new()),
                Err(status) => return (status.code(), denial_reason(&status), status.message().to_owned()),
            }
        }
    }
}

/// How a stream ends whose agent has become none: in the words of any other call.
fn denied(reason: Reason) -> (Code, Option<Reason>, String) {
    let message = "authorization denied for method /steeple.agent.sync.v1.Sync/Follow".to_owned();
    (Code::PermissionDenied, Some(reason), message)
}

fn short(change: Change) -> String {
    match change {
        Change::Bundle(bundle) => format!("bundle {} {}", bundle.trust_domain, bundle.x509_authorities.len()),
        Change::RemovedBundle(name) => format!("no bundle {name}"),
        Change::Listing(Listing { entries, more }) => {
            let ids: Vec<_> = entries.iter().map(|entry| &*entry.id).collect();
            format!("listing {}{}", ids.join(","), if more { " more" } else { "" })
        }
        Change::Entries(Entries { entries }) => {
            let entries = entries.iter().map(|entry| types::Entry::decode(&**entry).unwrap());
            let ids: Vec<_> = entries.map(|entry| format!("{}@{}", entry.id, entry.revision_number)).collect();
            format!("entries {}", ids.join(","))
        }
        Change::Removed(Removed { mut entry_ids }) => {
            entry_ids.sort();
            format!("removed {}", entry_ids.join(","))
        }
        Change::Status(status) => format!("{status:?}"),
    }
}

/// What an agent sends that holds these entries as they are stored.
fn held(rows: &[&Entry]) -> Vec<u8> {
    let sent = |row: &&Entry| {
        let entry = types::Entry {
            parent_id: None,
            x509_svid_ttl: 0,
            jwt_svid_ttl: 0,
            dns_names: Vec::new(),
            expires_at: 0,
            ..crate::entries::api_entry(row).unwrap()
        };
        (row.entry_id.clone(), steeple_pki::sha256(&entry.encode_to_vec()))
    };
    let digests: Vec<_> = rows.iter().map(sent).collect();
    steeple_transport::sync::digest(digests.iter().map(|(id, digest)| (id.as_str(), *digest)))
}

fn bundle_of(trust_domain: &str, authorities: &[&[u8]]) -> common::Bundle {
    let root = |der: &&[u8]| common::Certificate { der_bytes: der.to_vec(), tainted_key: false };
    common::Bundle {
        trust_domain_id: format!("spiffe://{trust_domain}"),
        root_cas: authorities.iter().map(root).collect(),
        ..common::Bundle::default()
    }
}

#[tokio::test]
async fn a_stream_begins_with_the_bundle_and_a_listing_of_what_there_is() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let other = api.agent("two").await;
    api.entry("a", &agent).await;
    api.entry("b", &agent).await;
    api.entry("c", &other).await;
    api.indexed(&agent, 2).await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    assert_eq!(followed.told().await, ["bundle example.org 1", "listing a,b"]);
    followed.want(&["b", "a", "c", "unknown"]);
    assert_eq!(followed.told().await, ["removed c,unknown", "entries b@0,a@0"]);
}

#[tokio::test]
async fn who_holds_all_of_it_already_is_told_nothing_of_entries() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let (a, b) = (api.entry("a", &agent).await, api.entry("b", &agent).await);
    api.indexed(&agent, 2).await;
    let mut behind = Followed::open(&api, &agent, held(&[&a])).await;
    assert_eq!(behind.told().await, ["bundle example.org 1", "listing a,b"]);
    let mut again = Followed::open(&api, &agent, held(&[&a, &b])).await;
    assert_eq!(again.told().await, ["bundle example.org 1"]);
    api.entry("c", &agent).await;
    assert_eq!(again.told().await, ["entries c@0"]);
}

#[tokio::test]
async fn nothing_held_and_nothing_there_is_complete_at_once() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    assert_eq!(followed.told().await, ["bundle example.org 1"]);
    let mut wrong = Followed::open(&api, &agent, b"something".to_vec()).await;
    assert_eq!(wrong.told().await, ["bundle example.org 1", "listing "]);
}

#[tokio::test]
async fn entries_that_come_change_and_go_are_told() {
    let api = Api::new().await;
    let (agent, other) = (api.agent("one").await, api.agent("two").await);
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    let a = api.entry("a", &agent).await;
    assert_eq!(followed.told().await, ["entries a@0"]);
    // Another agent's entry is none of its business: the next that is told is the change after it.
    api.entry("b", &other).await;
    let hinted = Entry { hint: "h".to_owned(), ..a };
    let mask = EntryMask { hint: true, ..EntryMask::default() };
    api.store.write(UpdateEntry { entry: hinted, mask }).await.unwrap();
    assert_eq!(followed.told().await, ["entries a@1"]);
    api.create(Entry { parent_id: "spiffe://example.org/a".to_owned(), ..entry("c", &other) }).await;
    assert_eq!(followed.told().await, ["entries c@0"]);
    // What stands below it goes with it.
    api.store.write(DeleteEntry { entry_id: "a".to_owned() }).await.unwrap();
    assert_eq!(followed.told().await, ["removed a,c"]);
}

#[tokio::test]
async fn a_bundle_comes_before_the_entry_that_needs_it_and_goes_with_the_last_one() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let partner = steeple_testkit::Ca::new("partner.org", api.manual.now());
    api.store.write(SetBundle(bundle_of("partner.org", &[partner.root().der()]))).await.unwrap();
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    assert_eq!(followed.told().await, ["bundle example.org 1"]);
    let federated = Entry { federates_with: vec!["spiffe://partner.org".to_owned()], ..entry("a", &agent) };
    api.create(federated.clone()).await;
    assert_eq!(followed.told().await, ["bundle partner.org 1", "entries a@0"]);

    let second = steeple_testkit::Ca::new("partner.org", api.manual.now());
    let both = bundle_of("partner.org", &[partner.root().der(), second.root().der()]);
    api.store.write(SetBundle(both)).await.unwrap();
    assert_eq!(followed.told().await, ["bundle partner.org 2"]);

    let alone = Entry { federates_with: Vec::new(), ..federated };
    let mask = EntryMask { federates_with: true, ..EntryMask::default() };
    api.store.write(UpdateEntry { entry: alone, mask }).await.unwrap();
    assert_eq!(followed.told().await, ["no bundle partner.org", "entries a@1"]);
}

#[tokio::test]
async fn what_concerns_many_agents_is_told_to_each_in_its_time_and_keeps_nothing_else_waiting() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let partner = |authorities: &[&[u8]]| SetBundle(bundle_of("partner.org", authorities));
    let root = steeple_testkit::Ca::new("partner.org", api.manual.now());
    api.store.write(partner(&[])).await.unwrap();
    api.create(Entry { federates_with: vec!["spiffe://partner.org".to_owned()], ..entry("a", &agent) }).await;
    api.indexed(&agent, 1).await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    let mut others: Vec<_> = (0..5_000).map(|number| api.index.changes_of(&format!("other-{number}"))).collect();

    api.store.write(partner(&[root.root().der()])).await.unwrap();
    others[0].changed().await.unwrap();
    // Its time has not come, but that of another change has, which brings all there is.
    api.entry("b", &agent).await;
    assert_eq!(followed.told().await, ["bundle partner.org 1", "entries b@0"]);

    api.store.write(partner(&[])).await.unwrap();
    others[0].changed().await.unwrap();
    let passes = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
            api.manual.advance(SECOND / 10);
        }
    };
    let (told, ()) = tokio::join!(followed.told(), passes);
    assert_eq!(told, ["bundle partner.org 0"]);
}

#[tokio::test]
async fn a_bundle_that_is_deleted_is_told() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    api.store.write(SetBundle(bundle_of("partner.org", &[]))).await.unwrap();
    api.create(Entry { federates_with: vec!["spiffe://partner.org".to_owned()], ..entry("a", &agent) }).await;
    api.indexed(&agent, 1).await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    let delete = DeleteBundle { trust_domain: "spiffe://partner.org".to_owned(), mode: DeleteMode::Dissociate };
    api.store.write(delete).await.unwrap();
    let told = followed.told().await;
    assert_eq!(told[0], "no bundle partner.org", "{told:?}");
}

#[tokio::test]
async fn what_operators_change_by_hand_is_told() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    api.entry("a", &agent).await;
    api.indexed(&agent, 1).await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    let (mut bundles, mut entries) = (BundleClient::new(api.local()), EntryClient::new(api.local()));

    let partner = steeple_testkit::Ca::new("partner.org", api.manual.now());
    let set = BatchSetFederatedBundleRequest { bundle: vec![partner.api_bundle()], output_mask: None };
    bundles.batch_set_federated_bundle(set).await.unwrap();
    let federated =
        types::Entry { id: "a".to_owned(), federates_with: vec!["partner.org".to_owned()], ..types::Entry::default() };
    let input_mask = Some(types::EntryMask { federates_with: true, ..types::EntryMask::default() });
    let update = BatchUpdateEntryRequest { entries: vec![federated], input_mask, output_mask: None };
    entries.batch_update_entry(update).await.unwrap();
    assert_eq!(followed.told().await, ["bundle partner.org 1", "entries a@1"]);

    let bundle = types::Bundle { x509_authorities: Vec::new(), ..partner.api_bundle() };
    let update = BatchUpdateFederatedBundleRequest { bundle: vec![bundle], input_mask: None, output_mask: None };
    bundles.batch_update_federated_bundle(update).await.unwrap();
    assert_eq!(followed.told().await, ["bundle partner.org 0"]);

    let trust_domains = vec!["partner.org".to_owned()];
    let delete = BatchDeleteFederatedBundleRequest { trust_domains, mode: Mode::Delete.into() };
    bundles.batch_delete_federated_bundle(delete).await.unwrap();
    assert_eq!(followed.told().await, ["no bundle partner.org", "removed a"]);
}

#[tokio::test]
async fn an_agent_that_is_banned_evicted_or_superseded_is_told_why_its_stream_ends() {
    let api = Api::new().await;
    for (name, expected) in
        [("banned", Reason::AgentBanned), ("evicted", Reason::AgentNotAttested), ("superseded", Reason::AgentNotActive)]
    {
        let agent = api.agent(name).await;
        let id = agent.spiffe_id().unwrap().to_string();
        let mut followed = Followed::open(&api, &agent, Vec::new()).await;
        followed.told().await;
        match expected {
            Reason::AgentNotAttested => drop(api.store.write(DeleteNode { spiffe_id: id }).await.unwrap()),
            Reason::AgentNotActive => {
                api.token(name, 60).await;
                api.attest(name).await.unwrap();
            }
            _ => {
                let serial = Some(String::new());
                let ban =
                    UpdateNode { spiffe_id: id, serial, new_serial: Some(String::new()), ..UpdateNode::default() };
                api.store.write(ban).await.unwrap();
            }
        }
        assert_eq!(followed.end().await, denied(expected), "{name}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_svid_that_it_was_opened_with() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    api.manual.advance(HOUR - SECOND);
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    api.manual.until_somebody_sleeps(SECOND..=SECOND).await;
    api.manual.advance(SECOND * 2);
    assert_eq!(followed.end().await, denied(Reason::AgentExpired));
}

#[tokio::test]
async fn an_agent_has_one_stream_and_the_newest_is_it() {
    let api = Api::new().await;
    let (agent, other) = (api.agent("one").await, api.agent("two").await);
    let mut first = Followed::open(&api, &agent, Vec::new()).await;
    let mut others = Followed::open(&api, &other, Vec::new()).await;
    first.told().await;
    others.told().await;
    let mut second = Followed::open(&api, &agent, Vec::new()).await;
    second.told().await;
    assert_eq!(first.end().await.0, Code::Ok);
    api.entry("a", &agent).await;
    api.entry("b", &other).await;
    assert_eq!((second.told().await, others.told().await), (vec!["entries a@0".into()], vec!["entries b@0".into()]));
}

#[tokio::test]
async fn a_stream_ends_well_at_its_age_and_at_the_stop() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    api.manual.wake(AGE * 9 / 10..=AGE * 11 / 10).await;
    assert_eq!(followed.end().await.0, Code::Ok);
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    followed.told().await;
    api.shutdown.stop();
    assert_eq!(followed.end().await.0, Code::Ok);
}

#[tokio::test]
async fn streams_that_were_opened_at_once_do_not_end_at_once() {
    const STREAMS: usize = 60;
    let api = Api::new().await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let agent = api.agent(&number.to_string()).await;
        let mut followed = Followed::open(&api, &agent, Vec::new()).await;
        followed.told().await;
        streams.push(followed);
    }
    let possible = AGE * 9 / 10..=AGE * 11 / 10;
    let ages: Vec<_> = api.manual.left().into_iter().filter(|left| possible.contains(left)).collect();
    assert_eq!(ages.len(), STREAMS, "others end sooner or later: {:?}", api.manual.left());
    let different: std::collections::BTreeSet<_> = ages.iter().collect();
    assert_eq!(different.len(), STREAMS, "{ages:?}");
    // As good as never by chance, if the ages are spread evenly.
    for third in [AGE * 27 / 30..AGE * 29 / 30, AGE * 29 / 30..AGE * 31 / 30, AGE * 31 / 30..AGE * 33 / 30] {
        assert!(ages.iter().any(|age| third.contains(age)), "none in {third:?}: {ages:?}");
    }
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_told_so() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let refused = |message: &str| (Code::InvalidArgument, None, message.to_owned());

    let mut silent = Followed::silent(&api, &agent).await;
    api.manual.wake(SECOND * 30..=SECOND * 30).await;
    assert_eq!(silent.end().await, refused("the first message must be open"));

    let mut hasty = Followed::silent(&api, &agent).await;
    hasty.want(&["a"]);
    assert_eq!(hasty.end().await, refused("the first message must be open"));

    let mut twice = Followed::open(&api, &agent, Vec::new()).await;
    twice.told().await;
    twice.ask(Asked::Open(Open::default()));
    assert_eq!(twice.end().await, refused("only want may follow open"));

    let mut greedy = Followed::open(&api, &agent, Vec::new()).await;
    greedy.told().await;
    greedy.want(&["a"; 501]);
    assert_eq!(greedy.end().await, refused("at most 500 entries can be wanted at a time"));
}

#[tokio::test]
async fn nobody_but_an_agent_may_follow() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    api.store.write(DeleteNode { spiffe_id: agent.spiffe_id().unwrap().to_string() }).await.unwrap();
    for wire in [api.local(), api.anonymous()] {
        let status = SyncClient::new(wire).follow(tokio_stream::pending()).await.unwrap_err();
        assert_eq!((status.code(), denial_reason(&status)), (Code::PermissionDenied, None));
    }
}

#[tokio::test]
async fn hundreds_of_entries_are_listed_in_parts() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let entries = (0..1001).map(|i| entry(&format!("{i:04}"), &agent)).collect();
    api.store.write(steeple_datastore::entries::CreateEntries { entries }).await.unwrap();
    api.indexed(&agent, 1001).await;
    let mut followed = Followed::open(&api, &agent, Vec::new()).await;
    let told = followed.told().await;
    let parts: Vec<_> = told[1..].iter().map(|part| (part.split(',').count(), part.ends_with(" more"))).collect();
    assert_eq!(parts, [(500, true), (500, true), (1, false)]);
}
