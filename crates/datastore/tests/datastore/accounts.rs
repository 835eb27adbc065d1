//! Accounts of servers, and what they may do.

use steeple_datastore::nodes::CreateNode;
use steeple_datastore::{DataStore, Error, Node, Options};
use steeple_runtime::Clock;

use crate::opened::Opened;
use crate::schema::tables;
use crate::tokens::one_answer;
use crate::unopened::limited;

/// Of the rights on its database the account has those that servers need every day.
pub(crate) async fn an_account_that_may_not_change_the_schema_uses_it_as_it_is(new: Opened) {
    new.close().await;
    new.sql("DROP TABLE steeple_used_join_tokens").await;
    let options = limited(&new.place, &new.options, "SELECT, INSERT, UPDATE, DELETE").await;
    for disable_migration in [false, true] {
        let options = Options { disable_migration, ..options.clone() };
        let store = DataStore::open(options, Clock::system()).await.unwrap();
        one_answer(&store).await;
        let node = Node { spiffe_id: format!("n {disable_migration}"), ..Node::default() };
        store.write(CreateNode(node)).await.unwrap();
        let mut feed = store.feed();
        assert!(feed.snapshot().await.unwrap().nodes.iter().any(|it| it.spiffe_id == format!("n {disable_migration}")));
        store.close().await;
    }
    let tables = tables(&new.place).await;
    assert_eq!(tables.len(), 13);

    let empty = new.empty_twin().await;
    let options = limited(&empty.place, &empty.options, "SELECT").await;
    let error = DataStore::open(options, Clock::system()).await.unwrap_err();
    assert!(matches!(error, Error::Sql(_)), "{error:?}");
    println!("{error}");
}
