use steeple_datastore::entries::{Entry, EntryFilter};
use steeple_datastore::join_tokens::{ConsumeJoinToken, CreateJoinToken, JoinToken, PruneJoinTokens};
use steeple_datastore::{Error, Selector};

use crate::opened::Opened;

fn token(token: &str, expires_at: i64) -> JoinToken {
    JoinToken { token: token.into(), expires_at }
}

pub(crate) async fn a_token_is_consumed_once(store: Opened) {
    store.write(CreateJoinToken { token: token("t", 7), entry: None }).await.unwrap();
    assert_eq!(store.fetch_join_token("t").await.unwrap(), Some(token("t", 7)));
    let tries = (0..10).map(|_| store.write(ConsumeJoinToken { token: "t".into() }));
    let outcome = futures::future::join_all(tries).await;
    let got: Vec<_> = outcome.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!(got, [&token("t", 7)]);
    assert!(outcome.iter().filter_map(|one| one.as_ref().err()).all(|error| matches!(error, Error::NotFound)));
    assert_eq!(store.fetch_join_token("t").await.unwrap(), None);
}

pub(crate) async fn refuses_a_token_twice(store: Opened) {
    store.write(CreateJoinToken { token: token("t", 7), entry: None }).await.unwrap();
    let error = store.write(CreateJoinToken { token: token("t", 8), entry: None }).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: UNIQUE constraint failed: join_tokens.token");
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
