//! The Bundle service, where it differs from the reference.

use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{AppendBundleRequest, GetBundleRequest};
use steeple_proto::spire::api::types;
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
