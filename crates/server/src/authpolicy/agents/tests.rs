use std::sync::Arc;

use steeple_datastore::ChangedRows;
use steeple_datastore::join_tokens::{AttestWithToken, ConsumeJoinToken, CreateJoinToken, JoinToken};
use steeple_datastore::nodes::{AttestNode, DeleteNode, UpdateNode};
use steeple_testkit::{Ca, ManualClock};
use steeple_transport::status::denial_reason;
use tempfile::TempDir;
use tonic::Code;

use super::*;
use crate::tests::{DAY, HOUR, manual, store};

/// One agent, attested, and known to store and index.
struct Case {
    manual: ManualClock,
    ca: Ca,
    agents: Agents,
    index: Arc<Index>,
    store: DataStore,
    /// The SVID in use.
    svid: PeerSvid,
    _dir: TempDir,
}

const PATH: &str = "/spire/agent/join_token/a";

impl Case {
    async fn new() -> Self {
        let manual = manual();
        let ca = Ca::new("example.org", manual.now());
        let (store, dir) = store(&manual).await;
        let svid = issue(&ca, &manual);
        store.write(node(&svid)).await.unwrap();
        let mut feed = store.feed();
        let loading = crate::entries::Loading::read(&mut feed, ca.trust_domain()).await.unwrap();
        let index = Arc::new(Index::new(loading));
        let freshness = Freshness::new(feed.status(), manual.clock(), DAY * 10_000);
        let agents = Agents::new(store.clone(), Arc::clone(&index), freshness, manual.clock());
        Self { manual, ca, agents, index, store, svid, _dir: dir }
    }

    /// Another SVID of the agent.
    fn another(&self) -> PeerSvid {
        issue(&self.ca, &self.manual)
    }

    async fn update(&self, serial: Option<&str>, new_serial: &str) -> Node {
        let update = UpdateNode {
            spiffe_id: self.svid.id.to_string(),
            serial: serial.map(str::to_owned),
            new_serial: Some(new_serial.to_owned()),
            ..UpdateNode::default()
        };
        self.store.write(update).await.unwrap()
    }

    /// The feed has come by.
    async fn catch_up(&self) {
        let node = self.store.fetch_node(self.svid.id.as_str()).await.unwrap();
        let nodes = vec![(self.svid.id.to_string(), node)];
        self.index.apply(ChangedRows { nodes, ..ChangedRows::default() });
    }

    /// Code and reason of a refusal.
    async fn refusal(&self, svid: &PeerSvid) -> (Code, Option<Reason>) {
        let status = self.agents.check(svid).await.unwrap_err();
        (status.code(), denial_reason(&status))
    }

    async fn stored_serials(&self) -> (String, String) {
        let node = self.store.fetch_node(self.svid.id.as_str()).await.unwrap().unwrap();
        (node.serial.unwrap(), node.new_serial)
    }
}

fn node(svid: &PeerSvid) -> AttestNode {
    AttestNode {
        spiffe_id: svid.id.to_string(),
        attestation_type: "join_token".to_owned(),
        serial: svid.certificate.serial_decimal(),
        expires_at: 0,
        can_reattest: false,
        selectors: Vec::new(),
    }
}

fn issue(ca: &Ca, manual: &ManualClock) -> PeerSvid {
    let svid = ca.svid(PATH, manual.now()..manual.now() + HOUR);
    PeerSvid::of(svid.leaf().clone()).unwrap()
}

fn denied(reason: Reason) -> (Code, Option<Reason>) {
    (Code::PermissionDenied, Some(reason))
}

#[tokio::test]
async fn the_svid_in_use_is_allowed_from_memory() {
    let case = Case::new().await;
    case.store.close().await;
    case.agents.check(&case.svid).await.unwrap();
}

#[tokio::test]
async fn an_svid_that_has_ended_is_refused_whoever_shows_it() {
    let case = Case::new().await;
    case.manual.advance(HOUR);
    case.agents.check(&case.svid).await.unwrap();
    case.manual.advance(HOUR / 3600);
    assert_eq!(case.refusal(&case.svid).await, denied(Reason::AgentExpired));
}

