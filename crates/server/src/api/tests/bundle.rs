//! The Bundle service, where it differs from the reference, and what is logged of it.

use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchSetFederatedBundleRequest, GetBundleRequest,
};
use steeple_proto::spire::api::server::entry::v1::BatchDeleteEntryRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types;
use steeple_testkit::record::Logged;
use tonic::Code;

use super::*;

#[tokio::test]
async fn refuses_an_authority_without_a_certificate_in_the_own_bundle() {
    let api = Api::new().await;
    let mut client = BundleClient::new(api.local());
    let before = client.get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    let another = steeple_testkit::Ca::new("example.org", api.manual.now()).root().der().to_vec();
    let x509_authorities = [another, Vec::new()].map(|asn1| types::X509Certificate { asn1, tainted: false }).into();
    let request = AppendBundleRequest { x509_authorities, ..AppendBundleRequest::default() };
    let refused = client.append_bundle(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "failed to convert X.509 authority: no certificate")
    );
    let after = client.get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    assert_eq!(after, before, "not even the sound one is taken");
}

#[tokio::test]
async fn what_becomes_of_each_item_is_logged_with_its_name_and_the_cause() {
    let api = Api::new().await;
    let logged = Logged::new();
    let bundle = ["partner.org", "example.org", "Bad!"]
        .map(|name| types::Bundle { trust_domain: name.to_owned(), ..types::Bundle::default() });
    let request = BatchSetFederatedBundleRequest { bundle: bundle.into(), output_mask: None };
    BundleClient::new(api.local()).batch_set_federated_bundle(request).await.unwrap();
    assert_eq!(logged.with("Bundle set successfully")[0]["trust_domain_id"], "partner.org");
    let own = "Invalid argument: setting a federated bundle for the server's own trust domain is not allowed";
    assert_eq!(logged.with(own)[0]["trust_domain_id"], "example.org");
    let bad = &logged.with("Invalid argument: trust domain argument is not valid")[0];
    assert_eq!(bad["trust_domain_id"], "Bad!");
    assert!(bad["error"].starts_with("trust domain characters are limited"), "{}", bad["error"]);

    let ids = vec!["nobody".to_owned()];
    EntryClient::new(api.local()).batch_delete_entry(BatchDeleteEntryRequest { ids }).await.unwrap();
    assert_eq!(logged.with("Entry not found")[0]["entry_id"], "nobody");
}
