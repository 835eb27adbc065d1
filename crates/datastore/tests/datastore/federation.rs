use steeple_datastore::federation::{
    BundleEndpointProfile, CreateFederationRelationship, DeleteFederationRelationship, FederationRelationship,
    FederationRelationshipMask, UpdateFederationRelationship,
};
use steeple_datastore::{Bundle, Error, Page};
use steeple_runtime::metrics::Coded;

use crate::opened::Opened;

fn relationship(trust_domain: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: trust_domain.into(),
        bundle_endpoint_url: format!("https://{trust_domain}/bundle"),
        bundle_endpoint_profile: BundleEndpointProfile::HttpsWeb,
        bundle: None,
    }
}

fn bundle(trust_domain: &str, refresh_hint: i64) -> Option<Bundle> {
    Some(Bundle { trust_domain_id: format!("spiffe://{trust_domain}"), refresh_hint, ..Bundle::default() })
}

fn spiffe() -> BundleEndpointProfile {
    BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id: "spiffe://b.test/spire/server".into() }
}

pub(crate) async fn keeps_relationships_with_their_bundles(store: Opened) {
    let a = relationship("a.test");
    let b = FederationRelationship {
        bundle_endpoint_profile: spiffe(),
        bundle: bundle("b.test", 7),
        ..relationship("b.test")
    };
    for one in [&a, &b] {
        store.write(CreateFederationRelationship(one.clone())).await.unwrap();
        assert_eq!(store.fetch_federation_relationship(&one.trust_domain).await.unwrap().as_ref(), Some(one));
    }
    assert_eq!(store.fetch_bundle("spiffe://b.test").await.unwrap(), b.bundle);
    let error = store.write(CreateFederationRelationship(a.clone())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        store.taken("federated_trust_domains.trust_domain", "uix_federated_trust_domains_trust_domain", "a.test")
    );
    let columns = "SELECT trust_domain, bundle_endpoint_profile, endpoint_spiffe_id, CASE WHEN implicit THEN 1 ELSE 0 END \
         FROM federated_trust_domains ORDER BY id";
    let spiffe_id = "spiffe://b.test/spire/server";
    assert_eq!(
        store.sql(columns).await,
        [["a.test", "https_web", "", "0"], ["b.test", "https_spiffe", spiffe_id, "0"]]
    );

    assert_eq!(store.list_federation_relationships(&Page::default()).await.unwrap().rows, [a, b.clone()]);
    let page = Page { size: 1, token: "1".into() };
    let listed = store.list_federation_relationships(&page).await.unwrap();
    assert_eq!((listed.rows, listed.next_page_token.as_str()), (vec![b], "2"));

    let delete = || DeleteFederationRelationship { trust_domain: "b.test".into() };
    store.write(delete()).await.unwrap();
    assert!(matches!(store.write(delete()).await, Err(Error::NotFound)));
    assert_eq!(store.fetch_federation_relationship("b.test").await.unwrap(), None);
    assert!(store.fetch_bundle("spiffe://b.test").await.unwrap().is_some(), "the bundle stays");

    store.sql("UPDATE federated_trust_domains SET bundle_endpoint_profile = 'carrier_pigeon'").await;
    assert!(matches!(store.fetch_federation_relationship("a.test").await, Err(Error::Corrupt(_))));
}

pub(crate) async fn updates_a_relationship_by_mask(store: Opened) {
    store.write(CreateFederationRelationship(relationship("b.test"))).await.unwrap();
    let new = FederationRelationship {
        trust_domain: "b.test".into(),
        bundle_endpoint_url: "https://new.test/".into(),
        bundle_endpoint_profile: spiffe(),
        bundle: bundle("b.test", 9),
    };
    let none = FederationRelationshipMask::default();
    let mut expected = relationship("b.test");
    for (mask, step) in [
        (FederationRelationshipMask { bundle_endpoint_url: true, ..none }, "url"),
        (FederationRelationshipMask { bundle_endpoint_profile: true, ..none }, "profile"),
        (FederationRelationshipMask { bundle: true, ..none }, "bundle"),
        (none, "nothing"),
    ] {
        match step {
            "url" => expected.bundle_endpoint_url = new.bundle_endpoint_url.clone(),
            "profile" => expected.bundle_endpoint_profile = new.bundle_endpoint_profile.clone(),
            "bundle" => expected.bundle = new.bundle.clone(),
            _ => {}
        }
        let update = UpdateFederationRelationship { relationship: new.clone(), mask };
        assert_eq!(store.write(update).await.unwrap(), expected, "{step}");
    }
    let unknown =
        UpdateFederationRelationship { relationship: relationship("none.test"), mask: FederationRelationshipMask::ALL };
    let error = store.write(unknown).await.unwrap_err();
    assert_eq!(error.to_string(), "unable to fetch federation relationship: record not found");
    assert_eq!(error.code(), "Unknown");
}