#[tokio::test]
async fn a_renewed_svid_is_taken_into_use_when_it_is_seen() {
    let case = Case::new().await;
    let renewed = case.another();
    let serial = renewed.certificate.serial_decimal();
    case.update(None, &serial).await;
    case.catch_up().await;
    // The old one is good until then.
    case.agents.check(&case.svid).await.unwrap();
    case.agents.check(&renewed).await.unwrap();
    assert_eq!(case.stored_serials().await, (serial, String::new()));
    case.catch_up().await;
    assert_eq!(case.refusal(&case.svid).await, denied(Reason::AgentNotActive));
    case.agents.check(&renewed).await.unwrap();
}

/// The one in use is also the next one, as after attestation by a join token.
#[tokio::test]
async fn an_svid_that_answered_a_join_token_is_taken_into_use_when_it_is_seen() {
    for known in [true, false] {
        let case = Case::new().await;
        let serial = case.svid.certificate.serial_decimal();
        case.update(None, &serial).await;
        if known {
            case.catch_up().await;
        } else {
            let forgotten = vec![(case.svid.id.to_string(), None)];
            case.index.apply(ChangedRows { nodes: forgotten, ..ChangedRows::default() });
        }
        case.agents.check(&case.svid).await.unwrap();
        assert_eq!(case.stored_serials().await, (serial, String::new()));
        case.catch_up().await;
        case.store.close().await;
        case.agents.check(&case.svid).await.unwrap();
    }
}

/// Whether or not the index knows of the later answer.
#[tokio::test]
async fn an_answer_to_a_join_token_that_was_only_late_ends_the_answers() {
    for known in [true, false] {
        let case = Case::new().await;
        let serial = case.svid.certificate.serial_decimal();
        let token = JoinToken { token: "a".to_owned(), expires_at: i64::MAX };
        case.store.write(CreateJoinToken { token, entry: None }).await.unwrap();
        let consume = || case.store.write(ConsumeJoinToken { token: "a".to_owned(), digest: Some("key".to_owned()) });
        for serial in [&serial, "2"] {
            let by = consume().await.unwrap().by.unwrap();
            let node = AttestNode { serial: serial.to_owned(), ..node(&case.svid) };
            case.store.write(AttestWithToken { node, by }).await.unwrap();
            if known || serial != "2" {
                case.catch_up().await;
            }
        }
        consume().await.unwrap();
        case.agents.check(&case.svid).await.unwrap();
        consume().await.unwrap_err();
        assert_eq!(case.stored_serials().await, (serial, "2".to_owned()));
    }
}

#[tokio::test]
async fn an_svid_that_answered_a_join_token_is_allowed_while_the_store_is_away() {
    let case = Case::new().await;
    case.update(None, &case.svid.certificate.serial_decimal()).await;
    case.catch_up().await;
    case.store.close().await;
    case.agents.check(&case.svid).await.unwrap();
}

#[tokio::test]
async fn a_renewed_svid_is_allowed_before_the_index_knows_it() {
    let case = Case::new().await;
    let renewed = case.another();
    let serial = renewed.certificate.serial_decimal();
    case.update(None, &serial).await;
    case.agents.check(&renewed).await.unwrap();
    assert_eq!(case.stored_serials().await, (serial, String::new()));
    // And again, while the index still knows the old one alone.
    case.agents.check(&renewed).await.unwrap();
}

#[tokio::test]
async fn a_renewed_svid_is_allowed_while_the_store_is_away_and_taken_into_use_later() {
    let case = Case::new().await;
    let renewed = case.another();
    case.update(None, &renewed.certificate.serial_decimal()).await;
    case.catch_up().await;
    case.store.close().await;
    case.agents.check(&renewed).await.unwrap();
    case.agents.check(&case.svid).await.unwrap();
}

#[tokio::test]
async fn a_renewed_svid_is_allowed_though_the_store_went_before_the_index_knew_it() {
    let case = Case::new().await;
    let renewed = case.another();
    let serial = renewed.certificate.serial_decimal();
    case.agents.gave(&case.svid.id, case.update(None, &serial).await);
    case.store.close().await;
    case.agents.check(&renewed).await.unwrap();
    case.agents.check(&case.svid).await.unwrap();
    assert_eq!(case.refusal(&case.another()).await.0, Code::Unavailable);
}

#[tokio::test]
async fn a_renewed_svid_that_was_superseded_elsewhere_is_not_allowed_while_the_store_is_away() {
    let case = Case::new().await;
    let (first, second) = (case.another(), case.another());
    let serial = first.certificate.serial_decimal();
    case.agents.gave(&case.svid.id, case.update(None, &serial).await);
    // Both became the one in use at another server, one after the other.
    case.update(Some(&serial), "").await;
    case.update(Some(&second.certificate.serial_decimal()), "").await;
    case.catch_up().await;
    case.store.close().await;
    assert_eq!(case.refusal(&first).await.0, Code::Unavailable);
    case.agents.check(&second).await.unwrap();
}

