use steeple_datastore::entries::{Entry, EntryFilter};
use steeple_datastore::join_tokens::{
    AttestWithToken, ConsumeJoinToken, CreateJoinToken, EndAnswers, JoinToken, PruneJoinTokens, Redeemed,
};
use steeple_datastore::nodes::{ActivateNodeSerial, AttestNode, DeleteNode, UpdateNode};
use steeple_datastore::{DataStore, Error, Node, Selector};

use crate::opened::Opened;

fn token(token: &str, expires_at: i64) -> JoinToken {
    JoinToken { token: token.into(), expires_at }
}

/// The year 2100.
const LATER: i64 = 4_102_444_800;
const ID: &str = "spiffe://td/spire/agent/join_token/t";

/// A token `t` that is there to be used.
async fn unused(store: &DataStore) {
    store.write(CreateJoinToken { token: token("t", LATER), entry: None }).await.unwrap();
}

async fn consume(store: &DataStore, digest: Option<&str>) -> Result<Redeemed, Error> {
    store.write(ConsumeJoinToken { token: "t".into(), digest: digest.map(Into::into) }).await
}

/// Stores the agent of the token, with an SVID of this serial number.
async fn attest(store: &DataStore, redeemed: Redeemed, serial: &str) -> Result<Node, Error> {
    let node = AttestNode {
        spiffe_id: ID.into(),
        attestation_type: "join_token".into(),
        serial: serial.into(),
        expires_at: LATER,
        can_reattest: false,
        selectors: Vec::new(),
    };
    store.write(AttestWithToken { node, by: redeemed.by.unwrap() }).await
}

/// Uses the token and stores its agent, all in one.
async fn answer(store: &DataStore, key: &str, serial: &str) -> Result<Node, Error> {
    attest(store, consume(store, Some(key)).await?, serial).await
}

async fn is_used_up(store: &DataStore, key: &str) {
    let refused = consume(store, Some(key)).await;
    assert!(matches!(refused, Err(Error::JoinTokenUsed)), "{refused:?}");
}

/// What can be had where tokens that were used cannot be written down.
pub(crate) async fn one_answer(store: &DataStore) {
    unused(store).await;
    assert_eq!(consume(store, Some("key")).await.unwrap(), Redeemed { token: token("t", LATER), by: None });
    assert!(matches!(consume(store, Some("key")).await, Err(Error::NotFound)));
    store.write(PruneJoinTokens { expires_before: LATER + 1 }).await.unwrap();
}

pub(crate) async fn a_token_is_consumed_once(store: Opened) {
    store.write(CreateJoinToken { token: token("t", 7), entry: None }).await.unwrap();
    assert_eq!(store.fetch_join_token("t").await.unwrap(), Some(token("t", 7)));
    let tries = (0..10).map(|_| consume(&store, None));
    let outcome = futures::future::join_all(tries).await;
    let got: Vec<_> = outcome.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!(got, [&Redeemed { token: token("t", 7), by: None }]);
    assert!(outcome.iter().filter_map(|one| one.as_ref().err()).all(|error| matches!(error, Error::NotFound)));
    assert_eq!(store.fetch_join_token("t").await.unwrap(), None);
}

pub(crate) async fn the_key_that_used_a_token_is_answered_until_its_agent_is_seen(store: Opened) {
    unused(&store).await;
    // Nothing came of the first attempt; the answers to the next two were lost.
    consume(&store, Some("key")).await.unwrap();
    answer(&store, "key", "1").await.unwrap();
    let node = answer(&store, "key", "2").await.unwrap();
    assert_eq!((node.serial.as_deref(), node.new_serial.as_str()), (Some("1"), "2"));
    assert_eq!((node.expires_at, node.new_expires_at), (LATER, Some(LATER)));
    assert_eq!(store.fetch_node(ID).await.unwrap(), Some(node));
    is_used_up(&store, "another key").await;
    assert!(matches!(consume(&store, None).await, Err(Error::JoinTokenUsed)));
    assert_eq!(consume(&store, Some("key")).await.unwrap().token, token("t", LATER));

    let seen = |serial: &str| ActivateNodeSerial { spiffe_id: ID.into(), serial: serial.into() };
    store.write(seen("2")).await.unwrap();
    is_used_up(&store, "key").await;
}

pub(crate) async fn an_answer_that_was_only_late_ends_the_others(store: Opened) {
    unused(&store).await;
    answer(&store, "key", "1").await.unwrap();
    let node = answer(&store, "key", "2").await.unwrap();
    let under_way = consume(&store, Some("key")).await.unwrap();
    store.write(EndAnswers { spiffe_id: ID.into() }).await.unwrap();
    assert!(matches!(consume(&store, Some("key")).await, Err(Error::NotFound)));
    assert!(matches!(attest(&store, under_way, "3").await, Err(Error::JoinTokenUsed)));
    // The agent may use either.
    assert_eq!(store.fetch_node(ID).await.unwrap(), Some(node));
}

