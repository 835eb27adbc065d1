//! Whose database it is: a server goes on with the database of its own trust domain alone.

use steeple_datastore::entries::EntryFilter;
use steeple_datastore::nodes::NodeFilter;
use steeple_datastore::{DataStore, Page};
use steeple_spiffe::{SpiffeId, TrustDomain};
use tracing::warn;

use crate::run::RunError;

/// Refuses a database whose first entry is another trust domain's: one is enough to tell. Agents that another one has left behind
/// are in nobody's way, and warned of.
pub(crate) async fn check(store: &DataStore, trust_domain: &TrustDomain) -> Result<(), RunError> {
    let configured = trust_domain.name();
    let first = Page { size: 1, token: String::new() };
    let entries = store.list_entries(&EntryFilter::default(), &first).await?;
    if let Some(found) = entries.rows.first().and_then(|entry| other(&entry.spiffe_id, configured)) {
        return Err(RunError::OtherTrustDomain { found, configured: configured.to_owned() });
    }
    let nodes = store.list_nodes(&NodeFilter::default(), &first, false).await?;
    if let Some(found) = nodes.rows.first().and_then(|node| other(&node.spiffe_id, configured)) {
        warn!(
            "An attested node with trust domain '{found}' has been detected, which does not match the configured trust \
             domain of '{configured}'. Agents may need to be reconfigured to use new trust domain"
        );
    }
    Ok(())
}

/// The trust domain of an ID that is not the configured one's.
fn other(id: &str, configured: &str) -> Option<String> {
    let id = SpiffeId::parse(id).ok()?;
    Some(id.trust_domain_name()).filter(|name| *name != configured).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use steeple_datastore::entries::CreateEntry;
    use steeple_datastore::nodes::CreateNode;
    use steeple_datastore::{Entry, Node, Selector};
    use steeple_testkit::record::Logged;

    use super::*;
    use crate::tests::{manual, store};

    const WARNED: &str = "An attested node with trust domain 'old.test' has been detected, which does not match the configured \
                          trust domain of 'new.test'. Agents may need to be reconfigured to use new trust domain";

    #[tokio::test]
    async fn of_another_trust_domain_agents_are_warned_of_and_entries_refused() {
        let log = Logged::new();
        let (store, _dir) = store(&manual()).await;
        let new = TrustDomain::from_name("new.test").unwrap();
        check(&store, &new).await.unwrap();
        let node = |spiffe_id: &str| CreateNode(Node { spiffe_id: spiffe_id.to_owned(), ..Node::default() });
        store.write(node("spiffe://old.test/spire/agent/x509pop/1")).await.unwrap();
        store.write(node("spiffe://new.test/spire/agent/x509pop/1")).await.unwrap();
        check(&store, &TrustDomain::from_name("old.test").unwrap()).await.unwrap();
        assert_eq!(log.with(WARNED), []);
        check(&store, &new).await.unwrap();
        let warned = log.with(WARNED);
        assert_eq!(warned.iter().map(|line| line["level"].as_str()).collect::<Vec<_>>(), ["WARN"]);

        let entry = Entry {
            entry_id: "e".to_owned(),
            spiffe_id: "spiffe://old.test/workload".to_owned(),
            parent_id: "spiffe://old.test/agent".to_owned(),
            selectors: vec![Selector::new("unix", "uid:1")],
            ..Entry::default()
        };
        store.write(CreateEntry { entry }).await.unwrap();
        let error = check(&store, &new).await.unwrap_err().to_string();
        assert!(error.starts_with("a registration entry with trust domain 'old.test' has been detected"), "{error}");
        store.close().await;
    }
}