#[tokio::test]
async fn a_renewed_svid_that_another_server_took_into_use_is_allowed() {
    let case = Case::new().await;
    let renewed = case.another();
    let serial = renewed.certificate.serial_decimal();
    case.update(None, &serial).await;
    case.catch_up().await;
    case.update(Some(&serial), "").await;
    case.agents.check(&renewed).await.unwrap();
    // One that was superseded before it was ever seen is not.
    let (first, second) = (case.another(), case.another());
    case.update(None, &first.certificate.serial_decimal()).await;
    case.catch_up().await;
    case.update(None, &second.certificate.serial_decimal()).await;
    assert_eq!(case.refusal(&first).await, denied(Reason::AgentNotActive));
}

#[tokio::test]
async fn an_svid_that_was_never_given_is_not_active() {
    let case = Case::new().await;
    assert_eq!(case.refusal(&case.another()).await, denied(Reason::AgentNotActive));
}

#[tokio::test]
async fn an_agent_that_nobody_attested_is_told_so() {
    let case = Case::new().await;
    let stranger = case.ca.svid("/spire/agent/join_token/b", case.manual.now()..case.manual.now() + HOUR);
    let stranger = PeerSvid::of(stranger.leaf().clone()).unwrap();
    assert_eq!(case.refusal(&stranger).await, denied(Reason::AgentNotAttested));
}

#[tokio::test]
async fn an_agent_that_has_just_attested_need_not_be_in_the_index() {
    let case = Case::new().await;
    let nodes = vec![(case.svid.id.to_string(), None)];
    case.index.apply(ChangedRows { nodes, ..ChangedRows::default() });
    case.agents.check(&case.svid).await.unwrap();
}

#[tokio::test]
async fn a_banned_agent_stays_banned_also_while_the_store_is_away() {
    let case = Case::new().await;
    case.update(Some(""), "").await;
    case.catch_up().await;
    assert_eq!(case.refusal(&case.svid).await, denied(Reason::AgentBanned));
    case.store.close().await;
    assert_eq!(case.refusal(&case.svid).await, denied(Reason::AgentBanned));
    assert_eq!(case.refusal(&case.another()).await, denied(Reason::AgentBanned));
}

#[tokio::test]
async fn a_ban_ends_with_the_agent_even_before_the_index_knows() {
    let case = Case::new().await;
    case.update(Some(""), "").await;
    case.catch_up().await;
    let delete = DeleteNode { spiffe_id: case.svid.id.to_string() };
    case.store.write(delete).await.unwrap();
    assert_eq!(case.refusal(&case.svid).await, denied(Reason::AgentNotAttested));
    let again = AttestNode {
        spiffe_id: case.svid.id.to_string(),
        attestation_type: "join_token".to_owned(),
        serial: case.svid.certificate.serial_decimal(),
        expires_at: 0,
        can_reattest: false,
        selectors: Vec::new(),
    };
    case.store.write(again).await.unwrap();
    case.agents.check(&case.svid).await.unwrap();
}

#[tokio::test]
async fn a_banned_agent_cannot_take_a_renewed_svid_into_use() {
    let case = Case::new().await;
    let renewed = case.another();
    case.update(None, &renewed.certificate.serial_decimal()).await;
    case.catch_up().await;
    // Banned by another server; the index here is behind.
    case.update(Some(""), "").await;
    assert_eq!(case.refusal(&renewed).await, denied(Reason::AgentBanned));
}

#[tokio::test]
async fn an_evicted_agent_is_refused_as_soon_as_the_index_knows() {
    let case = Case::new().await;
    case.store.write(DeleteNode { spiffe_id: case.svid.id.to_string() }).await.unwrap();
    case.catch_up().await;
    assert_eq!(case.refusal(&case.svid).await, denied(Reason::AgentNotAttested));
}

#[tokio::test]
async fn what_only_the_store_could_tell_is_unavailable_without_it() {
    let case = Case::new().await;
    let unknown = case.another();
    case.store.close().await;
    assert_eq!(case.refusal(&unknown).await, (Code::Unavailable, None));
}