pub(crate) async fn an_agent_that_was_banned_or_deleted_is_not_answered_again(store: Opened) {
    let none = Some(String::new());
    let ban = UpdateNode { spiffe_id: ID.into(), serial: none.clone(), new_serial: none, ..UpdateNode::default() };
    unused(&store).await;
    answer(&store, "key", "1").await.unwrap();
    // The ban comes before, or while the answer is on its way.
    let under_way = consume(&store, Some("key")).await.unwrap();
    store.write(ban).await.unwrap();
    is_used_up(&store, "key").await;
    assert!(matches!(attest(&store, under_way, "2").await, Err(Error::JoinTokenUsed)));
    assert!(store.fetch_node(ID).await.unwrap().unwrap().is_banned());
    store.write(DeleteNode { spiffe_id: ID.into() }).await.unwrap();
    is_used_up(&store, "key").await;

    unused(&store).await;
    answer(&store, "key", "1").await.unwrap();
    let under_way = consume(&store, Some("key")).await.unwrap();
    store.write(DeleteNode { spiffe_id: ID.into() }).await.unwrap();
    is_used_up(&store, "key").await;
    assert!(matches!(attest(&store, under_way, "2").await, Err(Error::JoinTokenUsed)));
    assert_eq!(store.fetch_node(ID).await.unwrap(), None);
}

pub(crate) async fn an_agent_that_was_renewed_is_not_answered_again(store: Opened) {
    unused(&store).await;
    answer(&store, "key", "1").await.unwrap();
    // By a server that knows nothing of the table.
    let renewed = UpdateNode { spiffe_id: ID.into(), new_serial: Some("2".into()), ..UpdateNode::default() };
    store.write(renewed).await.unwrap();
    is_used_up(&store, "key").await;
}

pub(crate) async fn of_two_answers_to_one_key_at_once_one_is_given(store: Opened) {
    unused(&store).await;
    let (first, second) = (consume(&store, Some("key")).await.unwrap(), consume(&store, Some("key")).await.unwrap());
    attest(&store, second, "2").await.unwrap();
    assert!(matches!(attest(&store, first, "1").await, Err(Error::JoinTokenUsed)));
    assert_eq!(store.fetch_node(ID).await.unwrap().unwrap().serial.as_deref(), Some("2"));
}

pub(crate) async fn a_token_made_again_is_another_one(store: Opened) {
    unused(&store).await;
    consume(&store, Some("old key")).await.unwrap();
    unused(&store).await;
    answer(&store, "new key", "1").await.unwrap();
    is_used_up(&store, "old key").await;
    unused(&store).await;
    // It is used up by whoever shows it, and by nobody who proves anything.
    consume(&store, None).await.unwrap();
    assert!(matches!(consume(&store, Some("new key")).await, Err(Error::NotFound)));
}

pub(crate) async fn a_used_token_is_forgotten_when_it_has_expired(store: Opened) {
    unused(&store).await;
    answer(&store, "key", "1").await.unwrap();
    store.write(PruneJoinTokens { expires_before: LATER }).await.unwrap();
    let under_way = consume(&store, Some("key")).await.unwrap();
    store.sql("UPDATE steeple_used_join_tokens SET expiry = 7").await;
    is_used_up(&store, "key").await;
    store.write(PruneJoinTokens { expires_before: LATER + 1 }).await.unwrap();
    assert!(matches!(consume(&store, Some("key")).await, Err(Error::NotFound)));
    assert!(matches!(attest(&store, under_way, "2").await, Err(Error::JoinTokenUsed)));

    // One that expires before its first answer is ready has been used in time.
    unused(&store).await;
    let in_time = consume(&store, Some("key")).await.unwrap();
    store.write(PruneJoinTokens { expires_before: LATER + 1 }).await.unwrap();
    let node = attest(&store, in_time, "3").await.unwrap();
    assert_eq!((node.serial.as_deref(), node.new_serial.as_str()), (Some("3"), ""));
}

pub(crate) async fn refuses_a_token_twice(store: Opened) {
    store.write(CreateJoinToken { token: token("t", 7), entry: None }).await.unwrap();
    let error = store.write(CreateJoinToken { token: token("t", 8), entry: None }).await.unwrap_err();
    assert_eq!(error.to_string(), store.taken("join_tokens.token", "uix_join_tokens_token", "t"));
    assert_eq!(store.fetch_join_token("t").await.unwrap(), Some(token("t", 7)));
}

pub(crate) async fn a_token_and_its_entry_are_stored_together_or_not_at_all(store: Opened) {
    let entry = Entry {
        spiffe_id: "spiffe://example.org/node".into(),
        parent_id: "spiffe://example.org/spire/agent/join_token/t".into(),
        selectors: vec![Selector::new("spiffe_id", "spiffe://example.org/spire/agent/join_token/t")],
        ..Entry::default()
    };
    let refused = Entry { x509_svid_ttl: -1, ..entry.clone() };
    let error = store.write(CreateJoinToken { token: token("t", 7), entry: Some(refused) }).await.unwrap_err();
    assert!(matches!(error, Error::JoinTokenEntry(_)), "{error}");
    assert_eq!(store.fetch_join_token("t").await.unwrap(), None);
    store.write(CreateJoinToken { token: token("t", 7), entry: Some(entry) }).await.unwrap();
    assert!(store.fetch_join_token("t").await.unwrap().is_some());
    assert_eq!(store.count_entries(&EntryFilter::default()).await.unwrap(), 1);
}

pub(crate) async fn prunes_tokens_that_have_expired(store: Opened) {
    for (name, expires_at) in [("past", 99), ("now", 100)] {
        store.write(CreateJoinToken { token: token(name, expires_at), entry: None }).await.unwrap();
    }
    assert_eq!(store.write(PruneJoinTokens { expires_before: 100 }).await.unwrap(), 1);
    assert_eq!(store.fetch_join_token("past").await.unwrap(), None);
    assert!(store.fetch_join_token("now").await.unwrap().is_some());
}
