use steeple_datastore::Error;
use steeple_datastore::join_tokens::{ConsumeJoinToken, CreateJoinToken, JoinToken, PruneJoinTokens};

use crate::opened::Opened;

fn token(token: &str, expires_at: i64) -> JoinToken {
    JoinToken { token: token.into(), expires_at }
}

pub(crate) async fn a_token_is_consumed_once(store: Opened) {
    store.write(CreateJoinToken(token("t", 7))).await.unwrap();
    assert_eq!(store.fetch_join_token("t").await.unwrap(), Some(token("t", 7)));
    let tries = (0..10).map(|_| store.write(ConsumeJoinToken { token: "t".into() }));
    let outcome = futures::future::join_all(tries).await;
    let got: Vec<_> = outcome.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!(got, [&token("t", 7)]);
    assert!(outcome.iter().filter_map(|one| one.as_ref().err()).all(|error| matches!(error, Error::NotFound)));
    assert_eq!(store.fetch_join_token("t").await.unwrap(), None);
}

pub(crate) async fn refuses_a_token_twice(store: Opened) {
    store.write(CreateJoinToken(token("t", 7))).await.unwrap();
    let error = store.write(CreateJoinToken(token("t", 8))).await.unwrap_err();
    assert_eq!(error.to_string(), "datastore-sql: UNIQUE constraint failed: join_tokens.token");
    assert_eq!(store.fetch_join_token("t").await.unwrap(), Some(token("t", 7)));
}

pub(crate) async fn prunes_tokens_that_have_expired(store: Opened) {
    for (name, expires_at) in [("past", 99), ("now", 100)] {
        store.write(CreateJoinToken(token(name, expires_at))).await.unwrap();
    }
    assert_eq!(store.write(PruneJoinTokens { expires_before: 100 }).await.unwrap(), 1);
    assert_eq!(store.fetch_join_token("past").await.unwrap(), None);
    assert!(store.fetch_join_token("now").await.unwrap().is_some());
}
